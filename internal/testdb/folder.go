package testdb

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// A server's folder holds a file that its starter keeps locked. The kernel lets go of the lock when the starter dies, so
// an unlocked one marks a folder that nobody will remove.
const (
	folderPattern = "leasehold-db-server-"
	lockName      = "starter"
)

// claimFolder makes a folder. remove may be called more than once.
func claimFolder() (dir string, remove func(), err error) {
	if dir, err = os.MkdirTemp("", folderPattern); err != nil {
		return "", nil, fmt.Errorf("make a folder for the server: %w", err)
	}
	// It gets its name when it is locked, and not before.
	lock, err := os.Create(filepath.Join(dir, "new"))
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	}
	if err == nil {
		err = os.Rename(lock.Name(), filepath.Join(dir, lockName))
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return "", nil, fmt.Errorf("lock the server's folder: %w", err)
	}
	return dir, sync.OnceFunc(func() {
		_ = os.RemoveAll(dir)
		_ = lock.Close()
	}), nil
}

func removeAbandoned() {
	locks, _ := filepath.Glob(filepath.Join(os.TempDir(), folderPattern+"*", lockName))
	for _, path := range locks {
		lock, err := os.Open(path)
		if err != nil {
			continue
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(filepath.Dir(path))
		}
		_ = lock.Close()
	}
}

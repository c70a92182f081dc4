//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"leasehold/store"
)

// errInUse is told to the operator who starts a second server.
var errInUse = fmt.Errorf("%w: another process has this store open", store.ErrInUse)

type fileLock struct{ file *os.File }

// lockFile takes an exclusive lock that ends with the process. The file stays: to remove it would let two processes
// lock two files of the same name.
func lockFile(path string) (*fileLock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock file: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close() // nothing was written
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errInUse
		}
		return nil, fmt.Errorf("lock the store: %w", err)
	}
	return &fileLock{file}, nil
}

// release unlocks before it closes: a process that is being started at this moment has a copy of the file until it
// runs its program, and the lock would stay with that.
func (l *fileLock) release() error {
	return errors.Join(syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN), l.file.Close())
}

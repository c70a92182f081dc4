package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// newFile is a file that appears under its name only when it is whole. Until then it has another name beside it, and it
// is readable by its owner alone, then and later.
type newFile struct {
	*os.File
	path string
}

// createFile starts a file. A file of that name is left as it is unless replace is set; what is no ordinary file, such
// as a device, is never replaced.
func createFile(path string, replace bool) (*newFile, error) {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, mistake("Failed to create the output: %s", err)
	case !info.Mode().IsRegular():
		return nil, mistake("%s is not an ordinary file", path).hint("- stands for stdout")
	case !replace:
		return nil, mistake("%s exists", path).hint("-force replaces it")
	}
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part")
	if err != nil {
		return nil, mistake("Failed to create the output: %s", err)
	}
	return &newFile{File: temp, path: path}, nil
}

// finish makes the file durable and gives it its name.
func (f *newFile) finish() error {
	err := f.Sync()
	if closing := f.Close(); err == nil {
		err = closing
	}
	// Crash: up to here the other name is left behind; from here on the file is whole.
	if err == nil {
		err = os.Rename(f.Name(), f.path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(f.path))
	}
	if err != nil {
		return mistake("Failed to write the output: %s", err)
	}
	return nil
}

// discard removes what was written. After finish it does nothing.
func (f *newFile) discard() {
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// syncDir makes a rename durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

//go:build !unix

package sqlite

import "errors"

type fileLock struct{}

func lockFile(string) (*fileLock, error) {
	return nil, errors.New("an SQLite store needs the file locks of a Unix system")
}

func (l *fileLock) release() error { return nil }

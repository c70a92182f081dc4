package audit

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"leasehold/internal/errs"
)

// file appends lines to a file. Each line is one write call; the kernel keeps those of several writers apart.
//
// There is no lock: whoever finds the file closed opens it. After a failed write the file is closed, so that the next
// line tries from the start, and recovers by itself when the disk does.
type file struct {
	path   string
	mode   os.FileMode // 0: leave an existing file's mode alone
	open   atomic.Pointer[os.File]
	broken atomic.Bool // the file ends in a part of a line, which the next one must not join
}

func newFile(options map[string]string) (Sink, error) {
	path := options["file_path"]
	mode := uint64(0o600)
	if text, given := options["mode"]; given {
		var err error
		if mode, err = strconv.ParseUint(text, 8, 9); err != nil {
			return nil, errs.New(errs.Invalid, "%s", err)
		}
	}
	switch strings.ToLower(path) {
	case "":
		return nil, errs.New(errs.Invalid, "file_path is required")
	case "stdout":
		return stream{os.Stdout}, nil
	case "discard":
		return stream{io.Discard}, nil
	default:
		return &file{path: path, mode: os.FileMode(mode)}, nil
	}
}

func (f *file) Write(_ context.Context, line []byte) error {
	for {
		h, err := f.handle()
		if err != nil {
			return err
		}
		torn := f.broken.Swap(false)
		out := line
		if torn {
			out = append([]byte{'\n'}, line...)
		}
		n, err := h.Write(out)
		if err == nil {
			return nil
		}
		if torn || n > 0 {
			f.broken.Store(true)
		}
		if errors.Is(err, os.ErrClosed) && f.open.Load() != h {
			continue // reopened at this moment; nothing was written
		}
		if f.open.CompareAndSwap(h, nil) {
			_ = h.Close() // the failed write is the error to report
		}
		return err
	}
}

// handle is the open file. Two that open it at the same time agree on one.
func (f *file) handle() (*os.File, error) {
	for {
		if h := f.open.Load(); h != nil {
			return h, nil
		}
		h, err := f.openFile()
		if err != nil {
			return nil, err
		}
		if f.open.CompareAndSwap(nil, h) {
			return h, nil
		}
		_ = h.Close() // nothing was written to it
	}
}

func (f *file) openFile() (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return nil, err
	}
	mode := f.mode
	if mode == 0 {
		mode = 0o600 // of a new file
	}
	h, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, mode)
	if err != nil || f.mode == 0 {
		return h, err
	}
	info, err := h.Stat()
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm() != f.mode { // never a device such as /dev/null
		err = h.Chmod(f.mode)
	}
	if err != nil {
		_ = h.Close()
		return nil, err
	}
	return h, nil
}

// Reopen opens the path again, after the file there was moved away. When that fails, the old file goes on.
func (f *file) Reopen() error {
	h, err := f.openFile()
	if err != nil {
		return err
	}
	if old := f.open.Swap(h); old != nil {
		return old.Close()
	}
	return nil
}

func (f *file) Close() error {
	if h := f.open.Swap(nil); h != nil {
		return h.Close()
	}
	return nil
}

// stream is a writer that is not ours to open or close.
type stream struct{ io.Writer }

func (s stream) Write(_ context.Context, line []byte) error {
	_, err := s.Writer.Write(line)
	return err
}

func (stream) Close() error { return nil }

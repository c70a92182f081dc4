package sqlite

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"io"
	"net/url"
	"os"
	"time"
)

// eraser sees to it that what the store erased is in its files no more. The writer overwrites with zeros what it deletes;
// that leaves two places.
//
// The write-ahead log holds pages as they were. While there is a log, it is moved to the file and cut to nothing every so
// often. A commit that comes meanwhile waits for that. A View that still reads from the log is waited for a moment, then
// left alone until the next time.
//
// The free space of a page can hold a piece of a row that SQLite has moved to make room, and that was erased from its new
// place later: one value in some thousands. After commits the whole file is read once, a bit each time, and free space that
// is not zero is made so.
//
// What keeps it from its work, a View or a full disk, may be gone the next time; a disk that fails, commits meet themselves.
type eraser struct {
	path string
	db   *sql.DB
	file *os.File // see sweepFrom
	stop chan struct{}
	done chan struct{}

	changed bool  // there were commits since the present round through the file began, or since the last one
	next    int64 // the page to go on with; 0: no round is under way
}

const (
	// patience is how long the eraser waits for Views, and so how much longer than its own writing it keeps commits waiting.
	patience = 100 * time.Millisecond
	// sweepPages are read each time, 16 MiB of them.
	sweepPages = 4 << 10
)

func newEraser(path string, every time.Duration) (*eraser, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	e := &eraser{
		path: path, db: connect(path, 1, 64, patience, url.Values{"_txlock": {"immediate"}, "_defensive": {"0"}}), file: file,
		stop: make(chan struct{}), done: make(chan struct{}),
		changed: true, // by a process before this one
	}
	go func() {
		defer close(e.done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				e.emptyLog()
				e.sweep()
			case <-e.stop:
				return
			}
		}
	}()
	return e, nil
}

// close returns once nothing is under way. The other connections of the process to the database have to be closed before.
func (e *eraser) close() error {
	close(e.stop)
	<-e.done
	return errors.Join(e.db.Close(), e.file.Close())
}

func (e *eraser) emptyLog() {
	if info, err := os.Stat(e.path + "-wal"); err != nil || info.Size() == 0 {
		return
	}
	e.changed = true
	_, _ = e.db.Exec(`pragma wal_checkpoint(truncate)`)
}

// sweep goes on with the round through the file, or begins one when there is something new.
func (e *eraser) sweep() {
	if e.next == 0 {
		if !e.changed {
			return
		}
		e.changed, e.next = false, 1
	}
	next, err := e.sweepFrom(e.next)
	if err == nil {
		e.next = next
	}
}

// sweepFrom looks at some pages from one on, and returns the one to go on with; 0: that was the last. The file is read as it
// lies on the disk, where a page may be newer already: what is found is looked at again in a transaction.
//
// The file stays open as long as the store. To close it would drop the locks that all connections of this process hold on it
// (POSIX, fcntl), and another program that looks into the database would remove the log, taking itself for the last to leave.
func (e *eraser) sweepFrom(from int64) (next int64, err error) {
	var size int64
	if err := e.db.QueryRow(`pragma page_size`).Scan(&size); err != nil {
		return 0, err
	}
	page := make([]byte, size)
	for n := from; n < from+sweepPages; n++ {
		if n >= maxSweep {
			return 0, nil
		}
		if _, err := e.file.ReadAt(page, (n-1)*size); errors.Is(err, io.EOF) {
			return 0, nil
		} else if err != nil {
			return 0, err
		}
		if !isZero(freeSpace(n, page)) {
			if err := e.clear(n); err != nil {
				return 0, err
			}
		}
	}
	return from + sweepPages, nil
}

// clear overwrites the free space of a page with zeros.
func (e *eraser) clear(n int64) error {
	tx, err := e.db.Begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit this does nothing
	var page []byte
	if err := tx.QueryRow(`select data from sqlite_dbpage where pgno = $1`, n).Scan(&page); err != nil {
		return err
	}
	free := freeSpace(n, page)
	if isZero(free) {
		return nil
	}
	clear(free)
	if _, err := tx.Exec(`update sqlite_dbpage set data = $1 where pgno = $2`, page, n); err != nil {
		return err
	}
	return tx.Commit()
}

// maxSweep is the number of the first page that is left alone. Other pages than those of trees begin with the number of a
// page, and up to 64 GiB of them the first byte of that is none of a tree's.
const maxSweep = 1 << 24

// freeSpace is the part of a tree's page that SQLite gives no meaning to: between the list of its cells and the cells. Nil:
// the page is of another kind, or makes no sense.
//
// Source: "Database File Format", section "B-tree Pages".
func freeSpace(n int64, page []byte) []byte {
	at := 0
	if n == 1 {
		at = 100 // the file's header
	}
	header := 8
	switch page[at] {
	case 2, 5: // inside the tree
		header = 12
	case 10, 13: // at its end
	default:
		return nil
	}
	begin := at + header + 2*int(binary.BigEndian.Uint16(page[at+3:]))
	end := int(binary.BigEndian.Uint16(page[at+5:]))
	if end == 0 {
		end = 1 << 16
	}
	if begin > end || end > len(page) {
		return nil
	}
	return page[begin:end]
}

func isZero(b []byte) bool {
	for _, one := range b {
		if one != 0 {
			return false
		}
	}
	return true
}

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"leasehold/store"
)

// Config says where the file is.
type Config struct {
	// Path is the file; its folder exists. Empty: nothing is kept; the store is in a private temporary file that goes
	// with Close.
	Path string
	// Readers is how many Views run at once; 0: twice the number of CPUs, and at least 8.
	Readers int
	// CacheKiB is the page cache of the writing connection; 0: 8192. Each reader has an eighth of it. With a million rows
	// (480 MB), sixteen writers and eight readers of random rows were no faster with 64 MiB than with 8, and the process
	// took 230 MB instead of 63: the system's cache does the work.
	CacheKiB int
	// EraseWithin is how soon after a commit the log is emptied that holds what it has erased; 0: 5 seconds.
	EraseWithin time.Duration
}

// New makes the dialect. It touches nothing until store.Open.
func New(cfg Config) store.Dialect {
	if cfg.Readers <= 0 {
		cfg.Readers = max(8, 2*runtime.GOMAXPROCS(0))
	}
	if cfg.CacheKiB <= 0 {
		cfg.CacheKiB = 8 << 10
	}
	if cfg.EraseWithin <= 0 {
		cfg.EraseWithin = 5 * time.Second
	}
	return &dialect{cfg: cfg}
}

type dialect struct {
	cfg       Config
	file      string // absolute, once it is open
	temporary string // the folder to remove on Close, when nothing is kept
	lock      *fileLock
	eraser    *eraser // nil when the store is open for one program alone
}

func (d *dialect) Name() string   { return "sqlite" }
func (d *dialect) Embedded() bool { return true }

func (d *dialect) Open(ctx context.Context) (write, read *sql.DB, err error) {
	write, read, err = d.open(ctx, "FULL", 1000) // SQLite's default
	if err != nil {
		return nil, nil, err
	}
	if d.eraser, err = newEraser(d.file, d.cfg.EraseWithin); err != nil {
		return nil, nil, errors.Join(err, write.Close(), read.Close(), d.Close())
	}
	return write, read, nil
}

// open has checkpointPages pages written to the log before they are written to the file as well.
func (d *dialect) open(ctx context.Context, synchronous string, checkpointPages int) (write, read *sql.DB, err error) {
	path := d.cfg.Path
	if path == "" {
		if d.temporary, err = os.MkdirTemp("", "leasehold-"); err != nil {
			return nil, nil, fmt.Errorf("make a temporary store: %w", err)
		}
		path = filepath.Join(d.temporary, "store.db")
		synchronous = "OFF" // nothing is kept, so nothing needs to reach the disk
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if path, err = filepath.Abs(path); err != nil {
		return nil, nil, err
	}
	d.file = path
	if d.lock, err = lockFile(path + ".lock"); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	// SQLite would make the file readable for everyone that the umask allows.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	if err := file.Close(); err != nil {
		return nil, nil, err
	}

	write = connect(path, 1, d.cfg.CacheKiB, busyTimeout, url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"journal_mode(WAL)", "synchronous(" + synchronous + ")", "foreign_keys(1)", "journal_size_limit(67108864)",
			"secure_delete(1)", "wal_autocheckpoint(" + strconv.Itoa(checkpointPages) + ")"},
	})
	// One connection more than Views: the store reads the keyring by it.
	read = connect(path, d.cfg.Readers+1, d.cfg.CacheKiB/8, busyTimeout, url.Values{"_pragma": {"query_only(1)"}})
	// The writer goes first: it puts a new file into WAL mode.
	if err := errors.Join(write.PingContext(ctx), read.PingContext(ctx)); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s: %w", path, err), write.Close(), read.Close())
	}
	return write, read, nil
}

// busyTimeout is how long a statement waits for another connection's lock.
const busyTimeout = 10 * time.Second

func connect(path string, connections, cacheKiB int, busyTimeout time.Duration, params url.Values) *sql.DB {
	params.Add("_pragma", "busy_timeout("+strconv.FormatInt(busyTimeout.Milliseconds(), 10)+")")
	params.Add("_pragma", "cache_size(-"+strconv.Itoa(cacheKiB)+")")
	params.Add("_pragma", "temp_store(MEMORY)")
	params.Set("_dqs", "0")
	if !params.Has("_defensive") {
		params.Set("_defensive", "1")
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: params.Encode()}
	connector, err := sqlite.NewConnector(dsn.String())
	if err != nil {
		panic("the connection parameters are constants, and SQLite refuses them: " + err.Error())
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db
}

func (d *dialect) Close() error {
	var err error
	if d.eraser != nil {
		err = d.eraser.close()
		d.eraser = nil
	}
	if d.lock != nil {
		err = errors.Join(err, d.lock.release())
		d.lock = nil
	}
	if d.temporary != "" {
		err = errors.Join(err, os.RemoveAll(d.temporary))
		d.temporary = ""
	}
	return err
}

func (d *dialect) Types() map[string]string {
	return map[string]string{
		"BYTES":  "blob",
		"BIGINT": "integer",
		"TEXT":   "text",
		"SEQ":    "integer primary key autoincrement",
		"STRICT": "strict",
	}
}

func (d *dialect) ClaimSuffix() string { return "" }

// Now is not asked: a file has one node, and the node's clock is the store's.
func (d *dialect) Now(context.Context, *sql.Tx) (time.Time, error) { return time.Time{}, nil }

// LockSchema has nothing to do: every transaction of the writer holds the file's write lock.
func (d *dialect) LockSchema(context.Context, *sql.Tx) error { return nil }

// Retryable is never so: the one writer has nobody to collide with.
func (d *dialect) Retryable(error) bool { return false }

func (d *dialect) Conflict(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	code := e.Code()
	return code == sqlite3.SQLITE_CONSTRAINT_UNIQUE || code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
}

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"leasehold/store/keyring"
)

// Cell names where a sealed value stands; it is bound into the seal. Table and Column are declared in a migration, Key
// is the value of the row's KeyColumn.
type Cell struct{ Table, Column, Key string }

// Tx is one transaction. It is for one goroutine, and for the function it was given to.
//
// After a statement has failed the transaction can only end: later statements fail with the same error, and so does
// the View or Update, whatever its function returns. A QueryRow that finds nothing is no failure. The rows of a Query
// are read to their end and closed before the next statement.
type Tx struct {
	ctx   context.Context // the caller's
	calls context.Context // what statements run under: never cancelled when the dialect is embedded
	store *Store
	sql   querier
	now   time.Time
	keys  *keyring.Keyring // in place of the store's, see UseKeyring
	after []func()
	rows  *sql.Rows // of the latest Query
	err   error     // the first statement that failed
}

// querier runs statements: a sql.Tx, or a session of an embedded dialect.
type querier interface {
	ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row
}

// newTx makes the transaction that a function is given.
func (s *Store) newTx(ctx context.Context, q querier, now time.Time) *Tx {
	tx := &Tx{ctx: ctx, calls: ctx, store: s, sql: q, now: now.UTC().Truncate(time.Microsecond)}
	if s.dialect.Embedded() {
		tx.calls = context.WithoutCancel(ctx)
	}
	// The clock may have been set back; the store's time is not.
	if last := s.last.Load(); tx.now.UnixMicro() < last {
		tx.now = time.UnixMicro(last).UTC()
	}
	return tx
}

// closeRows closes what the function left open.
func (tx *Tx) closeRows() {
	if tx.rows != nil {
		_ = tx.rows.Close() // what it could say, Err has told the function
	}
}

// outcome is what decides between commit and rollback, given what the function returned.
func (tx *Tx) outcome(err error) error {
	if err == nil {
		err = tx.err
	}
	// A Row tells its function the driver's error.
	if err != nil && !errors.Is(err, ErrConflict) && tx.store.dialect.Conflict(err) {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return err
}

var errRowsOpen = errors.New("the rows of the transaction's last query are still open")

// ready says whether another statement can run.
func (tx *Tx) ready() error {
	if tx.err != nil {
		return tx.err
	}
	if tx.rows != nil {
		// Only open rows have columns. PostgreSQL cannot run two statements at once on a connection.
		if _, err := tx.rows.Columns(); err == nil {
			return tx.failed(errRowsOpen)
		}
		tx.rows = nil
	}
	if err := tx.ctx.Err(); err != nil {
		return tx.failed(err)
	}
	return nil
}

// failed notes and classifies the error of a statement.
func (tx *Tx) failed(err error) error {
	if tx.store.dialect.Conflict(err) {
		err = fmt.Errorf("%w: %w", ErrConflict, err)
	}
	if tx.err == nil {
		tx.err = err
	}
	return err
}

// Now is the transaction's instant: UTC, whole microseconds, never before that of the last commit.
func (tx *Tx) Now() time.Time { return tx.now }

// Exec runs a statement and says how many rows it changed. Errors: ErrConflict.
func (tx *Tx) Exec(q string, args ...any) (rows int64, err error) {
	if err := tx.ready(); err != nil {
		return 0, err
	}
	res, err := tx.sql.ExecContext(tx.calls, q, args...)
	if err != nil {
		return 0, tx.failed(err)
	}
	rows, err = res.RowsAffected()
	if err != nil {
		return 0, tx.failed(err)
	}
	return rows, nil
}

// Query runs a statement that returns rows. Errors: ErrConflict.
func (tx *Tx) Query(q string, args ...any) (*sql.Rows, error) {
	if err := tx.ready(); err != nil {
		return nil, err
	}
	rows, err := tx.sql.QueryContext(tx.calls, q, args...)
	if err != nil {
		return nil, tx.failed(err)
	}
	tx.rows = rows
	return rows, nil
}

// QueryRow runs a statement that returns one row at most. Scan says ErrNoRow when there is none. A conflict is told by
// the View or Update as ErrConflict; Scan has the driver's error.
func (tx *Tx) QueryRow(q string, args ...any) *sql.Row {
	if tx.ready() != nil {
		// A Row cannot be made with an error of our own: a cancelled context keeps the statement from running.
		return tx.sql.QueryRowContext(cancelled, q, args...)
	}
	row := tx.sql.QueryRowContext(tx.calls, q, args...)
	if err := row.Err(); err != nil {
		_ = tx.failed(err)
	}
	return row
}

var cancelled = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// UseKeyring makes this transaction seal and open with k, whatever the store has: for the transaction that makes the
// store's first keyring.
func (tx *Tx) UseKeyring(k *keyring.Keyring) { tx.keys = k }

func (tx *Tx) keyring() (*keyring.Keyring, error) {
	if tx.keys != nil {
		return tx.keys, nil
	}
	if k := tx.store.keys.Load(); k != nil {
		return k, nil
	}
	return nil, ErrSealed
}

func (tx *Tx) place(c Cell) (keyring.Place, error) {
	if _, declared := tx.store.cells[[2]string{c.Table, c.Column}]; !declared {
		return keyring.Place{}, fmt.Errorf("column %s.%s is not declared as sealed in a migration", c.Table, c.Column)
	}
	return keyring.Place{Store: tx.store.id, Table: c.Table, Column: c.Column, Key: c.Key}, nil
}

// Seal seals plain for one cell. Errors: ErrSealed, and a cell that no migration declares.
func (tx *Tx) Seal(c Cell, plain []byte) ([]byte, error) {
	k, err := tx.keyring()
	if err != nil {
		return nil, err
	}
	place, err := tx.place(c)
	if err != nil {
		return nil, err
	}
	sealed, err := k.Seal(place, plain)
	return sealed, sealedError(err)
}

// Open opens the value of one cell. Errors: ErrSealed, ErrTampered, and a cell that no migration declares.
func (tx *Tx) Open(c Cell, sealed []byte) ([]byte, error) {
	k, err := tx.keyring()
	if err != nil {
		return nil, err
	}
	place, err := tx.place(c)
	if err != nil {
		return nil, err
	}
	plain, err := k.Open(place, sealed)
	if errors.Is(err, keyring.ErrUnknownKey) {
		if err = tx.store.reloadKeyring(tx.calls, k); err == nil {
			plain, err = k.Open(place, sealed)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open %s.%s: %w", c.Table, c.Column, sealedError(err))
	}
	return plain, nil
}

// Index is a blind index: a keyed hash of value, 64 lower-case hexadecimal digits, different for each purpose.
// Errors: ErrSealed.
func (tx *Tx) Index(purpose string, value []byte) (string, error) {
	k, err := tx.keyring()
	if err != nil {
		return "", err
	}
	index, err := k.Index(purpose, value)
	return index, sealedError(err)
}

// sealedError tells the keyring's errors as the store's.
func sealedError(err error) error {
	switch {
	case errors.Is(err, keyring.ErrWiped): // locked meanwhile
		return ErrSealed
	case errors.Is(err, keyring.ErrUnknownKey): // and the keyring was just read
		return ErrTampered
	}
	return err
}

// ClaimSuffix ends a select that claims rows, so that two nodes do not wait for each other.
func (tx *Tx) ClaimSuffix() string { return tx.store.dialect.ClaimSuffix() }

// LockSuffix ends a select whose rows nobody else is to change until the transaction ends. It waits for those who do.
func (tx *Tx) LockSuffix() string {
	if tx.store.Shared() {
		return "for update"
	}
	return ""
}

// AfterCommit has fn called once the transaction is durable, before Update returns.
func (tx *Tx) AfterCommit(fn func()) { tx.after = append(tx.after, fn) }

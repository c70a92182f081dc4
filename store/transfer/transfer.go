package transfer

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"leasehold/internal/clock"
	"leasehold/internal/failpoint"
	"leasehold/store"
)

// ErrDiffers says that the two sides are not the same after the copy. The move stays half done.
var ErrDiffers = errors.New("the destination is not the same as the source")

// Config says what is moved where.
type Config struct {
	Source, Destination store.Mover
	Migrations          []store.Migration // of all packages, as for store.Open
	Reset               bool              // throw away what a move that was cut short has copied, and begin anew
	Clock               clock.Clock       // for rates; required

	// Report is called when something has begun, ended or gone on, by the goroutine that called Move. Nil: nobody is told.
	Report func(Progress)
}

// Phase is what a move is doing.
type Phase string

// The phases.
const (
	Opened    Phase = "opened"    // both sides are open and fit; Tables and Rows say what the source holds
	Copying   Phase = "copying"   // Done of Rows rows of Table are in the destination
	Comparing Phase = "comparing" // Done of Rows rows of Table were compared
)

// Progress is how far a move came.
type Progress struct {
	Phase   Phase
	Table   string        // "" in phase Opened
	Before  int64         // rows of the table that an earlier run has copied
	Done    int64         // rows, with those Before
	Rows    int64         // rows in all
	Tables  int           // in all
	Elapsed time.Duration // since the table was begun in this phase
	Ended   bool          // the table is through
}

// Summary is what a finished move did.
type Summary struct {
	Tables int
	Rows   int64 // in the destination, all of them compared
	Copied int64 // of them, by this run
	Took   time.Duration
}

// mark is what the destination notes about the move that is under way.
type mark struct {
	Store      string `json:"store"`       // the source's id
	From       string `json:"from"`        // the source's dialect
	LastCommit string `json:"last_commit"` // the source's, where its dialect keeps one
	Schema     string `json:"schema"`      // of the program
}

// Move copies a store, compares the copy, and makes it a store that a server can open. When it is cut short, at any point,
// the same call goes on where it stopped.
//
// Errors: ErrDiffers, store.ErrInUse, those of ctx. All say what to do.
func Move(ctx context.Context, cfg Config) (Summary, error) {
	m := &move{cfg: cfg, begun: cfg.Clock.Now()}
	if m.cfg.Report == nil {
		m.cfg.Report = func(Progress) {}
	}
	err := m.open(ctx)
	if err == nil {
		err = m.run(ctx)
	}
	if err != nil && ctx.Err() != nil { // drivers have their own words for it
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	if err := errors.Join(err, m.close()); err != nil {
		return Summary{}, err
	}
	return m.summary, nil
}

type move struct {
	cfg         Config
	source      *store.Raw // nil until it is open
	destination *store.Raw
	meta        map[string]string // the source's
	tables      []table
	begun       time.Time
	summary     Summary
}

// table is one table with the rows that the source has.
type table struct {
	shape
	rows int64
}

func (m *move) close() error {
	var all []error
	for _, side := range []*store.Raw{m.source, m.destination} {
		if side != nil {
			all = append(all, side.Close())
		}
	}
	return errors.Join(all...)
}

// open opens the source first: when both are the same database, the destination is in use then.
func (m *move) open(ctx context.Context) (err error) {
	if m.source, err = store.OpenRaw(ctx, m.cfg.Source, m.cfg.Migrations, true); err != nil {
		return fmt.Errorf("open the source: %w", err)
	}
	if m.destination, err = store.OpenRaw(ctx, m.cfg.Destination, m.cfg.Migrations, false); err != nil {
		if errors.Is(err, store.ErrInUse) {
			return fmt.Errorf("open the destination, which must be another database than the source: %w", err)
		}
		return fmt.Errorf("open the destination: %w", err)
	}
	return nil
}

func (m *move) run(ctx context.Context) error {
	if err := m.readSource(ctx); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if err := m.prepare(ctx); err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	m.cfg.Report(Progress{Phase: Opened, Tables: m.summary.Tables, Rows: m.summary.Rows})
	for _, t := range m.tables {
		if err := m.copyTable(ctx, t); err != nil {
			return fmt.Errorf("copy table %s: %w", t.Name, err)
		}
	}
	failpoint.Hit("transfer/after-copy")
	if err := m.compare(ctx); err != nil {
		return err
	}
	failpoint.Hit("transfer/after-compare")
	if err := m.finish(ctx); err != nil {
		return fmt.Errorf("finish the destination: %w", err)
	}
	failpoint.Hit("transfer/after-finish")
	m.summary.Took = m.cfg.Clock.Now().Sub(m.begun)
	return nil
}

// readSource checks that the source is a whole store of this program's, and counts its rows.
func (m *move) readSource(ctx context.Context) (err error) {
	if m.meta, err = m.source.Meta(ctx); err != nil {
		return fmt.Errorf("read what store it is: %w", err)
	}
	switch {
	case m.meta["id"] == "":
		return errors.New("there is no store in it")
	case store.Moving(m.meta) != "":
		return store.ErrHalfMoved
	}
	if err := m.source.CheckSteps(ctx); err != nil {
		return err
	}
	tables, err := m.source.Tables(ctx)
	if err != nil {
		return err
	}
	for _, described := range tables {
		t := table{shape: shape{Table: described}}
		if err := t.check(); err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
		if err := m.source.Conn.QueryRowContext(ctx, `select count(*) from `+t.Name).Scan(&t.rows); err != nil {
			return fmt.Errorf("count the rows of %s: %w", t.Name, err)
		}
		m.tables = append(m.tables, t)
		m.summary.Rows += t.rows
	}
	m.summary.Tables = len(m.tables)
	return nil
}

// prepare makes the destination's tables, or finds those of a move that was cut short.
func (m *move) prepare(ctx context.Context) error {
	want := mark{Store: m.meta["id"], From: m.cfg.Source.Name(), LastCommit: m.meta["last_commit"], Schema: m.source.SchemaHash()}
	meta, err := m.destination.Meta(ctx)
	if err != nil {
		return fmt.Errorf("read what is in it: %w", err)
	}
	if meta == nil {
		err = m.mustBeEmpty(ctx)
	} else {
		err = m.mustGoOn(ctx, meta, want)
	}
	if err != nil {
		return err
	}
	note, err := json.Marshal(want)
	if err != nil {
		return fmt.Errorf("encode the mark: %w", err)
	}
	if err := m.destination.Prepare(ctx, want.Store, string(note)); err != nil {
		return err
	}
	failpoint.Hit("transfer/after-prepare")
	tables, err := m.destination.Tables(ctx)
	if err != nil {
		return err
	}
	for i, t := range m.tables {
		if i >= len(tables) || !reflect.DeepEqual(t.Table, tables[i]) {
			return fmt.Errorf("table %s is not what it is in the source, although both were made by the same steps: "+
				"one of them was changed by hand", t.Name)
		}
	}
	return nil
}

// mustBeEmpty refuses a database that is somebody else's.
func (m *move) mustBeEmpty(ctx context.Context) error {
	if m.cfg.Reset {
		return errors.New("there is no unfinished move to begin anew: leave out -reset")
	}
	for _, t := range m.tables {
		found, err := m.cfg.Destination.Describe(ctx, m.destination.Conn, t.Name)
		if err != nil {
			return fmt.Errorf("look for table %s: %w", t.Name, err)
		}
		if len(found.Columns) > 0 {
			return fmt.Errorf("it has a table %s, and is no store: choose an empty database", t.Name)
		}
	}
	return nil
}

// mustGoOn refuses a database that holds anything but the first part of this very move. With Reset it empties it.
func (m *move) mustGoOn(ctx context.Context, meta map[string]string, want mark) error {
	note := store.Moving(meta)
	switch {
	case note == "" && meta["id"] == want.Store:
		return errors.New("it holds this store already, whole: if that was moved here just now, the move was finished, and " +
			"servers can be started on it; otherwise choose an empty database")
	case note == "":
		return errors.New("it holds another store: choose an empty database")
	case m.cfg.Reset:
		return m.destination.Drop(ctx)
	}
	var begun mark
	if err := json.Unmarshal([]byte(note), &begun); err != nil {
		return errors.New("it holds an unfinished move that this program cannot read: -reset begins it anew")
	}
	switch {
	case begun.Store != want.Store:
		return errors.New("it holds the unfinished move of another store: choose an empty database, or throw that away with -reset")
	case begun.Schema != want.Schema:
		return errors.New("it holds a move that another version of this program has begun: go on with that version, " +
			"or begin anew with -reset")
	case begun != want:
		return errors.New("it holds the unfinished move of another copy of this store, or the source was used since that began: " +
			"begin anew with -reset")
	}
	return nil
}

// finish has ids and times go on where the source's are, and takes the mark off, all in one transaction.
func (m *move) finish(ctx context.Context) error {
	last, err := m.lastCommit(ctx)
	if err != nil {
		return fmt.Errorf("read the time of the source's last commit: %w", err)
	}
	high := map[string]int64{}
	for _, t := range m.tables {
		column, ok := t.seq()
		if !ok {
			continue
		}
		if high[t.Name], err = m.cfg.Source.HighWater(ctx, m.source.Conn, t.Name, column); err != nil {
			return fmt.Errorf("read the highest %s of %s: %w", column, t.Name, err)
		}
	}
	if err := m.cfg.Destination.Durable(ctx, m.destination.Conn); err != nil {
		return fmt.Errorf("have it survive a power cut: %w", err)
	}
	return m.destination.Update(ctx, func(tx *sql.Tx) error {
		for _, t := range m.tables {
			column, _ := t.seq()
			if high[t.Name] == 0 {
				continue
			}
			if err := m.cfg.Destination.SetHighWater(ctx, tx, t.Name, column, high[t.Name]); err != nil {
				return fmt.Errorf("set the highest %s of %s: %w", column, t.Name, err)
			}
		}
		if err := m.destination.Finish(ctx, tx, m.meta, last); err != nil {
			return fmt.Errorf("take the mark off: %w", err)
		}
		failpoint.Hit("transfer/before-finish")
		return nil
	})
}

// lastCommit is the time before which the store's must not fall back, in microseconds: for a database with a clock of its
// own the present one, as it keeps no other.
func (m *move) lastCommit(ctx context.Context) (int64, error) {
	last, err := strconv.ParseInt(m.meta["last_commit"], 10, 64)
	if err != nil || m.cfg.Source.Embedded() {
		return last, err
	}
	tx, err := m.source.Conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }() // it has changed nothing
	now, err := m.cfg.Source.Now(ctx, tx)
	return max(last, store.Micros(now)), err
}

package lease

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"leasehold/internal/errs"
	"leasehold/store"
)

// Errors of a [Revoker] or of a create function are told apart by these; any other error means that the target
// answered no and that nothing was changed.
var (
	// ErrUnreachable: nothing was sent. The target is parked and probed; no lease is blamed.
	ErrUnreachable = errors.New("the target cannot be reached")
	// ErrUnknown: it was sent and not answered. It may or may not have happened.
	ErrUnknown = errors.New("the target did not answer")
)

// irrevocableAfter is how many refusals put the label irrevocable on a lease. It is tried again all the same.
// The partial index leases_irrevocable repeats the number.
const irrevocableAfter = 6

// Config makes a Manager.
type Config struct {
	Store *store.Store
	Log   *slog.Logger

	// Alive reports whether a token and all its ancestors are alive. Required.
	Alive func(tx *store.Tx, token int64) (bool, error)
	// MountLive reports whether a mount takes requests. Nothing is issued for one that does not: whoever empties it must
	// not be overtaken by a request that was on its way. Nil: every mount does.
	MountLive func(tx *store.Tx, mountUUID string) (bool, error)
	// Node is the number of this process among those that share the store, which its claims carry; 0: it has none at present.
	// Nil: there is only one.
	Node func() int64
	// Doubt is called when it is not known what came of a claim, or of the write that ends one. Nil: nobody is told, and such
	// a claim ends by its time.
	Doubt func()
	// MountTTL returns the default and maximum lifetime in force now for a mount. Required.
	MountTTL func(mountUUID string) (def, max time.Duration)

	CreateBudget time.Duration // how long a create may take; 0: 15 s
	RevokeBudget time.Duration // how long one revocation may take; 0: 30 s
	Workers      int           // groups of revocations at once per target, when few are not enough; 0: 8

	Observer Observer // is told what becomes of leases; the zero value: nobody is
}

// Manager issues, renews and revokes leases. Safe for concurrent use.
type Manager struct {
	Config
	wake chan struct{}

	mu         sync.Mutex
	revokers   map[string]Revoker  // by kind; guarded by mu
	busy       map[int64]crew      // who works at a target; guarded by mu
	parked     map[int64]parking   // targets that could not be reached; guarded by mu
	complaints map[int64]complaint // targets with leases that cannot be revoked; guarded by mu
	workers    sync.WaitGroup      // the goroutines behind busy
}

// Revoker is what an engine does for its leases. Safe for concurrent use.
type Revoker interface {
	// Revoke undoes what the lease stands for. Nil means: looked, and it is not there. Idempotent.
	Revoke(ctx context.Context, r Record) error
	// Extend moves the target's own expiry.
	Extend(ctx context.Context, r Record, until time.Time) error
	// Terms are the role's default and maximum lifetime in force now. An *errs.Error refuses the renewal.
	Terms(ctx context.Context, r Record) (def, max time.Duration, err error)
}

// GroupRevoker is a Revoker that can undo several leases of one target for less than the sum. The answer has an error for
// each record, in their order. Those that fail are tried again one by one, so that none is blamed for another.
type GroupRevoker interface {
	Revoker
	RevokeGroup(ctx context.Context, rs []Record) []error
}

// New checks the configuration and makes a Manager without touching the store.
func New(cfg Config) (*Manager, error) {
	if cfg.Store == nil || cfg.Alive == nil || cfg.MountTTL == nil {
		return nil, errors.New("lease: Store, Alive and MountTTL are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.CreateBudget == 0 {
		cfg.CreateBudget = 15 * time.Second
	}
	if cfg.RevokeBudget == 0 {
		cfg.RevokeBudget = 30 * time.Second
	}
	if cfg.Workers == 0 {
		cfg.Workers = 8
	}
	if cfg.Node == nil {
		cfg.Node = func() int64 { return 0 }
	}
	if cfg.Doubt == nil {
		cfg.Doubt = func() {}
	}
	return &Manager{
		Config: cfg, wake: make(chan struct{}, 1),
		revokers: map[string]Revoker{}, busy: map[int64]crew{}, parked: map[int64]parking{},
		complaints: map[int64]complaint{},
	}, nil
}

// Register names the Revoker of a kind of lease. Call it before the first lease of that kind.
func (m *Manager) Register(kind string, r Revoker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revokers[kind] = r
}

func (m *Manager) revoker(kind string) (Revoker, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.revokers[kind]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("no engine revokes leases of kind %q", kind)
}

// Wake receives after something became due at once. One receiver.
func (m *Manager) Wake() <-chan struct{} { return m.wake }

func (m *Manager) wakeUp() {
	select {
	case m.wake <- struct{}{}:
	default: // it is awake already
	}
}

// State is where a lease is in its life.
type State string

// The states; the package comment draws them.
const (
	Pending  State = "pending"
	Active   State = "active"
	Revoking State = "revoking"
)

// Record is one lease.
type Record struct {
	Seq         int64
	ID          string // request path + "/" + 24 characters
	Path        string // the request path
	Kind        string
	MountUUID   string
	Target      string // what is revoked and parked together, within the mount
	Token       int64  // whose end ends the lease; 0: none
	State       State
	IssuedAt    time.Time
	ExpiresAt   time.Time
	NotAfter    time.Time // renewal goes no further; zero: no such limit
	LastRenewal time.Time // zero: never
	DueAt       time.Time // when someone must look at the row
	Renewable   bool
	Attempts    int    // refused revocations
	Failure     string // what the last failed revocation said; empty: none
	Payload     []byte // the engine's own, opened

	target  int64
	drops   int // verified drops still owed to a lease that never became active
	version int64
	amended bool // Payload is what was made, and not yet what is stored
}

// Irrevocable reports whether the target has refused so often that an operator should look.
func (r Record) Irrevocable() bool { return r.Attempts >= irrevocableAfter }

// unborn reports whether the lease never became active: no client has seen it.
func (r Record) unborn() bool { return r.drops > 0 }

const recordColumns = `l.seq, l.id, t.kind, t.mount, t.name, l.target, l.token, l.state, l.due_at, l.issued_at, l.expires_at,
	l.not_after, l.renewed_at, l.renewable, l.attempts, l.drops, l.version, l.payload, l.failure`

func scanRecord(tx *store.Tx, row interface{ Scan(...any) error }) (Record, error) {
	r, cells, err := scanSealed(row)
	if err == nil {
		err = r.open(tx, cells)
	}
	return r, err
}

// cells are a row's sealed values.
type cells struct{ payload, failure []byte }

// scanSealed reads what a row shows without its sealed values.
func scanSealed(row interface{ Scan(...any) error }) (Record, cells, error) {
	var r Record
	var c cells
	var due, issued, expires, notAfter, renewed int64
	err := row.Scan(&r.Seq, &r.ID, &r.Kind, &r.MountUUID, &r.Target, &r.target, &r.Token, &r.State, &due, &issued, &expires,
		&notAfter, &renewed, &r.Renewable, &r.Attempts, &r.drops, &r.version, &c.payload, &c.failure)
	if err != nil {
		return Record{}, c, err
	}
	r.Path = r.ID[:len(r.ID)-idSuffix]
	r.DueAt, r.IssuedAt, r.ExpiresAt = store.Time(due), store.Time(issued), store.Time(expires)
	r.NotAfter, r.LastRenewal = store.Time(notAfter), store.Time(renewed)
	return r, c, nil
}

// open opens a row's sealed values.
func (r *Record) open(tx *store.Tx, c cells) (err error) {
	if r.Payload, err = tx.Open(payloadCell(r.ID), c.payload); err != nil {
		return fmt.Errorf("open lease %s: %w", r.ID, err)
	}
	if c.failure == nil {
		return nil
	}
	text, err := tx.Open(failureCell(r.ID), c.failure)
	if err != nil {
		return fmt.Errorf("open lease %s: %w", r.ID, err)
	}
	r.Failure = string(text)
	return nil
}

func payloadCell(id string) store.Cell {
	return store.Cell{Table: "leases", Column: "payload", Key: id}
}

func failureCell(id string) store.Cell {
	return store.Cell{Table: "leases", Column: "failure", Key: id}
}

// queryRecords runs a query that selects or returns recordColumns.
func queryRecords(tx *store.Tx, query string, args ...any) ([]Record, error) {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var records []Record
	for rows.Next() {
		r, err := scanRecord(tx, rows)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, rows.Err()
}

// byID reads one lease; nil: there is none.
func byID(tx *store.Tx, id string) (*Record, error) {
	r, err := scanRecord(tx, tx.QueryRow(
		`SELECT `+recordColumns+` FROM leases l JOIN lease_targets t ON t.seq = l.target WHERE l.id = $1`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &r, err
}

// Lookup reads one lease that a client may know of.
//
// Errors: Invalid (no such lease). Wire: sys/leases/lookup.
func (m *Manager) Lookup(ctx context.Context, id string) (Record, error) {
	var found *Record
	err := m.Store.View(ctx, func(tx *store.Tx) (err error) {
		found, err = byID(tx, id)
		return err
	})
	if err != nil {
		return Record{}, fmt.Errorf("look up lease: %w", err)
	}
	if found == nil || found.unborn() {
		return Record{}, errs.New(errs.Invalid, "invalid lease")
	}
	return *found, nil
}

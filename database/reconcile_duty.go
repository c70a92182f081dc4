package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"leasehold/engine"
	"leasehold/plugins"
	"leasehold/store"
)

// Each connection has a row in database_reconciles, which says when it is to be reconciled next, and what was found the last time.
// Whichever node of the store claims the row does the work; all of them read the rows, so that each knows the last results.

const (
	// retryPeriod is the pause after a failure, when the next time is further away.
	retryPeriod = time.Hour

	// lookPeriod is how often a node reads the rows.
	lookPeriod = 15 * time.Second

	// reconcileClaim is how long a claimed row is left alone by other nodes.
	reconcileClaim = 15 * time.Minute
)

// unplanned is the due_at of a row whose next time is still to be worked out: it is due at once.
const unplanned = 0

// dueColumn is the value of due_at.
func dueColumn(at time.Time, ok bool) any {
	if !ok {
		return nil
	}
	return store.Micros(at)
}

// scheduleTx makes the row of a connection, or has its next time worked out anew when its schedule is another one.
func scheduleTx(tx *store.Tx, c *connection) error {
	s, err := c.settings.schedule()
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO database_reconciles (id, schedule, due_at, version, checked_at, orphans, missing, foreign_users, digest)
		VALUES ($1, $2, $3, 0, 0, 0, 0, 0, '')
		ON CONFLICT (id) DO UPDATE SET schedule = excluded.schedule, due_at = excluded.due_at
			WHERE database_reconciles.schedule <> excluded.schedule`, c.id, s.text, unplanned)
	return err
}

// unscheduleTx forgets what is planned for a connection.
func unscheduleTx(tx *store.Tx, id string) error {
	if _, err := tx.Exec(`DELETE FROM database_root_rotations WHERE id = $1`, id); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM database_reconciles WHERE id = $1`, id)
	return err
}

// state is a row of database_reconciles.
type state struct {
	id                        string // the connection's
	schedule                  string
	due                       *int64 // microseconds; nil: never
	version                   int64
	checked                   int64 // when a comparison succeeded last; 0: none ever did
	digest                    string
	failure                   string // why the last attempt failed; empty: it did not
	orphans, missing, foreign int
}

const stateColumns = `id, schedule, due_at, version, checked_at, orphans, missing, foreign_users, digest, failure`

func scanState(tx *store.Tx, row interface{ Scan(...any) error }) (s state, err error) {
	var failure []byte
	if err := row.Scan(&s.id, &s.schedule, &s.due, &s.version, &s.checked, &s.orphans, &s.missing, &s.foreign, &s.digest, &failure); err != nil {
		return state{}, err
	}
	if failure != nil {
		text, err := tx.Open(reconcileFailureCell(s.id), failure)
		if err != nil {
			return state{}, fmt.Errorf("open the reconciliation of connection %s: %w", s.id, err)
		}
		s.failure = string(text)
	}
	return s, nil
}

func reconcileFailureCell(id string) store.Cell {
	return store.Cell{Table: "database_reconciles", Column: "failure", Key: id}
}

// rounds is what a node knows of its own.
type rounds struct {
	mu     sync.Mutex
	looked time.Time          // when the rows were read last; guarded by mu
	told   map[string]int64   // checked_at of the results that OnReconciled was told, by connection id; guarded by mu
	stop   context.CancelFunc // ends the work; nil: there is none; guarded by mu
	work   sync.WaitGroup
}

// reconcileDue has the connections reconciled that are due, and returns without waiting. Most calls do nothing at all: the rows are
// read a few times a minute.
func (e *Engine) reconcileDue(ctx context.Context) error {
	if !e.rounds.look(e.clock.Now()) {
		return nil
	}
	var states []state
	due := false
	err := e.store.View(ctx, func(tx *store.Tx) error {
		states, due = nil, false
		rows, err := tx.Query(`SELECT ` + stateColumns + ` FROM database_reconciles`)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			s, err := scanState(tx, rows)
			if err != nil {
				return err
			}
			states = append(states, s)
			due = due || s.due != nil && *s.due <= store.Micros(tx.Now())
		}
		return rows.Err()
	})
	if err != nil {
		return fmt.Errorf("read what is to be reconciled: %w", err)
	}
	e.tellAll(states)
	if due {
		e.rounds.start(ctx, e.reconcileAll)
	}
	return nil
}

// look reports whether it is time to read the rows.
func (r *rounds) look(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	since := now.Sub(r.looked)
	if !r.looked.IsZero() && 0 <= since && since < lookPeriod {
		return false
	}
	r.looked = now
	return true
}

// start runs work behind the caller's back, unless it runs already.
func (r *rounds) start(ctx context.Context, work func(ctx context.Context)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop != nil {
		return
	}
	ctx, r.stop = context.WithCancel(ctx)
	r.work.Go(func() {
		defer r.end()
		work(ctx)
	})
}

// cancel hurries the work, if there is any, to its end.
func (r *rounds) cancel() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop != nil {
		r.stop()
	}
}

// end makes room for the next.
func (r *rounds) end() {
	r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stop = nil
}

// reconcileAll works off what is due, one connection after the other.
func (e *Engine) reconcileAll(ctx context.Context) {
	for ctx.Err() == nil {
		claimed, err := e.claimReconcile(ctx)
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, store.ErrSealed) {
				e.log.Error("what is due to be reconciled could not be claimed", "error", err)
			}
			return
		}
		if claimed == nil {
			return
		}
		if err := e.reconcileClaimed(ctx, claimed); err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrSealed) {
			e.log.Error("the result of reconciling could not be recorded", "connection", claimed.id, "error", err)
		}
	}
}

// claimReconcile takes a row that is due; nil: there is none. Rows that are unplanned get their time.
func (e *Engine) claimReconcile(ctx context.Context) (claimed *state, err error) {
	err = e.store.Update(ctx, func(tx *store.Tx) error {
		claimed = nil
		for {
			s, err := scanState(tx, tx.QueryRow(`SELECT `+stateColumns+` FROM database_reconciles WHERE due_at <= $1
				ORDER BY due_at, id LIMIT 1 `+tx.ClaimSuffix(), store.Micros(tx.Now())))
			if errors.Is(err, store.ErrNoRow) {
				return nil
			}
			if err != nil {
				return err
			}
			if *s.due != unplanned {
				s.version++
				claimed = &s
				_, err := tx.Exec(`UPDATE database_reconciles SET due_at = $1, version = $2 WHERE id = $3`,
					store.Micros(tx.Now().Add(reconcileClaim)), s.version, s.id)
				return err
			}
			plan, err := readSchedule(s.schedule)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(`UPDATE database_reconciles SET due_at = $1 WHERE id = $2`,
				dueColumn(plan.next(tx.Now(), s.checked == 0)), s.id); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("claim a reconciliation: %w", err)
	}
	return claimed, nil
}

// reconcileClaimed does the work of a claimed row. Crash: the row is due again when the claim runs out.
func (e *Engine) reconcileClaimed(ctx context.Context, s *state) error {
	mount, name, _ := strings.Cut(s.id, "/")
	c, _, err := e.find(ctx, mount, name)
	if err != nil {
		return err
	}
	if c == nil || c.retired {
		return e.store.Update(ctx, func(tx *store.Tx) error { return unscheduleTx(tx, s.id) })
	}
	found, err := e.compare(ctx, c, defaultListed)
	if ctx.Err() != nil || errors.Is(err, store.ErrSealed) {
		return ctx.Err()
	}
	if err != nil && e.marks(c) { // else it is no news
		e.log.Warn("a database could not be reconciled; it is tried again", "mount", mount, "connection", name, "error", err)
	}
	return e.record(ctx, s.id, outcome{found: found, failed: err, claim: s})
}

// marks reports whether a connection's plugin can be reconciled at all.
func (e *Engine) marks(c *connection) bool {
	p, err := e.acquire(c)
	if err != nil {
		return true
	}
	defer e.pools.release(p)
	_, can := p.db.(plugins.Marker)
	return can
}

// outcome is what came of an attempt.
type outcome struct {
	found  *comparison // nil: it failed
	failed error
	claim  *state // nil: an operator asked, and the next time stays as it was
}

// record writes an outcome down and tells of it. Orphans are logged when they are others than the last time.
func (e *Engine) record(ctx context.Context, id string, o outcome) error {
	var after state
	var news bool
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		news, after = false, state{}
		s, err := scanState(tx, tx.QueryRow(`SELECT `+stateColumns+` FROM database_reconciles WHERE id = $1`, id))
		if errors.Is(err, store.ErrNoRow) || o.claim != nil && err == nil && s.version != o.claim.version {
			return nil // deleted, or another has claimed it meanwhile
		}
		if err != nil {
			return err
		}
		if o.claim != nil {
			plan, err := readSchedule(s.schedule)
			if err != nil {
				return err
			}
			at, ok := plan.next(tx.Now(), false)
			if again := tx.Now().Add(retryPeriod); o.found == nil && again.Before(at) {
				at = again
			}
			if _, err := tx.Exec(`UPDATE database_reconciles SET due_at = $1 WHERE id = $2`, dueColumn(at, ok), id); err != nil {
				return err
			}
		}
		if o.found == nil {
			sealed, err := tx.Seal(reconcileFailureCell(id), []byte(told(o.failed)))
			if err != nil {
				return err
			}
			_, err = tx.Exec(`UPDATE database_reconciles SET failure = $1 WHERE id = $2`, sealed, id)
			return err
		}
		digest, left, err := digestOf(tx, o.found.left())
		if err != nil {
			return err
		}
		news = digest != s.digest && left > 0
		s.checked, s.orphans, s.missing, s.foreign = store.Micros(tx.Now()), left, o.found.missingCount, o.found.foreignCount
		o.found.at, after = tx.Now(), s
		_, err = tx.Exec(`UPDATE database_reconciles SET checked_at = $1, orphans = $2, missing = $3, foreign_users = $4, digest = $5,
				failure = NULL WHERE id = $6`, s.checked, s.orphans, s.missing, s.foreign, digest, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("record a reconciliation: %w", err)
	}
	mount, name, _ := strings.Cut(id, "/")
	if news {
		e.log.Warn("a database has users whose leases are gone: database/reconcile/NAME lists them, and removes them when told to",
			"mount", mount, "connection", name, "orphans", after.orphans)
	}
	if after.id != "" {
		e.tell(after)
	}
	return nil
}

// digestOf tells one set of orphans from another without holding their names; empty: there are none.
func digestOf(tx *store.Tx, names []string) (digest string, n int, err error) {
	if len(names) == 0 {
		return "", 0, nil
	}
	encoded, err := json.Marshal(names)
	if err == nil {
		digest, err = tx.Index("database/orphans", encoded)
	}
	return digest, len(names), err
}

// tellAll tells results that are new to this node, its own and those of others, and takes back those of connections that are gone.
func (e *Engine) tellAll(states []state) {
	there := map[string]bool{}
	for _, s := range states {
		there[s.id] = true
		if s.checked != 0 {
			e.tell(s)
		}
	}
	for _, id := range e.rounds.gone(there) {
		e.onReconciled(id, 0, 0, 0)
	}
}

func (e *Engine) tell(s state) {
	if e.rounds.isNews(s.id, s.checked) {
		e.onReconciled(s.id, s.orphans, s.missing, s.foreign)
	}
}

func (e *Engine) onReconciled(id string, orphans, missing, foreign int) {
	mount, name, _ := strings.Cut(id, "/")
	e.reconciled(mount, name, orphans, missing, foreign)
}

func (r *rounds) isNews(id string, checked int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told[id] >= checked {
		return false
	}
	r.told[id] = checked
	return true
}

// gone forgets the connections that are not there any more, and says which they were.
func (r *rounds) gone(there map[string]bool) (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.told {
		if !there[id] {
			delete(r.told, id)
			ids = append(ids, id)
		}
	}
	return ids
}

// readReconcileStatus shows the row.
//
// Errors: Unavailable (no such connection).
func (e *Engine) readReconcileStatus(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	c, _, err := e.mustFind(ctx, r.Mount.UUID, f.Text("name"))
	if err != nil {
		return nil, err
	}
	var s state
	err = e.store.View(ctx, func(tx *store.Tx) (err error) {
		s, err = scanState(tx, tx.QueryRow(`SELECT `+stateColumns+` FROM database_reconciles WHERE id = $1`, c.id))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the reconciliation of connection %q: %w", c.name, err)
	}
	data := map[string]any{
		"connection": c.name, "schedule": s.schedule, "next_at": nil, "checked_at": wireTime(store.Time(s.checked)),
		"orphan_count": s.orphans, "missing_count": s.missing, "foreign_count": s.foreign, "error": s.failure,
	}
	if s.due != nil && *s.due != unplanned {
		data["next_at"] = wireTime(store.Time(*s.due))
	}
	return &engine.Response{Data: data}, nil
}

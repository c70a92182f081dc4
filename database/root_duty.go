package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/store"
)

// The password of a connection's own user may be rotated by itself, by a rhythm like those of static roles. Each connection that has one
// has a row in database_root_rotations, which says when it is due next, and what came of the last attempt. Whichever node claims the
// row does the work; the claim of one that dies runs out. The rotation is the one that a request asks for, rotate.go, and nothing is lost
// when it happens twice.

// rootClaim is how long a claimed row is left alone: longer than a rotation may take, however slow its database is.
const rootClaim = 5 * time.Minute

// rootTurn stands before a connection's id where the node notes what it is at.
const rootTurn = "root "

// rootRhythm is what an operator wrote about the rotation of a connection's own password.
type rootRhythm struct {
	Rhythm   rhythm `json:"rhythm,omitzero"`
	Disabled bool   `json:"disabled,omitempty"` // it rests, and keeps its rhythm
}

// on reports whether the password is rotated by itself.
func (r rootRhythm) on() bool { return r.Rhythm != rhythm{} && !r.Disabled }

// merge takes over the fields that were named. A period of nothing, or an empty schedule, ends it.
//
// Errors: Invalid.
func (r *rootRhythm) merge(f *engine.Fields) error {
	if f.Has("disable_automated_rotation") {
		r.Disabled = f.Bool("disable_automated_rotation")
	}
	period, schedule, window := f.Has("rotation_period"), f.Has("rotation_schedule"), f.Has("rotation_window")
	switch ends := period && f.Duration("rotation_period") == 0 || schedule && f.Text("rotation_schedule") == ""; {
	case !period && !schedule && !window:
		return nil
	case period != schedule && ends && !window:
		r.Rhythm = rhythm{}
		return nil
	case !period && !schedule && r.Rhythm.Schedule == "":
		return errs.New(errs.Invalid, "rotation_window goes with rotation_schedule")
	}
	_, err := r.Rhythm.merge(f)
	return err
}

// rootState is a row of database_root_rotations.
type rootState struct {
	id       string // the connection's
	version  int64
	planned  time.Time // when the next rotation is to begin, by the rhythm
	due      time.Time // when somebody has to look
	rotated  time.Time // zero: never since it has a rhythm
	attempts int       // that have failed since
	failure  string    // why the last one failed
}

const (
	rootColumns    = `id, version, planned_at, due_at, rotated_at, attempts, failure`
	selectDueRoots = `SELECT id FROM database_root_rotations WHERE due_at <= $1`
)

func rootFailureCell(id string) store.Cell {
	return store.Cell{Table: "database_root_rotations", Column: "failure", Key: id}
}

// findRoot reads a row; nil: the connection has none.
func findRoot(tx *store.Tx, id string) (*rootState, error) {
	var s rootState
	var planned, due, rotated int64
	var failure []byte
	err := tx.QueryRow(`SELECT `+rootColumns+` FROM database_root_rotations WHERE id = $1`, id).
		Scan(&s.id, &s.version, &planned, &due, &rotated, &s.attempts, &failure)
	if errors.Is(err, store.ErrNoRow) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s.planned, s.due, s.rotated = store.Time(planned), store.Time(due), store.Time(rotated)
	if failure != nil {
		text, err := tx.Open(rootFailureCell(id), failure)
		if err != nil {
			return nil, fmt.Errorf("open the root rotation of connection %s: %w", id, err)
		}
		s.failure = string(text)
	}
	return &s, nil
}

func (s *rootState) save(tx *store.Tx) error {
	var failure []byte
	if s.failure != "" {
		var err error
		if failure, err = tx.Seal(rootFailureCell(s.id), []byte(s.failure)); err != nil {
			return err
		}
	}
	s.version++
	_, err := tx.Exec(`UPDATE database_root_rotations SET version = $1, planned_at = $2, due_at = $3, rotated_at = $4, attempts = $5, failure = $6
		WHERE id = $7`, s.version, store.Micros(s.planned), store.Micros(s.due), store.Micros(s.rotated), s.attempts, failure, s.id)
	return err
}

// scheduleRootTx makes the row of a connection, plans anew when its rhythm is another one, or forgets it when there is none.
func scheduleRootTx(tx *store.Tx, c *connection) error {
	if !c.settings.Rotation.on() {
		_, err := tx.Exec(`DELETE FROM database_root_rotations WHERE id = $1`, c.id)
		return err
	}
	text, err := json.Marshal(c.settings.Rotation.Rhythm)
	if err != nil {
		return errors.New("encode the rhythm of a root rotation")
	}
	planned, err := c.settings.Rotation.Rhythm.after(tx.Now())
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO database_root_rotations (id, rhythm, version, planned_at, due_at, rotated_at, attempts)
		VALUES ($1, $2, 0, $3, $3, 0, 0)
		ON CONFLICT (id) DO UPDATE SET rhythm = excluded.rhythm, version = database_root_rotations.version + 1,
			planned_at = excluded.planned_at, due_at = excluded.due_at, attempts = 0, failure = NULL
			WHERE database_root_rotations.rhythm <> excluded.rhythm`, c.id, string(text), store.Micros(planned))
	return err
}

// rotateRootsDue has the connections' own passwords rotated whose time has come, and returns without waiting.
func (e *Engine) rotateRootsDue(ctx context.Context) error {
	var due []string
	err := e.store.View(ctx, func(tx *store.Tx) error {
		due = nil
		rows, err := tx.Query(selectDueRoots, store.Micros(tx.Now()))
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			due = append(due, id)
		}
		return rows.Err()
	})
	if err != nil {
		return fmt.Errorf("look for root passwords to rotate: %w", err)
	}
	for _, id := range due {
		e.turns.start(ctx, e.clock.Now(), rootTurn+id, e.rotateRootInTurn)
	}
	return nil
}

// rotateRootInTurn rotates the password of a connection that is due.
func (e *Engine) rotateRootInTurn(ctx context.Context, turn string) {
	id := strings.TrimPrefix(turn, rootTurn)
	mount, name, _ := strings.Cut(id, "/")
	claimed, err := e.claimRoot(ctx, mount, name)
	if err == nil && claimed != nil {
		// Crash: the row is due again when its claim runs out; what the rotation leaves is settled by whoever uses the connection next.
		if failed := e.rotateRootOf(ctx, mount, name); failed != nil {
			err = e.rootFailed(context.WithoutCancel(ctx), claimed, failed, ctx.Err() != nil)
		}
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrSealed) {
		e.log.Error("the planned rotation of a root password could not be worked at", "mount", mount, "connection", name, "error", err)
	}
}

// claimRoot takes a row that is due; nil: another has it, there is nothing to do any more, or its window is over.
func (e *Engine) claimRoot(ctx context.Context, mount, name string) (claimed *rootState, err error) {
	missed := false
	err = e.store.Update(ctx, func(tx *store.Tx) error {
		claimed, missed = nil, false
		s, err := findRoot(tx, id(mount, name))
		if err != nil || s == nil || s.due.After(tx.Now()) {
			return err
		}
		c, err := findLive(tx, mount, name)
		if err != nil {
			return err
		}
		if c == nil {
			return unscheduleTx(tx, s.id)
		}
		if missed = c.settings.Rotation.Rhythm.missed(s.planned, tx.Now()); missed {
			if s.planned, err = c.settings.Rotation.Rhythm.after(tx.Now()); err != nil {
				return err
			}
			s.due, s.attempts = s.planned, 0
			return s.save(tx)
		}
		claimed, s.due = s, tx.Now().Add(rootClaim)
		return s.save(tx)
	})
	if err != nil {
		return nil, fmt.Errorf("claim the root rotation of connection %q: %w", name, err)
	}
	if missed {
		e.log.Warn("a root password was not rotated within its window; it waits for the next time", "mount", mount, "connection", name)
	}
	return claimed, nil
}

// rootRotated plans the next rotation after one that succeeded, whoever asked for it.
func (e *Engine) rootRotated(ctx context.Context, c *connection) {
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		s, err := findRoot(tx, c.id)
		if err != nil || s == nil {
			return err
		}
		present, err := findLive(tx, c.mount, c.name)
		if err != nil || present == nil {
			return err
		}
		if s.planned, err = present.settings.Rotation.Rhythm.after(tx.Now()); err != nil {
			return err
		}
		s.due, s.rotated, s.attempts, s.failure = s.planned, tx.Now(), 0, ""
		return s.save(tx)
	})
	if err != nil {
		e.log.Warn("a root password was rotated, but its next time could not be planned: it may be rotated once more", "mount", c.mount,
			"connection", c.name, "error", err)
	}
}

// rootFailed notes why a claimed rotation failed and when it is tried again, unless the row has changed since. One that was broken off is
// tried again at once, by whoever is there.
func (e *Engine) rootFailed(ctx context.Context, claimed *rootState, cause error, brokenOff bool) error {
	first := false
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		first = false
		s, err := findRoot(tx, claimed.id)
		if err != nil || s == nil || s.version != claimed.version {
			return err
		}
		if brokenOff {
			s.due = tx.Now()
			return s.save(tx)
		}
		s.attempts++
		s.due, s.failure, first = tx.Now().Add(rotationPause(s.attempts)), told(cause), s.attempts == 1
		return s.save(tx)
	})
	if err == nil && first {
		mount, name, _ := strings.Cut(claimed.id, "/")
		e.log.Warn("a root password could not be rotated; it is tried again", "mount", mount, "connection", name, "error", cause)
	}
	return err
}

// showRotation adds to an answer how a connection's own password is rotated by itself, and what came of it.
func (e *Engine) showRotation(ctx context.Context, c *connection, data map[string]any) error {
	r := c.settings.Rotation
	switch {
	case r.Rhythm.Schedule != "":
		data["rotation_schedule"], data["rotation_window"] = r.Rhythm.Schedule, int64(r.Rhythm.Window/time.Second)
	case r.Rhythm.Period != 0:
		data["rotation_period"] = int64(r.Rhythm.Period / time.Second)
	}
	if r.Disabled {
		data["disable_automated_rotation"] = true
	}
	if !r.on() {
		return nil
	}
	var s *rootState
	err := e.store.View(ctx, func(tx *store.Tx) (err error) {
		s, err = findRoot(tx, c.id)
		return err
	})
	if err != nil || s == nil {
		return err
	}
	data["last_rotation"], data["next_rotation"], data["next_attempt"] = wireTime(s.rotated), wireTime(s.planned), wireTime(s.due)
	data["failed_attempts"], data["last_error"] = s.attempts, s.failure
	return nil
}

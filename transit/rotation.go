package transit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"leasehold/internal/errs"
	"leasehold/store"
)

const (
	minRotatePeriod = time.Hour
	// claimTime is how long a node has for a rotation before another one takes it up. A large RSA key takes seconds.
	claimTime = time.Minute
)

var errRotatePeriod = errs.New(errs.Invalid, "auto rotate period must be 0 to disable or at least an hour")

// maxFirings is how many firings of a schedule are looked at for their distance. A schedule repeats itself by days, and no
// day has more firings that are an hour apart.
const maxFirings = 25

// setRotation says how a key rotates by itself: each period, or at the times of a schedule, or neither. The schedule is a
// line of cron, UTC.
//
// Errors: Invalid.
func (e *Engine) setRotation(k *key, period time.Duration, schedule string) error {
	switch {
	case period != 0 && schedule != "":
		return errs.New(errs.Invalid, "auto_rotate_period and auto_rotate_schedule cannot be set both")
	case period != 0 && period < minRotatePeriod:
		return errRotatePeriod
	}
	if schedule != "" {
		at, err := e.next(schedule, e.store.Clock().Now())
		if err != nil {
			return errs.New(errs.Invalid, "auto_rotate_schedule is not a cron schedule: %s", err)
		}
		for range maxFirings {
			after, err := e.next(schedule, at)
			if err != nil || after.Sub(at) < minRotatePeriod {
				return errs.New(errs.Invalid, "auto_rotate_schedule has to leave at least an hour between rotations")
			}
			at = after
		}
	}
	k.RotatePeriod, k.RotateSchedule = period, schedule
	return nil
}

// rotates reports whether the key rotates by itself.
func (s *settings) rotates() bool { return s.RotatePeriod != 0 || s.RotateSchedule != "" }

// dueAt is when a key rotates by itself, as its row has it; nil: never.
func (s shelf) dueAt(k *key) (any, error) {
	if !k.rotates() || k.SoftDeleted || k.demandRotatable() != nil {
		return nil, nil
	}
	made := store.Time(k.LatestAt)
	if k.RotateSchedule == "" {
		return store.Micros(made.Add(k.RotatePeriod)), nil
	}
	at, err := s.engine.next(k.RotateSchedule, made)
	if err != nil {
		return nil, fmt.Errorf("read a schedule: %w", err)
	}
	return store.Micros(at), nil
}

const (
	selectDue = `SELECT due_at FROM transit_keys WHERE due_at <= $1 ORDER BY due_at LIMIT 1`
	selectOwn = `SELECT due_at, name FROM transit_keys WHERE id = $1`
)

// RunOnce implements [engine.Duty]: it sees whether keys are due to rotate, and has them rotated behind it. One at a time
// is enough: keys rotate hours apart.
func (e *Engine) RunOnce(ctx context.Context) error {
	select {
	case e.rotating <- struct{}{}:
	default:
		return nil // at it
	}
	due := true
	err := e.store.View(ctx, func(tx *store.Tx) error {
		var at int64
		err := tx.QueryRow(selectDue, store.Micros(tx.Now())).Scan(&at)
		if errors.Is(err, store.ErrNoRow) {
			due = false
			return nil
		}
		return err
	})
	if err != nil || !due {
		<-e.rotating
		return err
	}
	e.work.Go(func() {
		defer func() { <-e.rotating }()
		e.rotateDue(ctx)
	})
	return nil
}

// Wait returns when nothing that RunOnce started is going on. Its context has to be done.
func (e *Engine) Wait() { e.work.Wait() }

// rotateDue rotates the keys that are due. One that fails is due again when its claim ends.
func (e *Engine) rotateDue(ctx context.Context) {
	for ctx.Err() == nil {
		c, err := e.claim(ctx)
		if err == nil && c == nil {
			return
		}
		if err == nil {
			// Crash: the claim ends in a minute, and the key is due again.
			err = e.rotateClaimed(ctx, c)
		}
		if errors.Is(err, store.ErrSealed) || ctx.Err() != nil {
			return
		}
		if err != nil {
			e.log.Error("rotate a key that is due", "error", err)
		}
		if c == nil {
			return
		}
	}
}

// claim is a key that is due, and that no other node rotates meanwhile.
type claim struct {
	id, mount string
	until     int64 // what the claim has made due_at
}

// claim takes the key that has been due for the longest time; nil: there is none.
func (e *Engine) claim(ctx context.Context) (*claim, error) {
	var c *claim
	err := e.store.Claim(ctx, func(tx *store.Tx) error {
		c = &claim{until: store.Micros(tx.Now().Add(claimTime))}
		err := tx.QueryRow(`WITH picked AS MATERIALIZED (
				SELECT id FROM transit_keys WHERE due_at <= $1 ORDER BY due_at LIMIT 1 `+tx.ClaimSuffix()+`)
			UPDATE transit_keys SET due_at = $2 WHERE id IN (SELECT id FROM picked) RETURNING id, mount`,
			store.Micros(tx.Now()), c.until).Scan(&c.id, &c.mount)
		if errors.Is(err, store.ErrNoRow) {
			c = nil
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim a key: %w", err)
	}
	return c, nil
}

// rotateClaimed rotates a key, unless it was changed since it was claimed: then it has another due_at.
func (e *Engine) rotateClaimed(ctx context.Context, c *claim) error {
	var before *key
	err := e.store.View(ctx, func(tx *store.Tx) (err error) {
		before, err = shelf{Tx: tx, mount: c.mount, engine: e}.claimed(c)
		return err
	})
	if before == nil || err != nil {
		return err
	}
	next, err := before.algorithm().generate(before.KeySize)
	if err != nil {
		return err
	}
	return e.store.Update(ctx, func(tx *store.Tx) error {
		live, err := e.live(tx, c.mount)
		if err != nil || !live {
			return err
		}
		s := shelf{Tx: tx, mount: c.mount, engine: e}
		k, err := s.claimed(c)
		if k == nil || err != nil {
			return err
		}
		return s.rotate(k, next)
	})
}

// claimed reads the key of a claim; nil: the claim is not good any more.
func (s shelf) claimed(c *claim) (*key, error) {
	var due *int64
	var sealed []byte
	switch err := s.QueryRow(selectOwn, c.id).Scan(&due, &sealed); {
	case errors.Is(err, store.ErrNoRow):
		return nil, nil
	case err != nil:
		return nil, err
	case due == nil || *due != c.until:
		return nil, nil
	}
	name, err := s.Open(nameCell(c.id), sealed)
	if err != nil {
		return nil, err
	}
	return s.read(c.id, string(name))
}

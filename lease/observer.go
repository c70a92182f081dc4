package lease

import (
	"context"
	"fmt"
	"time"

	"leasehold/store"
)

// Observer is told what becomes of leases, for whoever measures. Its functions return at once; those that are nil are not
// called. An error wraps [ErrUnreachable] or [ErrUnknown], or is another: the target answered no.
type Observer struct {
	// Issued is told how long it took from the intent to the active lease, or until it was given up.
	Issued func(mountUUID string, took time.Duration, err error)
	// Renewed is told of a lease whose end was moved.
	Renewed func(took time.Duration)
	// Undone is told of one try to revoke a lease at its target. took is the lease's share of what was undone together.
	Undone func(mountUUID, target string, took time.Duration, err error)
}

func (m *Manager) issued(mountUUID string, began time.Time, err error) {
	if tell := m.Observer.Issued; tell != nil {
		tell(mountUUID, m.Store.Clock().Now().Sub(began), err)
	}
}

func (m *Manager) renewed(began time.Time) {
	if tell := m.Observer.Renewed; tell != nil {
		tell(m.Store.Clock().Now().Sub(began))
	}
}

func (m *Manager) undone(r Record, took time.Duration, err error) {
	if tell := m.Observer.Undone; tell != nil {
		tell(r.MountUUID, r.Target, took, err)
	}
}

// Backlog is what waits for a target.
type Backlog struct {
	MountUUID string
	Target    string
	Due       int           // leases that must be revoked and that nobody is working at
	Oldest    time.Duration // for how long the oldest of them has been due
	Parked    bool          // this process cannot reach the target, and probes it
}

// Backlogs are those of all targets, also where nothing waits. The cost is that of the leases that are due.
func (m *Manager) Backlogs(ctx context.Context) ([]Backlog, error) {
	var all []Backlog
	err := m.Store.View(ctx, func(tx *store.Tx) error {
		all = nil
		now := tx.Now()
		rows, err := tx.Query(`SELECT t.seq, t.mount, t.name, COUNT(l.seq), COALESCE(MIN(l.due_at), $1)
			FROM lease_targets t LEFT JOIN leases l ON l.target = t.seq AND l.due_at <= $1
			GROUP BY t.seq, t.mount, t.name ORDER BY t.seq`, store.Micros(now))
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var b Backlog
			var seq, oldest int64
			if err := rows.Scan(&seq, &b.MountUUID, &b.Target, &b.Due, &oldest); err != nil {
				return err
			}
			b.Oldest, b.Parked = now.Sub(store.Time(oldest)), m.isParked(seq)
			all = append(all, b)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("count due leases: %w", err)
	}
	return all, nil
}

// CountByState counts all leases. It goes over an index of all of them: a second for some millions.
func (m *Manager) CountByState(ctx context.Context) (map[State]int, error) {
	counts := map[State]int{}
	err := m.Store.View(ctx, func(tx *store.Tx) error {
		counts = map[State]int{Pending: 0, Active: 0, Revoking: 0}
		var all int
		if err := tx.QueryRow(`SELECT COUNT(*) FROM leases`).Scan(&all); err != nil {
			return err
		}
		rows, err := tx.Query(`SELECT state, COUNT(*) FROM leases WHERE state <> 'active' GROUP BY state`)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var s State
			var n int
			if err := rows.Scan(&s, &n); err != nil {
				return err
			}
			counts[s] = n
		}
		counts[Active] = all - counts[Pending] - counts[Revoking]
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("count leases by state: %w", err)
	}
	return counts, nil
}

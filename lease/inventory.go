package lease

import (
	"context"
	"fmt"

	"leasehold/store"
)

// inventoryPage is how many leases Walk reads at a time: a megabyte or two.
const inventoryPage = 2000

// Target is what leases are revoked and parked by.
type Target struct {
	Kind, MountUUID, Name string

	seq int64
}

// Targets are those of a kind that leases were ever issued on: tens, however many leases there are. A target keeps its leases
// when it is renamed.
func (m *Manager) Targets(ctx context.Context, kind string) ([]Target, error) {
	var targets []Target
	err := m.Store.View(ctx, func(tx *store.Tx) error {
		targets = nil
		rows, err := tx.Query(`SELECT seq, mount, name FROM lease_targets WHERE kind = $1 ORDER BY seq`, kind)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			t := Target{Kind: kind}
			if err := rows.Scan(&t.seq, &t.MountUUID, &t.Name); err != nil {
				return err
			}
			targets = append(targets, t)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list the targets of leases: %w", err)
	}
	return targets, nil
}

// A page is a range of seq, which a lease keeps for all its life. The plus keeps the databases from collecting all of a target's
// leases for each page.
const (
	pageEndSQL = `SELECT MAX(seq) FROM (SELECT seq FROM leases WHERE seq > $1 ORDER BY seq LIMIT $2) AS page`
	pageSQL    = `SELECT ` + recordColumns + ` FROM leases l JOIN lease_targets t ON t.seq = l.target
		WHERE l.seq > $1 AND l.seq <= $2 AND +l.target = $3 ORDER BY l.seq`
)

// Walk visits the leases of a target, whatever their state, oldest first and page by page, each page in a transaction of its own
// that is over when visit is called. A lease that is there from before Walk is called until after it returns is visited once;
// one that is made or deleted meanwhile may be.
//
// Memory is that of a page. Reading goes over all leases of the store, of which those of other targets are not opened.
func (m *Manager) Walk(ctx context.Context, target Target, visit func(page []Record) error) error {
	var after int64
	for {
		var end *int64 // nil: there are no more
		var page []Record
		err := m.Store.View(ctx, func(tx *store.Tx) error {
			err := tx.QueryRow(pageEndSQL, after, inventoryPage).Scan(&end)
			if err == nil && end != nil {
				page, err = queryRecords(tx, pageSQL, after, *end, target.seq)
			}
			return err
		})
		switch {
		case err != nil:
			return fmt.Errorf("read the leases of target %q: %w", target.Name, err)
		case end == nil:
			return nil
		case len(page) > 0:
			if err := visit(page); err != nil {
				return err
			}
		}
		after = *end
	}
}

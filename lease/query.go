package lease

import (
	"context"
	"fmt"
	"strings"

	"leasehold/store"
)

// List returns what stands one path level below prefix: lease ids without the prefix, and folders with a trailing slash,
// sorted. Each folder costs one index seek, however many leases are in it.
//
// Wire: LIST sys/leases/lookup/PREFIX.
func (m *Manager) List(ctx context.Context, prefix string) ([]string, error) {
	from, to := prefixRange(prefix)
	skip := len(from)
	var keys []string
	err := m.Store.View(ctx, func(tx *store.Tx) error {
		keys = nil
		for at := from; ; {
			ids, err := idsFrom(tx, at, to)
			if err != nil || len(ids) == 0 {
				return err
			}
			for _, id := range ids {
				rest := id[skip:]
				slash := strings.IndexByte(rest, '/')
				if slash < 0 {
					keys = append(keys, rest)
					at = next(id)
					continue
				}
				folder := rest[:slash+1]
				keys = append(keys, folder)
				at = from + rest[:slash] + "0" // behind the folder: '0' follows '/'
				break
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	return keys, nil
}

// idsFrom is one page of ids that a client may know of.
func idsFrom(tx *store.Tx, from, to string) ([]string, error) {
	rows, err := tx.Query(`SELECT id FROM leases WHERE id >= $1 AND id < $2 AND drops = 0 ORDER BY id LIMIT $3`, from, to, pageSize)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// Irrevocable returns the leases whose revocation was refused again and again, oldest first, and at most limit of them;
// zero: all.
//
// Wire: GET sys/leases?type=irrevocable.
func (m *Manager) Irrevocable(ctx context.Context, limit int) ([]Record, error) {
	if limit <= 0 {
		limit = 1 << 40
	}
	var records []Record
	err := m.Store.View(ctx, func(tx *store.Tx) (err error) {
		records, err = queryRecords(tx, `SELECT `+recordColumns+` FROM leases l JOIN lease_targets t ON t.seq = l.target
			WHERE l.attempts >= 6 ORDER BY l.seq LIMIT $1`, limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list irrevocable leases: %w", err)
	}
	return records, nil
}

// CountIrrevocable counts them by mount UUID.
//
// Wire: GET sys/leases/count?type=irrevocable.
func (m *Manager) CountIrrevocable(ctx context.Context) (map[string]int, error) {
	counts := map[string]int{}
	err := m.Store.View(ctx, func(tx *store.Tx) error {
		clear(counts)
		rows, err := tx.Query(`SELECT t.mount, COUNT(*) FROM leases l JOIN lease_targets t ON t.seq = l.target
			WHERE l.attempts >= 6 GROUP BY t.mount`)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var mount string
			var n int
			if err := rows.Scan(&mount, &n); err != nil {
				return err
			}
			counts[mount] = n
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("count irrevocable leases: %w", err)
	}
	return counts, nil
}

// next is the least text behind an id. Ids hold no control characters; a zero byte is refused by PostgreSQL.
func next(id string) string { return id + "\x01" }

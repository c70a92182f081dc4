package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// SealedRef names a cell without its value.
type SealedRef struct{ Table, Column, Key string }

// Verify opens every sealed cell, and says how many there are and which do not open. It reads each column in one
// snapshot of its own and keeps no values. Errors: ErrSealed.
func (s *Store) Verify(ctx context.Context) (checked int, bad []SealedRef, err error) {
	k := s.keys.Load()
	if k == nil {
		return 0, nil, ErrSealed
	}
	// Read once before: an unknown key met later is then a damaged cell.
	if err := s.reloadKeyring(ctx, k); err != nil {
		return 0, nil, err
	}
	for _, column := range s.sealed {
		err := s.View(ctx, func(tx *Tx) error {
			n, refs, err := tx.verify(column)
			checked, bad = checked+n, append(bad, refs...)
			return err
		})
		if err != nil {
			return checked, bad, fmt.Errorf("verify %s.%s: %w", column.Table, column.Column, err)
		}
	}
	return checked, bad, nil
}

func (tx *Tx) verify(c SealedColumn) (checked int, bad []SealedRef, err error) {
	rows, err := tx.Query(`select ` + c.KeyColumn + `, ` + c.Column + ` from ` + c.Table + ` where ` + c.Column + ` is not null`)
	if err != nil {
		return 0, nil, err
	}
	for rows.Next() {
		if err := tx.ctx.Err(); err != nil {
			return checked, bad, err
		}
		var key sql.NullString
		var sealed sql.RawBytes
		if err := rows.Scan(&key, &sealed); err != nil {
			return checked, bad, err
		}
		checked++
		_, err := tx.Open(Cell{c.Table, c.Column, key.String}, sealed)
		switch {
		case errors.Is(err, ErrTampered):
			bad = append(bad, SealedRef{c.Table, c.Column, key.String})
		case err != nil:
			return checked, bad, err
		}
	}
	return checked, bad, rows.Err()
}

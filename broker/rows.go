package broker

import (
	"errors"

	"leasehold/store"
)

// collect reads all rows of a query before the next statement runs: opening a sealed value may be one.
func collect[T any](tx *store.Tx, read func(scan func(...any) error) (T, error), query string, args ...any) ([]T, error) {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // what it could say, Err says
	var all []T
	for rows.Next() {
		one, err := read(rows.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

func scanText(scan func(...any) error) (string, error) {
	var text string
	err := scan(&text)
	return text, err
}

func isNoRow(err error) bool { return errors.Is(err, store.ErrNoRow) }

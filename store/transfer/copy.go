package transfer

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"leasehold/internal/failpoint"
)

const (
	batchRows  = 2000    // rows in a transaction at most
	batchBytes = 4 << 20 // after so many bytes a transaction ends

	// statementRows is how many rows share an INSERT and a round trip; what is left over goes one by one. In this process
	// there is no round trip, and SQLite's driver looks up each parameter by comparing it with all.
	statementRows = 100
)

// copyTable copies the rows that are behind the destination's last one.
func (m *move) copyTable(ctx context.Context, t table) error {
	p := Progress{Phase: Copying, Table: t.Name, Rows: t.rows, Tables: m.summary.Tables}
	begun := m.cfg.Clock.Now()
	last, before, err := m.arrived(ctx, t)
	if err != nil {
		return fmt.Errorf("look which rows the destination has: %w", err)
	}
	p.Before, p.Done = before, before
	m.cfg.Report(p)

	rows, err := m.source.Conn.QueryContext(ctx, t.query(last != nil), last...)
	if err != nil {
		return fmt.Errorf("read the source: %w", err)
	}
	defer func() { _ = rows.Close() }() // read-only: what it could say, Err says

	var batch []row
	bytes := 0
	flush := func() error {
		if err := m.destination.Update(ctx, func(tx *sql.Tx) error { return m.write(ctx, tx, t, batch) }); err != nil {
			return fmt.Errorf("write the destination: %w", err)
		}
		failpoint.Hit("transfer/after-batch")
		p.Done += int64(len(batch))
		m.summary.Copied += int64(len(batch))
		p.Elapsed = m.cfg.Clock.Now().Sub(begun)
		m.cfg.Report(p)
		batch, bytes = batch[:0], 0
		return nil
	}
	for rows.Next() {
		r, size, err := t.scan(rows)
		if err != nil {
			return fmt.Errorf("read the source: %w", err)
		}
		batch, bytes = append(batch, r), bytes+size
		if len(batch) == batchRows || bytes >= batchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the source: %w", err)
	}
	if len(batch) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	p.Ended, p.Elapsed = true, m.cfg.Clock.Now().Sub(begun)
	m.cfg.Report(p)
	return nil
}

// arrived is the key of the last row that the destination has, nil for none, and how many it has.
func (m *move) arrived(ctx context.Context, t table) (last []any, count int64, err error) {
	if err := m.destination.Conn.QueryRowContext(ctx, `select count(*) from `+t.Name).Scan(&count); err != nil || count == 0 {
		return nil, 0, err
	}
	last = make([]any, len(t.Key))
	into := make([]any, len(t.Key))
	for i := range last {
		into[i] = &last[i]
	}
	key := strings.Join(t.Key, ", ")
	backwards := strings.Join(t.Key, " desc, ") + " desc"
	err = m.destination.Conn.QueryRowContext(ctx, `select `+key+` from `+t.Name+` order by `+backwards+` limit 1`).Scan(into...)
	return last, count, err
}

// write inserts a batch.
func (m *move) write(ctx context.Context, tx *sql.Tx, t table, batch []row) (err error) {
	clause := m.cfg.Destination.InsertSeq()
	if !m.cfg.Destination.Embedded() {
		many := t.insert(statementRows, clause) // the driver knows the text, and prepares it once
		for ; len(batch) >= statementRows; batch = batch[statementRows:] {
			if _, err := tx.ExecContext(ctx, many, slices.Concat(batch[:statementRows]...)...); err != nil {
				return fmt.Errorf("one of the rows from %s to %s: %w", t.key(batch[0]), t.key(batch[statementRows-1]), err)
			}
		}
	}
	one, err := tx.PrepareContext(ctx, t.insert(1, clause))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, one.Close()) }()
	for _, r := range batch {
		if _, err := one.ExecContext(ctx, r...); err != nil {
			return fmt.Errorf("the row %s: %w", t.key(r), err)
		}
	}
	failpoint.Hit("transfer/in-batch")
	return nil
}

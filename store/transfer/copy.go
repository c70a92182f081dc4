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
	batchRows     = 2000    // rows in a transaction at most
	batchBytes    = 4 << 20 // after so many bytes a transaction ends
	statementRows = 100     // rows in an INSERT; what is left over goes one by one
)

// copyTable copies the rows that are behind the destination's last one.
func (m *move) copyTable(ctx context.Context, t table) (err error) {
	p := Progress{Phase: Copying, Table: t.Name, Rows: t.rows, Tables: m.summary.Tables}
	begun := m.cfg.Clock.Now()
	last, before, err := m.arrived(ctx, t)
	if err != nil {
		return fmt.Errorf("look which rows the destination has: %w", err)
	}
	p.Before, p.Done = before, before
	m.cfg.Report(p)

	in, err := m.newInserts(ctx, t)
	if err != nil {
		return fmt.Errorf("prepare the insert: %w", err)
	}
	defer func() { err = errors.Join(err, in.close()) }()
	rows, err := m.source.Conn.QueryContext(ctx, t.query(last != nil), last...)
	if err != nil {
		return fmt.Errorf("read the source: %w", err)
	}
	defer func() { _ = rows.Close() }() // read-only: what it could say, Err says

	var batch []row
	bytes := 0
	flush := func() error {
		if err := m.destination.Update(ctx, func(tx *sql.Tx) error { return in.run(ctx, tx, batch) }); err != nil {
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

// inserts are the prepared statements for one table.
type inserts struct {
	t         table
	many, one *sql.Stmt // of statementRows rows, and of one
}

func (m *move) newInserts(ctx context.Context, t table) (*inserts, error) {
	in := &inserts{t: t}
	clause := m.cfg.Destination.InsertSeq()
	var err error
	if in.many, err = m.destination.Conn.PrepareContext(ctx, t.insert(statementRows, clause)); err != nil {
		return nil, err
	}
	if in.one, err = m.destination.Conn.PrepareContext(ctx, t.insert(1, clause)); err != nil {
		return nil, errors.Join(err, in.many.Close())
	}
	return in, nil
}

func (in *inserts) close() error { return errors.Join(in.many.Close(), in.one.Close()) }

func (in *inserts) run(ctx context.Context, tx *sql.Tx, batch []row) error {
	many, one := tx.StmtContext(ctx, in.many), tx.StmtContext(ctx, in.one)
	left := batch
	for ; len(left) >= statementRows; left = left[statementRows:] {
		if _, err := many.ExecContext(ctx, slices.Concat(left[:statementRows]...)...); err != nil {
			return fmt.Errorf("one of the rows from %s to %s: %w", in.t.key(left[0]), in.t.key(left[statementRows-1]), err)
		}
	}
	for _, r := range left {
		if _, err := one.ExecContext(ctx, r...); err != nil {
			return fmt.Errorf("the row %s: %w", in.t.key(r), err)
		}
	}
	failpoint.Hit("transfer/in-batch")
	return nil
}

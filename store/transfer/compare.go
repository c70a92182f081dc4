package transfer

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"leasehold/store"
)

// maxShown is how many differences of a table are named; all are counted.
const maxShown = 10

// compare reads both sides again, side by side, and wants every row to be the same. Errors: ErrDiffers.
func (m *move) compare(ctx context.Context) error {
	var found []string
	for _, t := range m.tables {
		differences, err := m.compareTable(ctx, t)
		if err != nil {
			return fmt.Errorf("compare table %s: %w", t.Name, err)
		}
		found = append(found, differences...)
	}
	if found != nil {
		return fmt.Errorf("%w:\n  %s\nNothing was changed in the source. If a server has used it since the move began, or somebody "+
			"has changed the destination, begin anew with -reset", ErrDiffers, strings.Join(found, "\n  "))
	}
	return nil
}

// side walks through one side's rows of a table.
type side struct {
	t    table
	rows *sql.Rows
	at   row // nil at the end
}

func newSide(ctx context.Context, st *store.Raw, t table) (*side, error) {
	rows, err := st.Conn.QueryContext(ctx, t.query(false))
	if err != nil {
		return nil, err
	}
	s := &side{t: t, rows: rows}
	if err := s.next(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *side) next() (err error) {
	s.at = nil
	if s.rows.Next() {
		s.at, _, err = s.t.scan(s.rows)
		return err
	}
	return s.rows.Err()
}

func (s *side) close() error { return s.rows.Close() }

// compareTable names the rows that differ, by their keys alone: what is in them is nobody's business.
func (m *move) compareTable(ctx context.Context, t table) (differences []string, err error) {
	p := Progress{Phase: Comparing, Table: t.Name, Rows: t.rows, Tables: m.summary.Tables}
	begun := m.cfg.Clock.Now()
	source, err := newSide(ctx, m.source, t)
	if err != nil {
		return nil, fmt.Errorf("read the source: %w", err)
	}
	defer func() { err = errors.Join(err, source.close()) }()
	destination, err := newSide(ctx, m.destination, t)
	if err != nil {
		return nil, fmt.Errorf("read the destination: %w", err)
	}
	defer func() { err = errors.Join(err, destination.close()) }()

	count := 0
	differs := func(r row, how string) {
		if count++; count <= maxShown {
			differences = append(differences, fmt.Sprintf("%s: the row %s %s", t.Name, t.key(r), how))
		}
	}
	for source.at != nil || destination.at != nil {
		order := 0
		switch {
		case destination.at == nil:
			order = -1
		case source.at == nil:
			order = 1
		default:
			order = t.order(source.at, destination.at)
		}
		switch {
		case order < 0:
			differs(source.at, "is missing in the destination")
		case order > 0:
			differs(destination.at, "is in the destination alone")
		default:
			if columns := t.differing(source.at, destination.at); columns != nil {
				differs(source.at, "differs in "+strings.Join(columns, ", "))
			}
		}
		if order <= 0 {
			if err := source.next(); err != nil {
				return nil, fmt.Errorf("read the source: %w", err)
			}
			if p.Done++; p.Done%batchRows == 0 {
				p.Elapsed = m.cfg.Clock.Now().Sub(begun)
				m.cfg.Report(p)
			}
		}
		if order >= 0 {
			if err := destination.next(); err != nil {
				return nil, fmt.Errorf("read the destination: %w", err)
			}
		}
	}
	if count > maxShown {
		differences = append(differences, fmt.Sprintf("%s: %d rows more", t.Name, count-maxShown))
	}
	p.Ended, p.Elapsed = true, m.cfg.Clock.Now().Sub(begun)
	m.cfg.Report(p)
	return differences, nil
}

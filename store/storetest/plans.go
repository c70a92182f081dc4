package storetest

import (
	"slices"
	"strings"
	"testing"

	"leasehold/store"
)

// Planned is a query and how SQLite is to answer it.
type Planned struct {
	Query string
	Args  int      // how many arguments it takes
	By    []string // the indexes: each is a part of the plan
	Reads []string // what it may read as a whole, by the name that it has in the query
}

// CheckPlans fails the test unless each query finds its rows by its indexes, without sorting.
func CheckPlans(t *testing.T, st *store.Store, queries []Planned) {
	t.Helper()
	for _, q := range queries {
		plan := planOf(t, st, q)
		text := strings.Join(plan, "; ")
		good := !strings.Contains(text, "TEMP B-TREE")
		for _, index := range q.By {
			good = good && strings.Contains(text, index)
		}
		for _, step := range plan {
			table, scans := strings.CutPrefix(step, "SCAN ")
			good = good && (!scans || table == "CONSTANT ROW" || slices.Contains(q.Reads, strings.Fields(table)[0]))
		}
		if !good {
			t.Errorf("%s: the plan is %q, want one by %q", q.Query, text, q.By)
		}
	}
}

// planOf are the steps of a query's plan.
func planOf(t *testing.T, st *store.Store, q Planned) (steps []string) {
	t.Helper()
	err := st.View(t.Context(), func(tx *store.Tx) error {
		steps = nil
		rows, err := tx.Query(`EXPLAIN QUERY PLAN `+q.Query, []any{"1", 2, 3, 4}[:q.Args]...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var id, parent, unused int
			var step string
			if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
				return err
			}
			steps = append(steps, step)
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatalf("%s: %v", q.Query, err)
	}
	return steps
}

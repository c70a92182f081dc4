package database

import (
	"strings"
	"testing"

	"leasehold/store"
	"leasehold/store/storetest"
)

// However many static roles there are, what is due is found by an index.
func TestStaticQueryPlans(t *testing.T) {
	t.Parallel()
	st := storetest.New(t, Migrations()...)
	for _, q := range []struct {
		query string
		args  []any
		index []string
	}{
		{selectDueConnections, []any{1}, []string{"database_rotations_due"}},
		{selectDueRoles, []any{"c", 1, 2}, []string{"database_rotations_due", "(id=?)"}},
		{selectClaimants, nil, []string{"database_rotations_claimant"}},
		{countOfAccount, []any{"a"}, []string{"database_rotations_account", "database_rotations_second"}},
	} {
		var plan []string
		err := st.View(t.Context(), func(tx *store.Tx) error {
			plan = nil
			rows, err := tx.Query(`EXPLAIN QUERY PLAN `+q.query, q.args...)
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
				plan = append(plan, step)
			}
			return rows.Err()
		})
		if err != nil {
			t.Fatalf("%s: %v", q.query, err)
		}
		text := strings.Join(plan, "; ")
		for _, index := range q.index {
			if !strings.Contains(text, index) || strings.Contains(text, "TEMP B-TREE") {
				t.Errorf("%s: plan is %q, want one by %s", q.query, text, index)
			}
		}
	}
}

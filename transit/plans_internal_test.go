package transit

import (
	"strings"
	"testing"

	"leasehold/store"
	"leasehold/store/storetest"
)

// Every query that runs often, or on many rows, must find them by an index.
func TestQueryPlans(t *testing.T) {
	t.Parallel()
	st := storetest.New(t, Migrations()...)
	for _, q := range []struct {
		query, index string
		args         int
	}{
		{selectStamp, "(id=?)", 1},
		{selectKey, "(id=?)", 1},
		{selectOwn, "(id=?)", 1},
		{selectNames, "transit_keys_mount", 1},
		{updateKey, "(id=?)", 4},
		{deleteKey, "(id=?)", 1},
		{deleteBatch, "transit_keys_mount", 2},
		{selectDue, "transit_keys_due", 1},
		{selectVersion, "transit_versions_owner", 2},
		{selectRange, "transit_versions_owner", 3},
		{updateVersion, "(id=?)", 2},
		{deleteBelow, "transit_versions_owner", 2},
	} {
		var plan []string
		err := st.View(t.Context(), func(tx *store.Tx) error {
			rows, err := tx.Query(`EXPLAIN QUERY PLAN `+q.query, []any{"1", 2, 3, 4}[:q.args]...)
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
		if !strings.Contains(text, q.index) || strings.Contains(text, "SCAN transit_") || strings.Contains(text, "TEMP B-TREE") {
			t.Errorf("%s: plan is %q, want one by %s", q.query, text, q.index)
		}
	}
}

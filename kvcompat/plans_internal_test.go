package kvcompat

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
		{selectEntry, "(id=?)", 1},
		{selectNames, "kv_entries_dir", 1},
		{selectChild, "kv_entries_dir", 1},
		{updateEntry, "(id=?)", 3},
		{deleteEntry, "(id=?)", 1},
		{deleteSpace, "kv_entries_space", 1},
		{deleteBatch, "kv_entries_space", 2},
		{selectVersion, "kv_versions_entry", 2},
		{selectVersions, "kv_versions_entry", 1},
		{pruneVersions, "kv_versions_entry", 2},
		{deleteVersion, "kv_versions_entry", 3},
		{undeleteVersion, "kv_versions_entry", 3},
		{destroyVersion, "kv_versions_entry", 2},
	} {
		var plan []string
		err := st.View(t.Context(), func(tx *store.Tx) error {
			rows, err := tx.Query(`EXPLAIN QUERY PLAN `+q.query, []any{"1", 2, 3}[:q.args]...)
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
		if !strings.Contains(text, q.index) || strings.Contains(text, "SCAN kv_") || strings.Contains(text, "TEMP B-TREE") {
			t.Errorf("%s: plan is %q, want one by %s", q.query, text, q.index)
		}
	}
}

package auth

import (
	"strings"
	"testing"

	"leasehold/store"
)

// Counting reads an index, which is a small part of the table, and nothing beside it.
func TestCountPlan(t *testing.T) {
	t.Parallel()
	_, st, _ := newReaper(t, 0)
	err := st.View(t.Context(), func(tx *store.Tx) error {
		var id, parent, unused int
		var step string
		err := tx.QueryRow(`EXPLAIN QUERY PLAN `+countTokens).Scan(&id, &parent, &unused, &step)
		if err == nil && !strings.Contains(step, "USING COVERING INDEX") {
			t.Errorf("plan is %q", step)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

//go:build faults

package cluster

import (
	"testing"

	"leasehold/internal/testdb"
)

// TestAgreement agrees again and again.
func TestAgreement(t *testing.T) {
	t.Parallel()
	r := newRig(t, testdb.Postgres(t, testdb.Durable()), options{targets: 1})
	r.nodesOn(r.store.URL(), 3)
	r.prepareAgreement()
	for round := range times(t, "LEASEHOLD_ROUNDS", 2) {
		if r.agree(round); t.Failed() {
			break
		}
	}
	r.close()
}

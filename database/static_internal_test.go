package database

import (
	"testing"

	"leasehold/store/storetest"
)

// However many static roles there are, what is due is found by an index.
func TestStaticQueryPlans(t *testing.T) {
	t.Parallel()
	storetest.CheckPlans(t, storetest.New(t, Migrations()...), []storetest.Planned{
		{Query: selectDueConnections, Args: 1, By: []string{"database_rotations_due"}, Reads: []string{"c"}},
		{Query: selectDueRoles, Args: 3, By: []string{"database_rotations_due", "(id=?)"}},
		{Query: selectDueRoots, Args: 1, By: []string{"database_root_rotations_due"}},
		{Query: selectClaimants, By: []string{"database_rotations_claimant"}, Reads: []string{"database_rotations"}},
		{Query: countOfAccount, Args: 1, By: []string{"database_rotations_account", "database_rotations_second"}},
	})
}

package transit

import (
	"testing"

	"leasehold/store/storetest"
)

// Every query that runs often, or on many rows, must find them by an index.
func TestQueryPlans(t *testing.T) {
	t.Parallel()
	storetest.CheckPlans(t, storetest.New(t, Migrations()...), []storetest.Planned{
		{Query: selectStamp, Args: 1, By: []string{"(id=?)"}},
		{Query: selectKey, Args: 1, By: []string{"(id=?)"}},
		{Query: selectOwn, Args: 1, By: []string{"(id=?)"}},
		{Query: selectNames, Args: 1, By: []string{"transit_keys_mount"}},
		{Query: updateKey, Args: 4, By: []string{"(id=?)"}},
		{Query: deleteKey, Args: 1, By: []string{"(id=?)"}},
		{Query: deleteBatch, Args: 2, By: []string{"transit_keys_mount"}},
		{Query: selectDue, Args: 1, By: []string{"transit_keys_due"}},
		{Query: selectVersion, Args: 2, By: []string{"transit_versions_owner"}},
		{Query: selectRange, Args: 3, By: []string{"transit_versions_owner"}},
		{Query: updateVersion, Args: 2, By: []string{"(id=?)"}},
		{Query: deleteBelow, Args: 2, By: []string{"transit_versions_owner"}},
	})
}

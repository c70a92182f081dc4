package kvcompat

import (
	"testing"

	"leasehold/store/storetest"
)

// Every query that runs often, or on many rows, must find them by an index.
func TestQueryPlans(t *testing.T) {
	t.Parallel()
	storetest.CheckPlans(t, storetest.New(t, Migrations()...), []storetest.Planned{
		{Query: selectEntry, Args: 1, By: []string{"(id=?)"}},
		{Query: selectNames, Args: 1, By: []string{"kv_entries_dir"}},
		{Query: selectChild, Args: 1, By: []string{"kv_entries_dir"}},
		{Query: updateEntry, Args: 3, By: []string{"(id=?)"}},
		{Query: deleteEntry, Args: 1, By: []string{"(id=?)"}},
		{Query: deleteSpace, Args: 1, By: []string{"kv_entries_space"}},
		{Query: deleteBatch, Args: 2, By: []string{"kv_entries_space"}},
		{Query: selectVersion, Args: 2, By: []string{"kv_versions_entry"}},
		{Query: selectVersions, Args: 1, By: []string{"kv_versions_entry"}},
		{Query: pruneVersions, Args: 2, By: []string{"kv_versions_entry"}},
		{Query: deleteVersion, Args: 3, By: []string{"kv_versions_entry"}},
		{Query: undeleteVersion, Args: 3, By: []string{"kv_versions_entry"}},
		{Query: destroyVersion, Args: 2, By: []string{"kv_versions_entry"}},
	})
}

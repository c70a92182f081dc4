package lease_test

import (
	"os"
	"testing"

	"leasehold/store/storetest"
)

// newStore makes an unlocked store of the database that the present round runs on.
var newStore storetest.Open

// TestMain runs every test on SQLite, and on a real PostgreSQL.
func TestMain(m *testing.M) { os.Exit(storetest.MainOnBoth(m, &newStore)) }

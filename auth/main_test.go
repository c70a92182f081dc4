package auth

import (
	"os"
	"testing"

	"leasehold/internal/testdb"
)

func TestMain(m *testing.M) { os.Exit(testdb.Main(m.Run)) }

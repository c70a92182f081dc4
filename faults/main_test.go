package faults

import (
	"os"
	"testing"

	"leasehold/internal/testdb"
	"leasehold/server/proctest"
)

// program is the product.
var program string

func TestMain(m *testing.M) {
	if socket := os.Getenv(diskVariable); socket != "" {
		becomeProgram(socket, os.Getenv(programVariable))
	}
	os.Exit(testdb.Main(func() int { return proctest.Main(m, &program) }))
}

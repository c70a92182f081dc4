package faults

import (
	"fmt"
	"os"
	"testing"

	"leasehold/internal/testdb"
	"leasehold/server/proctest"
)

var (
	program string         // the product
	pg      *testdb.Server // has all targets and shared stores; the users of each test have names of their own
)

func TestMain(m *testing.M) {
	if socket := os.Getenv(diskVariable); socket != "" {
		becomeProgram(socket, os.Getenv(programVariable))
	}
	s, stop, err := testdb.Start(testdb.With("log_statement", "none"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	pg = s
	code := proctest.Main(m, &program)
	stop()
	os.Exit(code)
}

//go:build faults

package faults

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"leasehold/server/proctest"
)

// folder holds the program; it goes with the run.
var folder string

func TestMain(m *testing.M) {
	if socket := os.Getenv(diskVariable); socket != "" {
		becomeProgram(socket, os.Getenv(programVariable))
	}
	os.Exit(func() int {
		var err error
		if folder, err = os.MkdirTemp("", "leasehold-faults-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(folder) }()
		return m.Run()
	}())
}

// program is the product, built for the first test that asks.
var program = sync.OnceValues(func() (string, error) { return proctest.Build(folder) })

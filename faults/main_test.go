//go:build faults

package faults

import (
	"os"
	"testing"

	"leasehold/server/proctest"
)

// program is the product.
var program string

func TestMain(m *testing.M) {
	if socket := os.Getenv(diskVariable); socket != "" {
		becomeProgram(socket, os.Getenv(programVariable))
	}
	os.Exit(proctest.Main(m, &program))
}

package cluster

import (
	"os"
	"strconv"
	"testing"

	"leasehold/server/proctest"
)

// binary is built with failpoints, once.
var binary string

func TestMain(m *testing.M) { os.Exit(proctest.Main(m, &binary, "failpoint")) }

// times is how often a test repeats its fault: short, unless the environment says otherwise.
func times(t *testing.T, variable string, short int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return short
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

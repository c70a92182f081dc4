package testdb

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// Servers that all tests of a package share, started by the first that asks. Each test works in databases, or with users, of its
// own there. [Main] ends them.
var (
	sharedPostgres = sync.OnceValues(func() (*Server, error) {
		s, stop, err := Start()
		endAtExit(stop)
		return s, err
	})
	sharedMariaDB = sync.OnceValues(func() (*MariaServer, error) {
		s, stop, err := StartMariaDB()
		endAtExit(stop)
		return s, err
	})

	endsMu sync.Mutex
	ends   []func() // guarded by endsMu
)

func endAtExit(stop func()) {
	if stop == nil {
		return // it did not start
	}
	endsMu.Lock()
	defer endsMu.Unlock()
	ends = append(ends, stop)
}

// Shared is the PostgreSQL server of the package's tests. It logs every statement with its parameters.
func Shared(t testing.TB) *Server { return mustStart(t, sharedPostgres) }

// SharedMariaDB is the MariaDB server of the package's tests.
func SharedMariaDB(t testing.TB) *MariaServer { return mustStart(t, sharedMariaDB) }

func mustStart[S any](t testing.TB, start func() (S, error)) S {
	t.Helper()
	s, err := start()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Main runs the tests of a package, ends the servers that they shared, and fails when goroutines are left:
// TestMain is os.Exit(testdb.Main(m.Run)).
func Main(run func() int) (code int) {
	code = run()
	for _, stop := range ends {
		stop()
	}
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

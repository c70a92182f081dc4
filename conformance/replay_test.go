package conformance

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"leasehold/internal/testdb"
	"leasehold/server/proctest"
)

// binary is the server under test, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(proctest.Main(m, &binary)) }

// unmet names the needs of a flow that nothing here can meet yet. Such a flow fails; it is never skipped over.
var met = map[string]bool{"pg": true, "my": true, "tmp": true, "compute": true}

func TestRecordings(t *testing.T) {
	flows, err := loadFlows("../testdata/wire")
	if err != nil {
		t.Fatal(err)
	}
	listed := readList(t)
	results := make([]*result, len(flows))
	t.Run("flows", func(t *testing.T) {
		for i, f := range flows {
			t.Run(f.Area+"/"+f.Name, func(t *testing.T) {
				t.Parallel()
				results[i] = replayWithNeeds(t, f, "")
				report(t, results[i], listed[f.Name])
			})
		}
	})
	printTable(t, results)
	for name := range listed {
		if !slices.ContainsFunc(flows, func(f *flow) bool { return f.Name == name }) {
			t.Errorf("passing.txt names %q, which is no flow", name)
		}
	}
}

func replayWithNeeds(t *testing.T, f *flow, database string) *result {
	vars := variables{}
	for _, need := range f.Head.Needs {
		if !met[need] {
			r := &result{flow: f}
			r.fail(f.Name, "needs "+need+", which is not built yet")
			return r
		}
		switch need {
		case "pg":
			db := testdb.Postgres(t)
			vars["PG_ADDR"], vars["PG_USER"], vars["PG_PASS"], vars["PG_DB"] = db.Addr, db.User, db.Password, db.Database
		case "my":
			db := testdb.MariaDB(t)
			vars["MY_ADDR"], vars["MY_USER"], vars["MY_PASS"] = db.Addr, db.User, db.Password
		}
	}
	return replay(f, binary, vars, database)
}

// report fails the test when the result and the list disagree.
func report(t *testing.T, r *result, listed bool) {
	t.Helper()
	switch {
	case r.ok() && !listed:
		t.Errorf("%s passes: add it to passing.txt", r.flow.Name)
	case !r.ok() && listed:
		for _, f := range r.failures {
			t.Errorf("%s:\n\t%s", f.id, strings.Join(f.diffs, "\n\t"))
		}
	case !r.ok() && testing.Verbose():
		for _, f := range r.failures {
			t.Logf("%s:\n\t%s", f.id, strings.Join(f.diffs, "\n\t"))
		}
	}
}

func readList(t *testing.T) map[string]bool {
	t.Helper()
	file, err := os.Open("passing.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	listed := map[string]bool{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if name := strings.TrimSpace(lines.Text()); name != "" && name[0] != '#' {
			listed[name] = true
		}
	}
	return listed
}

// printTable shows passed and total by area, always: it is the run's outcome.
func printTable(t *testing.T, results []*result) {
	t.Helper()
	type sum struct{ flows, passed, exchanges, exchangesPassed int }
	areas := map[string]*sum{}
	all := &sum{}
	for _, r := range results {
		if r == nil {
			continue // not chosen by -run
		}
		if areas[r.flow.Area] == nil {
			areas[r.flow.Area] = &sum{}
		}
		for _, s := range []*sum{areas[r.flow.Area], all} {
			s.flows++
			s.exchanges += r.flow.exchanges()
			s.exchangesPassed += r.passed
			if r.ok() {
				s.passed++
			}
		}
	}
	fmt.Printf("%-12s %7s %7s %10s %7s\n", "area", "flows", "passed", "exchanges", "passed")
	for _, area := range slices.Sorted(maps.Keys(areas)) {
		s := areas[area]
		fmt.Printf("%-12s %7d %7d %10d %7d\n", area, s.flows, s.passed, s.exchanges, s.exchangesPassed)
	}
	fmt.Printf("recordings: %d of %d flows, %d of %d exchanges\n", all.passed, all.flows, all.exchangesPassed, all.exchanges)
}

func readResponse(conn net.Conn, method string) (*http.Response, error) {
	return http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
}

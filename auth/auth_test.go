package auth_test

import (
	"sync/atomic"
	"testing"
	"time"

	"leasehold/auth"
	"leasehold/internal/clock"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/store"
	"leasehold/store/storetest"
)

// testLeases stands for the lease table: a row for each lease, due or not.
var testLeases = store.Migration{Package: "testleases", Version: 1, SQL: []string{
	`CREATE TABLE test_leases (seq SEQ, token BIGINT NOT NULL, due BIGINT NOT NULL) STRICT`,
	`CREATE INDEX test_leases_token ON test_leases (token)`,
}}

func dueLeases(tx *store.Tx, token int64, limit int) (int, error) {
	n, err := tx.Exec(`UPDATE test_leases SET due = 1 WHERE seq IN (SELECT seq FROM test_leases WHERE token = $1 AND due = 0 LIMIT $2)`,
		token, limit)
	return int(n), err
}

// fixture is a token store on a clock that the test moves.
type fixture struct {
	*auth.Store
	store *store.Store
	clock *clock.Fake
	woken atomic.Int32
	on    storetest.Open
}

var dawn = time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)

func newFixture(t testing.TB, on storetest.Open) *fixture {
	t.Helper()
	f := &fixture{clock: clock.NewFake(dawn), on: on}
	f.store = on(t, f.clock, append(auth.Migrations(), testLeases)...)
	var err error
	f.Store, err = auth.New(auth.Config{Store: f.store, DueLeases: dueLeases, Wake: func() { f.woken.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// onEach runs a test on every database.
func onEach(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Parallel()
	for name, on := range storetest.Databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newFixture(t, on))
		})
	}
}

func (f *fixture) mustCreate(t testing.TB, spec auth.Spec) (auth.Token, secret.Text) {
	t.Helper()
	if spec.Path == "" {
		spec.Path = "auth/token/create"
	}
	token, text, err := f.Create(t.Context(), spec)
	if err != nil {
		t.Fatalf("create a token: %v", err)
	}
	return token, text
}

// works reports whether the token may make a request.
func (f *fixture) works(t testing.TB, text secret.Text) bool {
	t.Helper()
	_, err := f.Authenticate(t.Context(), text, "192.0.2.1")
	if err != nil && errs.CodeOf(err) != errs.Unauthenticated {
		t.Fatalf("authenticate: %v", err)
	}
	return err == nil
}

func (f *fixture) mustWork(t testing.TB, text secret.Text, what string) {
	t.Helper()
	if !f.works(t, text) {
		t.Errorf("%s: the token does not work, and should", what)
	}
}

func (f *fixture) mustNotWork(t testing.TB, text secret.Text, what string) {
	t.Helper()
	if f.works(t, text) {
		t.Errorf("%s: the token works, and should not", what)
	}
}

func (f *fixture) mustReap(t testing.TB) {
	t.Helper()
	if err := f.RunOnce(t.Context()); err != nil {
		t.Fatalf("reap: %v", err)
	}
}

func (f *fixture) mustRevoke(t testing.TB, seq int64) {
	t.Helper()
	if err := f.Revoke(t.Context(), seq); err != nil {
		t.Fatalf("revoke: %v", err)
	}
}

// addLease gives a token a lease.
func (f *fixture) addLease(t testing.TB, token int64) {
	t.Helper()
	err := f.store.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO test_leases (token, due) VALUES ($1, 0)`, token)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// count runs a query that counts.
func (f *fixture) count(t testing.TB, query string, args ...any) int {
	t.Helper()
	var n int
	err := f.store.View(t.Context(), func(tx *store.Tx) error { return tx.QueryRow(query, args...).Scan(&n) })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (f *fixture) rows(t testing.TB) int {
	t.Helper()
	return f.count(t, `SELECT COUNT(*) FROM tokens`)
}

// wantRefused checks the text of a refusal as a client sees it.
func wantRefused(t testing.TB, err error, code errs.Code, text string) {
	t.Helper()
	e := errs.From(err)
	if e == nil || e.Code != code || e.Shown() != text {
		t.Errorf("got error %v, want code %d with %q", err, code, text)
	}
}

func hour(spec auth.Spec) auth.Spec {
	spec.TTL = time.Hour
	return spec
}

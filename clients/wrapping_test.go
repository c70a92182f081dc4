package clients

import (
	"errors"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/vault/api"

	"leasehold/internal/testdb"
	"leasehold/server/proctest"
)

func newClient(t *testing.T, srv *proctest.Server, token string) *api.Client {
	t.Helper()
	config := api.DefaultConfig()
	config.Address = srv.URL()
	config.MaxRetries = 0
	client, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(token)
	return client
}

// wrapping makes a client that has every answer wrapped.
func wrapping(t *testing.T, srv *proctest.Server, token string) *api.Client {
	t.Helper()
	client := newClient(t, srv, token)
	client.SetWrappingLookupFunc(func(string, string) string { return "5m" })
	return client
}

// mustWrap has something wrapped and returns the wrapping token.
func mustWrap(t *testing.T, srv *proctest.Server) string {
	t.Helper()
	wrapped, err := wrapping(t, srv, srv.RootToken).Logical().Write("sys/wrapping/wrap", map[string]any{"v": "1"})
	if err != nil || wrapped.WrapInfo == nil {
		t.Fatalf("wrap: %+v, %v", wrapped, err)
	}
	return wrapped.WrapInfo.Token
}

// refused reports whether err is the server's answer to a wrapping token that is not good.
func refused(err error) bool {
	var answer *api.ResponseError
	return errors.As(err, &answer) && (answer.StatusCode == http.StatusForbidden ||
		answer.StatusCode == http.StatusBadRequest && slices.Equal(answer.Errors, []string{"wrapping token is not valid or does not exist"}))
}

// TestGoClientUnwraps hands a database user over in a wrapping token: a controller asks, an application unwraps.
func TestGoClientUnwraps(t *testing.T) {
	t.Parallel()
	srv, db := shop(t)
	token, err := newClient(t, srv, srv.RootToken).Auth().Token().Create(&api.TokenCreateRequest{Policies: []string{"app"}, TTL: "30m"})
	if err != nil {
		t.Fatal(err)
	}
	controller := token.Auth.ClientToken
	for name, unwrap := range map[string]func(wrapping string) (*api.Secret, error){
		"without a token of its own":      func(w string) (*api.Secret, error) { return newClient(t, srv, "").Logical().Unwrap(w) },
		"through another token":           func(w string) (*api.Secret, error) { return newClient(t, srv, controller).Logical().Unwrap(w) },
		"as its own token":                func(w string) (*api.Secret, error) { return newClient(t, srv, w).Logical().Unwrap("") },
		"as its own token, and by name":   func(w string) (*api.Secret, error) { return newClient(t, srv, w).Logical().Unwrap(w) },
		"after it has looked at the path": func(w string) (*api.Secret, error) { return lookedAt(t, srv, w) },
	} {
		wrapped, err := wrapping(t, srv, controller).Logical().Read("database/creds/app")
		if err != nil || wrapped.WrapInfo == nil || wrapped.Data != nil || wrapped.LeaseID != "" {
			t.Fatalf("%s: wrap: %+v, %v", name, wrapped, err)
		}
		creds, err := unwrap(wrapped.WrapInfo.Token)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		user, _ := creds.Data["username"].(string)
		password, _ := creds.Data["password"].(string)
		if creds.LeaseID == "" || !creds.Renewable || creds.LeaseDuration != 600 || login(t, db, user, password) != nil {
			t.Errorf("%s: the user cannot log in, or has no lease: %+v", name, creds)
		}
		if _, err := newClient(t, srv, srv.RootToken).Sys().Lookup(creds.LeaseID); err != nil {
			t.Errorf("%s: look the lease up: %v", name, err)
		}
		if _, err := unwrap(wrapped.WrapInfo.Token); !refused(err) {
			t.Errorf("%s: unwrapped again: %v", name, err)
		}
	}
}

// lookedAt unwraps as a careful application does: only what comes from where it expects.
func lookedAt(t *testing.T, srv *proctest.Server, wrapping string) (*api.Secret, error) {
	t.Helper()
	client := newClient(t, srv, "")
	found, err := client.Logical().Write("sys/wrapping/lookup", map[string]any{"token": wrapping})
	if err != nil {
		return nil, err
	}
	if found.Data["creation_path"] != "database/creds/app" {
		t.Errorf("lookup: %v", found.Data)
	}
	return client.Logical().Unwrap(wrapping)
}

// onEachStore runs a test with the processes of a store: one on SQLite, two on PostgreSQL.
func onEachStore(t *testing.T, test func(t *testing.T, nodes []*proctest.Server)) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		test(t, []*proctest.Server{started(t, proctest.New(t, binary, ""), nil)})
	})
	t.Run("postgresql", func(t *testing.T) {
		storage := proctest.PostgreSQL(testdb.Postgres(t, testdb.Durable()).URL())
		first := started(t, proctest.NewOn(t, binary, storage, ""), nil)
		test(t, []*proctest.Server{first, started(t, proctest.NewOn(t, binary, storage, ""), first)})
	})
}

// started starts a process, and initialises its store unless first has.
func started(t *testing.T, srv, first *proctest.Server) *proctest.Server {
	t.Helper()
	err := srv.Start()
	switch {
	case err != nil:
	case first == nil:
		err = srv.Init()
	default:
		err = srv.Join(first)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if text, err := os.ReadFile(srv.LogFile()); t.Failed() {
			t.Logf("a server's log: %v\n%s", err, text)
		}
	})
	return srv
}

// Of 32 clients who unwrap at once, on two processes where a store has two, one gets the answer.
func TestOneOfManyUnwraps(t *testing.T) { onEachStore(t, testOneOfManyUnwraps) }

func testOneOfManyUnwraps(t *testing.T, nodes []*proctest.Server) {
	for range 5 {
		token := mustWrap(t, nodes[0])
		var got, failed atomic.Int32
		var wait sync.WaitGroup
		for i := range 32 {
			wait.Go(func() {
				srv := nodes[i%len(nodes)]
				own := srv.RootToken
				if i%4 < 2 {
					own = ""
				}
				answer, err := newClient(t, srv, own).Logical().Unwrap(token)
				switch {
				case err == nil && answer.Data["v"] == "1":
					got.Add(1)
				case !refused(err):
					t.Logf("got %+v, %v", answer, err)
					failed.Add(1)
				}
			})
		}
		wait.Wait()
		// A request that could not reach the store in time may have been the one.
		if n := got.Load(); n > 1 || n == 0 && failed.Load() == 0 {
			t.Errorf("%d of 32 got the answer, %d failed", n, failed.Load())
		}
	}
}

// A wrapping token that was told is good after the process was killed; one that was spent is not. Of those who unwrap while the
// process is killed, at most one gets the answer, then or after the restart.
func TestWrappingOutlivesKills(t *testing.T) { onEachStore(t, testWrappingOutlivesKills) }

func testWrappingOutlivesKills(t *testing.T, nodes []*proctest.Server) {
	srv := nodes[0]
	kill := func() {
		srv.Kill()
		if err := srv.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	token := mustWrap(t, srv)
	kill()
	if answer, err := newClient(t, srv, "").Logical().Unwrap(token); err != nil || answer.Data["v"] != "1" {
		t.Errorf("after a kill: %+v, %v", answer, err)
	}
	kill()
	if _, err := newClient(t, srv, "").Logical().Unwrap(token); !refused(err) {
		t.Errorf("unwrapped again after a kill: %v", err)
	}

	token = mustWrap(t, srv)
	var got atomic.Int32
	answered := make(chan struct{}, 8)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if answer, err := newClient(t, srv, srv.RootToken).Logical().Unwrap(token); err == nil && answer.Data["v"] == "1" {
				got.Add(1)
			}
			answered <- struct{}{}
		})
	}
	<-answered
	kill()
	wait.Wait()
	_, err := newClient(t, srv, srv.RootToken).Logical().Unwrap(token)
	switch {
	case err == nil:
		got.Add(1)
	case !refused(err):
		t.Errorf("after the kill: %v", err)
	}
	if got.Load() > 1 {
		t.Errorf("%d got the answer", got.Load())
	}
}

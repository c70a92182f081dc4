package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"leasehold/internal/clock"
	"leasehold/server/proctest"
	"leasehold/store"
	"leasehold/store/keyring"
	"leasehold/store/sqlite"
)

// caller sends requests as lightly as can be, so that the client takes little of what is measured.
type caller struct{ http http.Client }

func newCaller() *caller {
	return &caller{http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

// call sends one request, and returns the answer's body.
func (c *caller) call(ctx context.Context, method, url, token string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Vault-Token", token)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %d %.300s", method, url, resp.StatusCode, answer)
	}
	return answer, err
}

// bareHandler is a server that reads each body and answers with the same bytes.
func bareHandler(b *testing.B, answer []byte) string {
	b.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
	b.Cleanup(srv.Close)
	return srv.URL
}

// bareStore is the store alone, with a table of one sealed cell a row.
func bareStore(b *testing.B) *store.Store {
	b.Helper()
	st, err := store.Open(b.Context(), store.Config{
		Dialect: sqlite.New(sqlite.Config{Path: filepath.Join(b.TempDir(), "store.db")}), Clock: clock.System{},
		Migrations: []store.Migration{{
			Package: "bare", Version: 1, SQL: []string{`create table bare (id TEXT not null primary key, body BYTES not null) STRICT`},
			Sealed: []store.SealedColumn{{Table: "bare", Column: "body", KeyColumn: "id"}},
		}},
	})
	must(b, err)
	b.Cleanup(func() { must(b, st.Close()) })
	st.Unlock(keyring.New(st.Clock().Now()))
	return st
}

// put writes a row durably; updates that wait at the same moment share the commit.
func put(ctx context.Context, st *store.Store, id string, body []byte) error {
	return st.Update(ctx, func(tx *store.Tx) error {
		sealed, err := tx.Seal(store.Cell{Table: "bare", Column: "body", Key: id}, body)
		if err != nil {
			return err
		}
		_, err = tx.Exec(`insert into bare (id, body) values ($1, $2) on conflict (id) do update set body = excluded.body`, id, sealed)
		return err
	})
}

// get reads a row in a snapshot of its own.
func get(ctx context.Context, st *store.Store, id string) error {
	return st.View(ctx, func(tx *store.Tx) error {
		var sealed []byte
		if err := tx.QueryRow(`select body from bare where id = $1`, id).Scan(&sealed); err != nil {
			return err
		}
		_, err := tx.Open(store.Cell{Table: "bare", Column: "body", Key: id}, sealed)
		return err
	})
}

// audited is the program on a durable SQLite store, with an audit file and one mount.
func audited(b *testing.B, path string, mount map[string]any) *proctest.Server {
	b.Helper()
	srv := proctest.New(b, binary, "")
	must(b, srv.Start())
	must(b, srv.Init())
	_, err := srv.Root(http.MethodPut, "sys/audit/file", map[string]any{
		"type": "file", "options": map[string]any{"file_path": filepath.Join(srv.Dir, "audit.log")},
	})
	must(b, err)
	_, err = srv.Root(http.MethodPut, "sys/mounts/"+path, mount)
	must(b, err)
	return srv
}

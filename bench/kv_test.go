package bench

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/kvcompat"
	programme "leasehold/server"
	"leasehold/server/proctest"
	"leasehold/store"
	"leasehold/store/seal"
	"leasehold/store/sqlite"
)

// valueSize is what each version holds.
const valueSize = 1 << 10

// BenchmarkKeyValues asks what reading and writing versions of 1 KiB costs, and whether it depends on how many keys there are.
// Beside it, in turns: a bare net/http handler that answers as many bytes, and the store's own reads and durable commits of
// as many. RSS is the server's after each measurement. Aim: flat from a thousand keys to a million, and under 100 MB.
//
// A read costs 1 View for token and generations, 1 for the key and its version; a write costs 1 commit in place of the second,
// shared with others that wait. Both cost 2 audit lines.
func BenchmarkKeyValues(b *testing.B) {
	for _, keys := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			srv := audited(b, "secret", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
			fillKeys(b, srv, keys)
			c, st := newCaller(), bareStore(b)
			body := fmt.Appendf(nil, `{"data":{"value":%q}}`, strings.Repeat("x", valueSize))
			url := func(i int) string { return fmt.Sprintf("%s/v1/secret/data/%s", srv.URL(), keyName(i*7919%keys)) }
			answer, err := c.call(b.Context(), http.MethodGet, url(0), srv.RootToken, nil)
			must(b, err)
			must(b, put(b.Context(), st, "one", body))
			bare := bareHandler(b, answer)
			for _, clients := range []int{1, 8, 32} {
				b.Run(fmt.Sprintf("read/clients=%d", clients), func(b *testing.B) {
					besides(b, clients,
						&side{name: "reads", work: func(ctx context.Context, i int) error {
							_, err := c.call(ctx, http.MethodGet, url(i), srv.RootToken, nil)
							return err
						}},
						&side{name: "http", work: func(ctx context.Context, _ int) error {
							_, err := c.call(ctx, http.MethodGet, bare, srv.RootToken, nil)
							return err
						}},
						&side{name: "views", work: func(ctx context.Context, _ int) error { return get(ctx, st, "one") }})
					b.ReportMetric(residentMB(b, srv.PID()), "RSS-MB")
				})
				b.Run(fmt.Sprintf("write/clients=%d", clients), func(b *testing.B) {
					besides(b, clients,
						&side{name: "writes", work: func(ctx context.Context, i int) error {
							_, err := c.call(ctx, http.MethodPost, url(i), srv.RootToken, body)
							return err
						}},
						&side{name: "http", work: func(ctx context.Context, _ int) error {
							_, err := c.call(ctx, http.MethodPost, bare, srv.RootToken, body)
							return err
						}},
						&side{name: "commits", work: func(ctx context.Context, i int) error { return put(ctx, st, keyName(i), body) }})
					b.ReportMetric(residentMB(b, srv.PID()), "RSS-MB")
				})
			}
		})
	}
}

// keyName puts a thousand keys into each folder.
func keyName(i int) string { return fmt.Sprintf("team-%d/app-%d", i/1000, i%1000) }

// fillKeys writes keys through the engine while the server is stopped, and starts it again.
func fillKeys(b *testing.B, srv *proctest.Server, keys int) {
	b.Helper()
	srv.Stop()
	st, err := store.Open(b.Context(), store.Config{
		Dialect: sqlite.New(sqlite.Config{Path: filepath.Join(srv.Dir, "leasehold.db")}), Clock: clock.System{},
		Migrations: programme.Migrations(),
	})
	must(b, err)
	share, err := base64.StdEncoding.DecodeString(srv.UnsealKey)
	must(b, err)
	_, err = seal.New(st, slog.New(slog.DiscardHandler)).Unseal(b.Context(), share)
	must(b, err)
	mount := engine.Mount{Path: "secret/", Type: "kv", Options: map[string]string{"version": "2"}}
	must(b, st.View(b.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT uuid FROM mounts WHERE path = 'secret/'`).Scan(&mount.UUID)
	}))
	kv, err := kvcompat.New(kvcompat.Config{Store: st})
	must(b, err)
	value := map[string]any{"data": map[string]any{"value": strings.Repeat("x", valueSize)}}
	filling := &side{work: func(ctx context.Context, i int) error {
		_, err := kv.Handle(ctx, &engine.Request{Operation: engine.Create, Mount: mount, Path: "data/" + keyName(i), Data: value})
		return err
	}}
	const atOnce = 128 // share a commit
	for done := 0; done < keys; {
		n := min(100*atOnce, keys-done)
		filling.round(b, atOnce, done, n)
		filling.took = nil
		done += n
	}
	must(b, st.Close())
	must(b, srv.Restart())
}

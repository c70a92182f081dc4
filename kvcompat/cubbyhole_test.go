package kvcompat_test

import (
	"testing"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/store"
)

func TestCubbyhole(t *testing.T) {
	each(t, "1", func(w *world) {
		send := func(token int64, op engine.Operation, path, body string) (string, error) {
			r := &engine.Request{Operation: op, Path: path, Data: object(w, body), Caller: &engine.Caller{TokenSeq: token, Type: "service"}}
			resp, err := w.cubbyhole.Handle(w.Context(), r)
			if resp != nil && resp.Secret != nil {
				w.Errorf("%s %s: a cubbyhole gives no hint: %+v", op, path, resp.Secret)
			}
			return w.shown(resp), err
		}
		for i, s := range []struct {
			token int64
			step
		}{
			{1, step{engine.Read, "a", "", ""}},
			{1, step{engine.Update, "a", `{"ttl":"1h","who":1}`, ""}},
			{11, step{engine.Update, "a", `{"who":11}`, ""}},
			{1, step{engine.Update, "dir/b", `{"k":1}`, ""}},
			{1, step{engine.Read, "a", "", `{"ttl":"1h","who":1}`}},
			{11, step{engine.Read, "a", "", `{"who":11}`}},
			{2, step{engine.Read, "a", "", ""}},
			{1, step{engine.List, "", "", `{"keys":["a","dir/"]}`}},
			{1, step{engine.Scan, "", "", `{"keys":["a","dir/b"]}`}},
			{11, step{engine.List, "dir/", "", `{"keys":[]}`}},
			{1, step{engine.Delete, "dir/b", "", ""}},
			{1, step{engine.List, "", "", `{"keys":["a"]}`}},
		} {
			got, err := send(s.token, s.op, s.path, s.body)
			if err != nil || got != s.want {
				w.Fatalf("step %d: token %d: %s %s: got %s, %v, want %s", i, s.token, s.op, s.path, got, err, s.want)
			}
		}
		if _, err := send(1, engine.Update, "a", `{}`); errs.CodeOf(err) != errs.Fault || errs.From(err).Shown() != "1 error occurred:\n\t* missing data fields\n\n" {
			w.Errorf("empty write: %v", err)
		}
		for _, op := range []engine.Operation{engine.Read, engine.Update, engine.Delete, engine.List} {
			if _, err := send(0, op, "a", `{"k":1}`); errs.CodeOf(err) != errs.Invalid || err.Error() != "cubbyhole operations are only supported by 'service' type tokens" {
				w.Errorf("batch token: %s: %v", op, err)
			}
		}
		for token, want := range map[int64]bool{0: false, 1: false, 2: true} {
			facts, err := w.cubbyhole.Describe(w.Context(), &engine.Request{Operation: engine.Update, Path: "a", Caller: &engine.Caller{TokenSeq: token}})
			if err != nil || facts.Creates != want {
				w.Errorf("token %d: creates %v, %v, want %v", token, facts.Creates, err, want)
			}
		}
		if err := w.store.Update(w.Context(), func(tx *store.Tx) error { return w.cubbyhole.Forget(tx, 1) }); err != nil {
			w.Fatal(err)
		}
		if got := w.rows()["kv_entries"]; got != 1 {
			w.Errorf("%d entries are left, want that of token 11 alone", got)
		}
	})
}

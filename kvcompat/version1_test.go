package kvcompat_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/store"
)

func TestVersion1(t *testing.T) {
	each(t, "1", func(w *world) {
		w.steps([]step{
			{engine.Read, "app/db", "", ""},
			{engine.Read, "", "", ""},
			{engine.Update, "app/db", `{"a":1.50,"big":123456789012345678901234567890,"e":1e400,"n":null,"o":{"l":[1,"<&>"]}}`, ""},
			{engine.Read, "app/db", "", `{"a":1.50,"big":123456789012345678901234567890,"e":1e400,"n":null,"o":{"l":[1,"<&>"]}}`},
			{engine.Update, "app/db", `{"path":"body"}`, ""},
			{engine.Read, "app/db", "", `{"path":"body"}`},
			{engine.Update, "app", `{"k":1}`, ""},
			{engine.Update, "app/x/y/z", `{"k":1}`, ""},
			{engine.Update, "app-2", `{"k":1}`, ""},
			{engine.List, "", "", `{"keys":["app","app-2","app/"]}`},
			{engine.List, "app/", "", `{"keys":["db","x/"]}`},
			{engine.List, "app/db/", "", `{"keys":[]}`},
			{engine.Scan, "", "", `{"keys":["app","app-2","app/db","app/x/y/z"]}`},
			{engine.Scan, "app/x/", "", `{"keys":["y/z"]}`},
			{engine.Read, "app/x/", "", ""},
			{engine.Delete, "app/x/", "", ""},
			{engine.List, "app/x/", "", `{"keys":["y/"]}`},
			{engine.Delete, "app/x/y/z", "", ""},
			{engine.Delete, "app/x/y/z", "", ""},
			{engine.List, "app/", "", `{"keys":["db"]}`},
			{engine.Delete, "app/db", "", ""},
			{engine.List, "", "", `{"keys":["app","app-2"]}`},
		})
		w.refused(engine.Update, "x", `{}`, errs.Invalid, "missing data fields")
		w.refused(engine.Update, "x", ``, errs.Invalid, "missing data fields")
		w.refused(engine.Patch, "x", `{"a":1}`, errs.Unsupported, "1 error occurred:\n\t* unsupported operation\n\n")
		w.refused(engine.Update, "x/", `{"a":1}`, errs.Invalid, "cannot write to a path ending in '/'")
		w.refused(engine.Update, string(make([]byte, 5000)), `{"a":1}`, errs.Invalid, "the path is longer than 4096 bytes")
	})
}

func TestCreates(t *testing.T) {
	each(t, "1", func(w *world) {
		creates := func(m engine.Mount, path string) bool {
			facts, err := w.engine.Describe(w.Context(), &engine.Request{Operation: engine.Update, Mount: m, Path: path})
			if err != nil {
				w.Fatal(err)
			}
			return facts.Creates
		}
		if !creates(w.mount, "a/b") {
			w.Error("the first write of version 1 is no create")
		}
		w.must(engine.Update, "a/b", `{"k":1}`)
		if creates(w.mount, "a/b") {
			w.Error("the second write of version 1 is a create")
		}
		if !creates(w.mount, "a") {
			w.Error("a folder counts as a value")
		}
		two := mount("mount-2", "2")
		if !creates(two, "data/a/b") || !creates(two, "metadata/a/b") || creates(two, "delete/a/b") || creates(two, "config") {
			w.Error("version 2: data and metadata are created, the rest is not")
		}
		w.mount = two
		w.must(engine.Update, "metadata/a/b", `{"max_versions":1}`)
		if creates(two, "data/a/b") || creates(two, "metadata/a/b") {
			w.Error("version 2: a key with metadata alone is there")
		}
	})
}

func TestHint(t *testing.T) {
	each(t, "1", func(w *world) {
		for body, want := range map[string]time.Duration{
			`{"k":1}`:                     768 * time.Hour,
			`{"ttl":"1h"}`:                time.Hour,
			`{"ttl":120}`:                 2 * time.Minute,
			`{"lease":"90"}`:              90 * time.Second,
			`{"ttl":"1h","lease":"90"}`:   time.Hour,
			`{"ttl":"banana"}`:            768 * time.Hour,
			`{"ttl":"no","lease":"90"}`:   768 * time.Hour,
			`{"ttl":-5}`:                  768 * time.Hour,
			`{"ttl":null}`:                768 * time.Hour,
			`{"ttl":{"a":1}}`:             768 * time.Hour,
			`{"ttl":1.5,"lease":"1h"}`:    768 * time.Hour,
			`{"ttl":9223372036854775807}`: 768 * time.Hour,
		} {
			w.must(engine.Update, "k", body)
			resp, err := w.send(engine.Read, "k", "")
			if err != nil || resp.Secret == nil || resp.Secret.Duration != want || resp.Secret.LeaseID != "" || resp.Secret.Renewable {
				w.Errorf("%s: got %+v, %v, want %s", body, resp, err, want)
			}
		}
	})
}

// rows counts all rows of the package's tables.
func (w *world) rows() map[string]int {
	w.Helper()
	counts := map[string]int{}
	err := w.store.View(w.Context(), func(tx *store.Tx) error {
		for _, table := range []string{"kv_entries", "kv_versions", "kv_settings"} {
			var n int
			if err := tx.QueryRow(`SELECT count(*) FROM ` + table).Scan(&n); err != nil {
				return err
			}
			counts[table] = n
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return counts
}

func TestUnmount(t *testing.T) {
	each(t, "2", func(w *world) {
		for _, uuid := range []string{"mount-1", "mount-2"} {
			w.mount = mount(uuid, "2")
			w.must(engine.Update, "config", `{"max_versions":3}`)
			w.must(engine.Update, "data/a/b", `{"data":{"k":"`+uuid+`"}}`)
			w.must(engine.Update, "data/a/b", `{"data":{"k":"`+uuid+`"}}`)
		}
		w.mount = mount("many", "1")
		var group sync.WaitGroup
		for i := range 600 { // more than one batch; at once, so that they share commits
			group.Go(func() {
				r := &engine.Request{Operation: engine.Update, Mount: w.mount, Path: fmt.Sprintf("%d/k", i), Data: data{"k": "v"}}
				if _, err := w.engine.Handle(w.Context(), r); err != nil {
					w.Error(err)
				}
			})
		}
		group.Wait()
		for _, m := range []engine.Mount{mount("mount-1", "2"), w.mount, w.mount} {
			if err := w.engine.Unmount(w.Context(), m); err != nil {
				w.Fatal(err)
			}
		}
		if got, want := text(w, w.rows()), `{"kv_entries":2,"kv_settings":1,"kv_versions":2}`; got != want {
			w.Errorf("after unmount: got %s, want %s", got, want)
		}
		w.mount = mount("mount-2", "2")
		if got := w.must(engine.Read, "subkeys/a/b", ""); got == "" {
			w.Error("the other mount lost its key")
		}
		w.gone = true
		w.refused(engine.Update, "data/a/b", `{"data":{}}`, errs.NotFound, "the mount is being removed or moved")
		w.mount = mount("mount-3", "1")
		w.refused(engine.Update, "a/b", `{"k":1}`, errs.NotFound, "the mount is being removed or moved")
	})
}

func TestUpgrade(t *testing.T) {
	each(t, "1", func(w *world) {
		w.must(engine.Update, "dir/read", `{"n":1.0}`)
		w.must(engine.Update, "dir/write", `{"n":2}`)
		w.must(engine.Update, "dir/drop", `{"n":3}`)
		w.must(engine.Update, "list", `{"n":4}`)
		w.clock.Advance(time.Hour)
		w.mount = mount("mount-1", "2")
		info := func(version, at string) string {
			return `{"created_time":"` + at + `","custom_metadata":null,"deletion_time":"","destroyed":false,"version":` + version + `}`
		}
		first := info("1", "2040-05-06T08:08:09Z")
		w.steps([]step{
			{engine.List, "metadata/", "", `{"keys":["dir/","list"]}`},
			{engine.Scan, "metadata/", "", `{"keys":["list","dir/drop","dir/read","dir/write"]}`},
			{engine.Read, "data/dir/read", "", `{"data":{"n":1.0},"metadata":` + first + `}`},
			{engine.Update, "data/dir/write", `{"data":{"n":5},"options":{"cas":1}}`, info("2", "2040-05-06T08:08:09Z")},
			{engine.Read, "data/dir/write", `{"version":"1"}`, `{"data":{"n":2},"metadata":` + first + `}`},
			{engine.Delete, "metadata/dir/drop", "", ""},
			{engine.Read, "data/dir/drop", "", ""},
		})
		w.clock.Advance(time.Hour)
		w.steps([]step{
			{engine.Read, "data/dir/read", "", `{"data":{"n":1.0},"metadata":` + first + `}`}, // the time stays
			{engine.List, "detailed-metadata/", "", `{"key_info":{"dir/":{},"list":{"cas_required":false,"created_time":"2040-05-06T09:08:09Z",` +
				`"current_metadata_version":0,"current_version":1,"custom_metadata":null,"delete_version_after":"0s","max_versions":0,` +
				`"metadata_cas_required":false,"oldest_version":0,"updated_time":"2040-05-06T09:08:09Z",` +
				`"versions":{"1":{"created_time":"2040-05-06T09:08:09Z","deletion_time":"","destroyed":false}}}},"keys":["dir/","list"]}`},
		})
		// A request that was on its way while the mount was tuned.
		w.mount = mount("mount-1", "1")
		w.refused(engine.Update, "dir/read", `{"n":9}`, errs.Invalid, "Upgrading from non-versioned to versioned data")
		w.refused(engine.Read, "dir/read", "", errs.Invalid, "Upgrading from non-versioned to versioned data")
		w.refused(engine.Delete, "dir/read", "", errs.Invalid, "Upgrading from non-versioned to versioned data")
		w.must(engine.Update, "late", `{"n":9}`)
		w.mount = mount("mount-1", "2")
		w.steps([]step{{engine.Read, "data/late", "", `{"data":{"n":9},"metadata":` + info("1", "2040-05-06T09:08:09Z") + `}`}})
	})
}

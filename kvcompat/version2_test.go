package kvcompat_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/store"
)

const start = "2040-05-06T07:08:09Z"

// info is a version as answers show it.
func info(version int, created, deleted string, destroyed bool) string {
	return fmt.Sprintf(`{"created_time":%q,"custom_metadata":null,"deletion_time":%q,"destroyed":%v,"version":%d}`, created, deleted, destroyed, version)
}

func read(data string, info string) string { return `{"data":` + data + `,"metadata":` + info + `}` }

func TestVersions(t *testing.T) {
	const later = "2040-05-06T07:08:10Z"
	each(t, "2", func(w *world) {
		w.steps([]step{
			{engine.Read, "data/a", "", ""},
			{engine.Update, "data/a", `{"data":{"n":1.0,"big":12345678901234567890123}}`, info(1, start, "", false)},
			{engine.Update, "data/a", `{"data":null}`, info(2, start, "", false)},
			{engine.Read, "data/a", "", read(`{}`, info(2, start, "", false))},
			{engine.Read, "data/a", `{"version":"1"}`, read(`{"big":12345678901234567890123,"n":1.0}`, info(1, start, "", false))},
			{engine.Read, "data/a", `{"version":"0"}`, read(`{}`, info(2, start, "", false))},
			{engine.Read, "data/a", `{"version":"3"}`, ""},
			{engine.Read, "data/a", `{"version":"-1"}`, ""},
			{engine.Read, "data/a/", "", ""},
			{engine.Delete, "data/a", "", ""},
			{engine.Read, "data/a", "", "404 " + read("null", info(2, start, start, false))},
		})
		w.clock.Advance(time.Second)
		w.steps([]step{
			{engine.Delete, "data/a", "", ""}, // keeps its time
			{engine.Read, "data/a", "", "404 " + read("null", info(2, start, start, false))},
			{engine.Update, "delete/a", `{"versions":"1,2, 7"}`, ""},
			{engine.Read, "data/a", `{"version":1}`, "404 " + read("null", info(1, start, later, false))},
			{engine.Update, "undelete/a", `{"versions":[1,"2",9,-4]}`, ""},
			{engine.Read, "data/a", "", read(`{}`, info(2, start, "", false))},
			{engine.Update, "delete/a", `{"versions":[1]}`, ""},
			{engine.Update, "destroy/a", `{"versions":[1,2]}`, ""},
			{engine.Update, "undelete/a", `{"versions":[1,2]}`, ""},
			{engine.Delete, "data/a", "", ""},
			{engine.Read, "data/a", `{"version":1}`, "404 " + read("null", info(1, start, later, true))},
			{engine.Read, "data/a", "", "404 " + read("null", info(2, start, "", true))},
			{engine.Update, "data/a", `{"data":{"n":3}}`, info(3, later, "", false)},
			{engine.Delete, "metadata/a", "", ""},
			{engine.Delete, "metadata/a", "", ""},
			{engine.Read, "data/a", "", ""},
			{engine.Read, "metadata/a", "", ""},
			{engine.Update, "data/a", `{"data":{"n":1}}`, info(1, later, "", false)},
			{engine.Delete, "data/none", "", ""},
			{engine.Update, "delete/none", `{"versions":[1]}`, ""},
			{engine.Update, "undelete/none", `{"versions":[1]}`, ""},
			{engine.Update, "destroy/none", `{"versions":1}`, ""},
			{engine.List, "metadata/", "", `{"keys":["a"]}`},
		})
		for _, s := range []step{
			{engine.Update, "data/a", `{}`, "no data provided"},
			{engine.Update, "data/a", ``, "no data provided"},
			{engine.Update, "data/a", `{"data":"x"}`, `for field "data"`},
			{engine.Update, "data/a", `{"data":{},"options":3}`, `for field "options"`},
			{engine.Read, "data/a", `{"version":"abc"}`, `for field "version"`},
			{engine.Update, "delete/a", `{}`, "No version number provided"},
			{engine.Update, "delete/a", `{"versions":[]}`, "No version number provided"},
			{engine.Update, "undelete/a", `{"versions":""}`, "No version number provided"},
			{engine.Update, "destroy/a", `{}`, "no version number provided"},
			{engine.Update, "delete/a", `{"versions":["a"]}`, `for field "versions"`},
			{engine.Update, "destroy/a", `{"versions":[1.5]}`, `for field "versions"`},
		} {
			w.refused(s.op, s.path, s.body, errs.Invalid, s.want)
		}
		w.refused(engine.List, "data/", "", errs.Unsupported, "1 error occurred:\n\t* unsupported operation\n\n")
	})
}

func TestUnknownPaths(t *testing.T) {
	each(t, "2", func(w *world) {
		for _, test := range []struct {
			op         engine.Operation
			path, want string
		}{
			{engine.Read, "foo", "'kv get'"},
			{engine.Update, "foo", "'kv put'"},
			{engine.Patch, "foo", "'kv patch'"},
			{engine.List, "foo/", "'kv list'"},
			{engine.Scan, "foo/", "'kv scan'"},
			{engine.Delete, "foo/bar", "'kv delete'"},
			{engine.Read, "data", "Non-listing operations on the root of a K/V v2 mount are not supported."},
			{engine.Update, "metadata", "Non-listing operations on the root"},
			{engine.Update, "delete", "Non-listing operations on the root"},
			{engine.Patch, "undelete", "Non-listing operations on the root"},
			{engine.Delete, "destroy", "Non-listing operations on the root"},
		} {
			resp, err := w.send(test.op, test.path, `{"a":1}`)
			if err != nil || resp == nil || resp.Status != 404 || resp.Data != nil || len(resp.Warnings) != 1 || !strings.Contains(resp.Warnings[0], test.want) {
				w.Errorf("%s %s: got %+v, %v, want a warning with %q", test.op, test.path, resp, err, test.want)
			} else if !strings.HasPrefix(resp.Warnings[0], "Invalid path for a versioned K/V secrets engine") && strings.Contains(test.path, "foo") {
				w.Errorf("%s %s: %q", test.op, test.path, resp.Warnings[0])
			}
		}
	})
}

func TestCheckAndSet(t *testing.T) {
	const (
		mismatch = "check-and-set parameter did not match the current version"
		required = "check-and-set parameter required for this call"
		bad      = "error parsing check-and-set parameter"
	)
	each(t, "2", func(w *world) {
		write := func(cas string) (engine.Operation, string, string) {
			return engine.Update, "data/a", `{"data":{"k":1},"options":{"cas":` + cas + `}}`
		}
		accept := func(cas string) {
			w.Helper()
			w.must(write(cas))
		}
		refuse := func(cas, want string) {
			w.Helper()
			op, path, body := write(cas)
			w.refused(op, path, body, errs.Invalid, want)
		}
		refuse(`1`, mismatch)
		accept(`0`)
		refuse(`0`, mismatch)
		accept(`"1"`)
		w.must(engine.Delete, "data/a", "") // deleting does not change the version
		refuse(`0`, mismatch)
		accept(`2`)
		for _, cas := range []string{`"x"`, `""`, `1.5`, `null`, `true`, `[3]`, `99999999999999999999`} {
			refuse(cas, bad)
		}
		w.must(engine.Update, "config", `{"cas_required":true}`)
		w.refused(engine.Update, "data/a", `{"data":{}}`, errs.Invalid, required)
		w.refused(engine.Update, "data/new", `{"data":{}}`, errs.Invalid, required)
		w.refused(engine.Patch, "data/a", `{"data":{}}`, errs.Invalid, required)
		w.refused(engine.Patch, "data/a", `{"data":{},"options":{"cas":1}}`, errs.Invalid, mismatch)
		resp, err := w.send(engine.Update, "metadata/a", `{"cas_required":false}`)
		if err != nil || resp == nil || len(resp.Warnings) != 1 {
			w.Errorf("cas_required against the mount's: %+v, %v, want one warning", resp, err)
		}
		w.must(engine.Update, "config", `{"cas_required":"false"}`)
		w.must(engine.Update, "metadata/a", `{"cas_required":true}`)
		w.refused(engine.Update, "data/a", `{"data":{}}`, errs.Invalid, required)
		accept(`3`)
		w.must(engine.Update, "data/new", `{"data":{}}`)
	})
}

// TestConcurrentCheckAndSet: of 32 writers that saw the same version, one wins, each round.
func TestConcurrentCheckAndSet(t *testing.T) {
	each(t, "2", func(w *world) {
		const writers, rounds = 32, 4
		for round := range rounds {
			var won, lost atomic.Int32
			var group sync.WaitGroup
			for i := range writers {
				group.Go(func() {
					r := &engine.Request{Operation: engine.Update, Mount: w.mount, Path: "data/dir/a", Data: data{
						"data": data{"writer": fmt.Sprint(round, "/", i)}, "options": data{"cas": fmt.Sprint(round)},
					}}
					_, err := w.engine.Handle(w.Context(), r)
					switch {
					case err == nil:
						won.Add(1)
					case errs.CodeOf(err) == errs.Invalid:
						lost.Add(1)
					default:
						t.Errorf("round %d: %v", round, err)
					}
				})
			}
			group.Wait()
			if won.Load() != 1 || lost.Load() != writers-1 {
				w.Fatalf("round %d: %d won, %d lost, want 1 and %d", round, won.Load(), lost.Load(), writers-1)
			}
		}
		if got, want := text(w, w.rows()), fmt.Sprintf(`{"kv_entries":2,"kv_settings":0,"kv_versions":%d}`, rounds); got != want {
			w.Errorf("got %s, want %s", got, want)
		}
	})
}

// TestConcurrentTree: folders come and go while their neighbours do.
func TestConcurrentTree(t *testing.T) {
	each(t, "1", func(w *world) {
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				path := fmt.Sprintf("a/b%d/c%d", i%2, i)
				for range 5 {
					for _, op := range []engine.Operation{engine.Update, engine.Delete} {
						r := &engine.Request{Operation: op, Mount: w.mount, Path: path, Data: data{"k": "v"}}
						if _, err := w.engine.Handle(w.Context(), r); err != nil {
							t.Errorf("%s %s: %v", op, path, err)
						}
					}
				}
			})
		}
		group.Wait()
		if n := w.rows()["kv_entries"]; n != 0 {
			w.Errorf("%d entries are left of an empty tree", n)
		}
	})
}

// kept tells which versions a key has: the first that is kept, the newest, and oldest_version.
func (w *world) kept(path string) string {
	w.Helper()
	resp, err := w.send(engine.Read, "metadata/"+path, "")
	if err != nil || resp == nil {
		w.Fatalf("metadata of %s: %+v, %v", path, resp, err)
	}
	versions := resp.Data["versions"].(data)
	return fmt.Sprint(len(versions), " up to ", resp.Data["current_version"], ", oldest ", resp.Data["oldest_version"])
}

func TestWindow(t *testing.T) {
	each(t, "2", func(w *world) {
		for _, test := range []struct {
			path, body, then string
			writes           int
			want             string
		}{
			{"config", `{}`, "k", 10, "10 up to 10, oldest 0"},
			{"config", `{}`, "k", 2, "10 up to 12, oldest 3"},
			{"metadata/k", `{"max_versions":4}`, "k", 0, "10 up to 12, oldest 3"},
			{"metadata/k", `{"max_versions":4}`, "k", 1, "4 up to 13, oldest 10"},
			{"config", `{"max_versions":6}`, "k", 1, "5 up to 14, oldest 10"},
			{"config", `{"max_versions":2}`, "k", 1, "4 up to 15, oldest 12"},
			{"metadata/k", `{"max_versions":0}`, "k", 1, "2 up to 16, oldest 15"},
		} {
			w.must(engine.Update, test.path, test.body)
			for range test.writes {
				w.must(engine.Update, "data/"+test.then, `{"data":{"k":1}}`)
			}
			if got := w.kept(test.then); got != test.want {
				w.Errorf("%s %s and %d writes: got %s, want %s", test.path, test.body, test.writes, got, test.want)
			}
		}
		if got := w.must(engine.Read, "data/k", `{"version":14}`); got != "" {
			w.Errorf("a pruned version is answered: %s", got)
		}
		if n := w.rows()["kv_versions"]; n != 2 {
			w.Errorf("%d rows of versions, want 2", n)
		}
	})
}

func TestExpiry(t *testing.T) {
	each(t, "2", func(w *world) {
		for _, test := range []struct{ mount, key, want string }{
			{"0s", "0s", ""},
			{"10s", "0s", "2040-05-06T07:08:19Z"},
			{"10s", "5s", "2040-05-06T07:08:14Z"},
			{"10s", "1h", "2040-05-06T07:08:19Z"},
			{"0", "7s", "2040-05-06T07:08:16Z"},
			{"-1h", "7s", ""},
		} {
			w.must(engine.Update, "config", `{"delete_version_after":"`+test.mount+`"}`)
			w.must(engine.Delete, "metadata/e", "")
			w.must(engine.Update, "metadata/e", `{"delete_version_after":"`+test.key+`"}`)
			if got, want := w.must(engine.Update, "data/e", `{"data":{"k":1}}`), info(1, start, test.want, false); got != want {
				w.Errorf("mount %s, key %s: got %s, want %s", test.mount, test.key, got, want)
			}
		}
		w.must(engine.Update, "config", `{"delete_version_after":"10s"}`)
		w.must(engine.Update, "data/f", `{"data":{"k":1}}`)
		w.clock.Advance(10 * time.Second)
		ended := "2040-05-06T07:08:19Z"
		w.steps([]step{
			{engine.Read, "data/f", "", "404 " + read("null", info(1, start, ended, false))},
			{engine.Delete, "data/f", "", ""},
			{engine.Read, "data/f", "", "404 " + read("null", info(1, start, ended, false))},
			{engine.Update, "undelete/f", `{"versions":[1]}`, ""},
			{engine.Read, "data/f", "", read(`{"k":1}`, info(1, start, "2040-05-06T07:08:29Z", false))},
			{engine.Delete, "data/f", "", ""}, // sooner than by itself
			{engine.Read, "data/f", "", "404 " + read("null", info(1, start, ended, false))},
			{engine.Update, "config", `{"delete_version_after":0}`, ""},
			{engine.Update, "undelete/f", `{"versions":[1]}`, ""},
			{engine.Read, "data/f", "", read(`{"k":1}`, info(1, start, "", false))},
		})
	})
}

func TestConfig(t *testing.T) {
	each(t, "2", func(w *world) {
		shown := func(cas bool, after string, max int, metadata bool) string {
			return fmt.Sprintf(`{"cas_required":%v,"delete_version_after":%q,"max_versions":%d,"metadata_cas_required":%v}`, cas, after, max, metadata)
		}
		w.steps([]step{
			{engine.Read, "config", "", shown(false, "0s", 0, false)},
			{engine.Update, "config", `{}`, ""},
			{engine.Update, "config", `{"max_versions":"4","delete_version_after":"3h25m19s"}`, ""},
			{engine.Update, "config", `{"cas_required":true}`, ""},
			{engine.Read, "config", "", shown(true, "3h25m19s", 4, false)},
			{engine.Update, "config", `{"delete_version_after":"-9h","metadata_cas_required":true,"cas_required":0}`, ""},
			{engine.Read, "config", "", shown(false, "-1s", 4, true)},
			{engine.Update, "config", `{"delete_version_after":"0"}`, ""},
			{engine.Read, "config", "", shown(false, "0s", 4, true)},
		})
		w.refused(engine.Update, "config", `{"max_versions":"x"}`, errs.Invalid, `for field "max_versions"`)
		w.refused(engine.Update, "config", `{"max_versions":-1}`, errs.Invalid, `for field "max_versions"`)
		w.refused(engine.Update, "config", `{"delete_version_after":"x"}`, errs.Invalid, `for field "delete_version_after"`)
	})
}

func TestPatchData(t *testing.T) {
	each(t, "2", func(w *world) {
		w.refused(engine.Patch, "data/p", `{}`, errs.Invalid, "no data provided")
		w.refused(engine.Patch, "data/p", `{"data":null}`, errs.Invalid, "no data provided")
		w.steps([]step{
			{engine.Patch, "data/p", `{"data":{"a":1}}`, "404"},
			{engine.Update, "metadata/p", `{"max_versions":3}`, ""},
			{engine.Patch, "data/p", `{"data":{"a":1}}`, "404"},
			{engine.Update, "data/p", `{"data":{"a":1.0,"b":{"c":2,"d":3},"e":[1,2]}}`, info(1, start, "", false)},
			{engine.Patch, "data/p", `{"data":{"a":null,"b":{"c":9,"d":null,"x":{"y":null}},"e":[null],"new":true}}`, info(2, start, "", false)},
			{engine.Read, "data/p", "", read(`{"b":{"c":9,"x":{}},"e":[null],"new":true}`, info(2, start, "", false))},
			{engine.Patch, "data/p", `{"data":{"b":1},"options":{"cas":2}}`, info(3, start, "", false)},
			{engine.Read, "data/p", "", read(`{"b":1,"e":[null],"new":true}`, info(3, start, "", false))},
			{engine.Delete, "data/p", "", ""},
			{engine.Patch, "data/p", `{"data":{"b":1}}`, "404 " + info(3, start, start, false)},
			{engine.Update, "destroy/p", `{"versions":3}`, ""},
			{engine.Patch, "data/p", `{"data":{"b":1}}`, "404 " + info(3, start, start, true)},
		})
	})
}

func TestSubkeys(t *testing.T) {
	each(t, "2", func(w *world) {
		w.must(engine.Update, "data/s", `{"data":{"a":1,"b":{"c":{"d":"x"},"e":[1]},"z":{}}}`)
		for depth, want := range map[string]string{
			`{}`:            `{"a":null,"b":{"c":{"d":null},"e":null},"z":null}`,
			`{"depth":"0"}`: `{"a":null,"b":{"c":{"d":null},"e":null},"z":null}`,
			`{"depth":"1"}`: `{"a":null,"b":null,"z":null}`,
			`{"depth":"2"}`: `{"a":null,"b":{"c":null,"e":null},"z":null}`,
			`{"depth":"3"}`: `{"a":null,"b":{"c":{"d":null},"e":null},"z":null}`,
			`{"depth":"9"}`: `{"a":null,"b":{"c":{"d":null},"e":null},"z":null}`,
		} {
			w.steps([]step{{engine.Read, "subkeys/s", depth, `{"metadata":` + info(1, start, "", false) + `,"subkeys":` + want + `}`}})
		}
		w.steps([]step{
			{engine.Read, "subkeys/s", `{"version":"2"}`, ""},
			{engine.Read, "subkeys/none", "", ""},
			{engine.Update, "destroy/s", `{"versions":[1]}`, ""},
			{engine.Read, "subkeys/s", "", `404 {"metadata":` + info(1, start, "", true) + `,"subkeys":null}`},
		})
	})
}

func TestList(t *testing.T) {
	each(t, "2", func(w *world) {
		for _, path := range []string{"a", "b/c", "b/d/e", "f", "g"} {
			w.must(engine.Update, "data/"+path, `{"data":{}}`)
		}
		w.must(engine.Delete, "data/f", "")
		w.steps([]step{
			{engine.List, "metadata/", "", `{"keys":["a","b/","f","g"]}`},
			{engine.List, "metadata/b/", "", `{"keys":["c","d/"]}`},
			{engine.List, "metadata/zz/", "", `{"keys":[]}`},
			{engine.List, "metadata/", `{"limit":"2"}`, `{"keys":["a","b/"]}`},
			{engine.List, "metadata/", `{"limit":"2","after":"b/"}`, `{"keys":["f","g"]}`},
			{engine.List, "metadata/", `{"after":"b"}`, `{"keys":["b/","f","g"]}`},
			{engine.List, "metadata/", `{"after":"zzz"}`, `{"keys":[]}`},
			{engine.List, "metadata/", `{"limit":"-1"}`, `{"keys":["a","b/","f","g"]}`},
			{engine.Scan, "metadata/", "", `{"keys":["a","f","g","b/c","b/d/e"]}`},
			{engine.Scan, "metadata/b/", "", `{"keys":["c","d/e"]}`},
			{engine.List, "detailed-metadata/none/", "", `{"key_info":{},"keys":[]}`},
		})
	})
}

// TestStoreTellsNothing: neither names nor values are in the tables, and destroying a version takes its bytes away.
func TestStoreTellsNothing(t *testing.T) {
	each(t, "2", func(w *world) {
		const name, folder, value = "canary-name", "canary-folder", "canary-value"
		dump := func() (all string, sealed int) {
			err := w.store.View(w.Context(), func(tx *store.Tx) error {
				all, sealed = "", 0
				for _, query := range []string{
					`SELECT id || space || dir || form, name, coalesce(value, name) FROM kv_entries`,
					`SELECT id || entry, data, data FROM kv_versions`,
				} {
					rows, err := tx.Query(query)
					if err != nil {
						return err
					}
					for rows.Next() {
						var clear string
						var one, two []byte
						if err := rows.Scan(&clear, &one, &two); err != nil {
							return err
						}
						all += clear + string(one) + string(two)
						if strings.Contains(query, "kv_versions") && one != nil {
							sealed++
						}
					}
					if err := rows.Err(); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				w.Fatal(err)
			}
			return all, sealed
		}
		path := folder + "/" + name
		w.must(engine.Update, "data/"+path, `{"data":{"k":"`+value+`"}}`)
		w.must(engine.Update, "data/"+path, `{"data":{"k":"`+value+`"}}`)
		w.must(engine.Update, "metadata/"+path, `{"custom_metadata":{"k":"canary-custom"}}`)
		all, sealed := dump()
		if strings.Contains(all, "canary") || sealed != 2 {
			w.Errorf("%d sealed versions; clear text in the tables: %v", sealed, strings.Contains(all, "canary"))
		}
		w.must(engine.Update, "destroy/"+path, `{"versions":[1]}`)
		if _, sealed := dump(); sealed != 1 {
			w.Errorf("%d sealed versions after one of two was destroyed", sealed)
		}
		w.must(engine.Delete, "metadata/"+path, "")
		if all, _ := dump(); all != "" {
			w.Error("rows are left of a key that was removed")
		}
		if checked, bad, err := w.store.Verify(w.Context()); checked != 0 || len(bad) != 0 || err != nil {
			w.Errorf("verify: %d, %v, %v", checked, bad, err)
		}
	})
}

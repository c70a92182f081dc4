package kvcompat_test

import (
	"fmt"
	"strings"
	"testing"

	"leasehold/engine"
	"leasehold/internal/errs"
)

func TestMetadata(t *testing.T) {
	each(t, "2", func(w *world) {
		shown := func(custom string, max, version int, cas bool, after string) string {
			return fmt.Sprintf(`{"cas_required":%v,"created_time":%q,"current_metadata_version":%d,"current_version":0,"custom_metadata":%s,`+
				`"delete_version_after":%q,"max_versions":%d,"metadata_cas_required":false,"oldest_version":0,"updated_time":%q,"versions":{}}`,
				cas, start, version, custom, after, max, start)
		}
		w.steps([]step{
			{engine.Update, "metadata/m", `{}`, ""},
			{engine.Update, "metadata/m", `{"other":1}`, ""},
			{engine.Read, "metadata/m", "", ""},
			{engine.Patch, "metadata/m", `{"max_versions":1}`, "404"},
			{engine.Update, "metadata/m", `{"max_versions":2,"delete_version_after":"3h25m19s","custom_metadata":{"owner":"web","n":1.50,"b":true}}`, ""},
			{engine.Read, "metadata/m", "", shown(`{"b":"1","n":"1.50","owner":"web"}`, 2, 1, false, "3h25m19s")},
			{engine.Read, "data/m", "", ""},
			{engine.Patch, "metadata/m", `{"custom_metadata":{"n":null,"team":"x"},"max_versions":5}`, ""},
			{engine.Read, "metadata/m", "", shown(`{"b":"1","owner":"web","team":"x"}`, 5, 2, false, "3h25m19s")},
			{engine.Update, "metadata/m", `{"custom_metadata":{"only":"this"},"cas_required":true}`, ""},
			{engine.Read, "metadata/m", "", shown(`{"only":"this"}`, 5, 3, true, "3h25m19s")},
			{engine.Patch, "metadata/m", `{"delete_version_after":null,"cas_required":null,"custom_metadata":null}`, ""},
			{engine.Read, "metadata/m", "", shown(`null`, 5, 4, false, "0s")},
			{engine.Update, "metadata/m", `{"max_versions":null}`, ""},
			{engine.Read, "metadata/m", "", shown(`null`, 5, 4, false, "0s")},
		})
		for _, s := range []step{
			{engine.Update, "metadata/m", `{"max_versions":"many"}`, `for field "max_versions"`},
			{engine.Update, "metadata/m", `{"max_versions":-1}`, `for field "max_versions"`},
			{engine.Update, "metadata/m", `{"delete_version_after":"-1h"}`, `cannot provide negative value`},
			{engine.Update, "metadata/m", `{"custom_metadata":"x"}`, `for field "custom_metadata"`},
		} {
			w.refused(s.op, s.path, s.body, errs.Invalid, s.want)
		}
	})
}

func TestMetadataCheckAndSet(t *testing.T) {
	const (
		required = "metadata check-and-set parameter required for this call"
		mismatch = "metadata check-and-set parameter does not match the current version"
	)
	each(t, "2", func(w *world) {
		w.refused(engine.Update, "metadata/m", `{"max_versions":1,"metadata_cas":1}`, errs.Invalid, "metadata_cas must be 0 when creating new metadata")
		w.must(engine.Update, "metadata/m", `{"max_versions":1,"metadata_cas":0,"metadata_cas_required":true}`)
		w.refused(engine.Update, "metadata/m", `{"max_versions":1}`, errs.Invalid, required)
		w.refused(engine.Patch, "metadata/m", `{"max_versions":1}`, errs.Invalid, required)
		w.refused(engine.Update, "metadata/m", `{"max_versions":1,"metadata_cas":0}`, errs.Invalid, mismatch)
		w.must(engine.Patch, "metadata/m", `{"max_versions":1,"metadata_cas":1}`)
		w.must(engine.Update, "metadata/m", `{"metadata_cas_required":false,"metadata_cas":"2"}`)
		w.must(engine.Update, "metadata/m", `{"max_versions":1}`)
		w.must(engine.Update, "config", `{"metadata_cas_required":true}`)
		w.refused(engine.Update, "metadata/m", `{"max_versions":1}`, errs.Invalid, required)
		w.refused(engine.Update, "metadata/new", `{"max_versions":1}`, errs.Invalid, required)
	})
}

func TestCustomMetadataLimits(t *testing.T) {
	each(t, "2", func(w *world) {
		pairs := func(n int) string {
			var all []string
			for i := range n {
				all = append(all, fmt.Sprintf(`"k%d":"v"`, i))
			}
			return "{" + strings.Join(all, ",") + "}"
		}
		const failed = "1 error occurred:\n\t* custom_metadata validation failed: "
		for _, test := range []struct{ custom, want string }{
			{pairs(64), ""},
			{pairs(65), failed + "payload must contain at most 64 keys, provided 65\n\n"},
			{`{"` + strings.Repeat("k", 128) + `":"` + strings.Repeat("v", 512) + `"}`, ""},
			{`{"k":"` + strings.Repeat("v", 513) + `"}`, failed + `length of value for key "k" is 513 but must be 0 < len(value) <= 512` + "\n\n"},
			{`{"` + strings.Repeat("k", 129) + `":"v"}`, failed + `length of key "kkk`},
			{`{"":"v"}`, failed + `length of key "" is 0 but must be 0 < len(key) <= 128` + "\n\n"},
			{`{"k":""}`, failed + `length of value for key "k" is 0`},
			{`{"k":null}`, failed + `length of value for key "k" is 0`},
			{`{"k\u0001":"v"}`, failed + `key "k\x01" ("k\x01") contains unprintable characters` + "\n\n"},
			{`{"k":"a\nb"}`, failed + `value for key "k" contains unprintable characters` + "\n\n"},
			{`{"k":{"a":1}}`, failed + `'' expected type 'string'`},
			{`{"k":[1]}`, failed + `'' expected type 'string'`},
			{`{"a":"","b":""}`, "2 errors occurred:\n\t* custom_metadata validation failed: length of value for key \"a\" is 0 but must be 0 < len(value) <= 512\n" +
				"\t* custom_metadata validation failed: length of value for key \"b\" is 0 but must be 0 < len(value) <= 512\n\n"},
		} {
			body := `{"custom_metadata":` + test.custom + `}`
			if test.want != "" {
				w.refused(engine.Update, "metadata/m", body, errs.Invalid, test.want)
			} else {
				w.must(engine.Update, "metadata/m", body)
			}
		}
		w.must(engine.Update, "metadata/m", `{"custom_metadata":`+pairs(64)+`}`)
		w.refused(engine.Patch, "metadata/m", `{"custom_metadata":{"one-more":"v"}}`, errs.Invalid, failed+"payload must contain at most 64 keys")
		w.must(engine.Patch, "metadata/m", `{"custom_metadata":{"one-more":"v","k0":null}}`)
	})
}

package kvcompat

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The object cases of RFC 7396, appendix A.
func TestMerge(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ target, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{`{"a":"text"}`, `{"a":{"b":1}}`, `{"a":{"b":1}}`},
		{`{"n":1}`, `{"n":1.00}`, `{"n":1.00}`},
	} {
		var target, patch map[string]any
		for text, into := range map[string]*map[string]any{test.target: &target, test.patch: &patch} {
			if err := decode([]byte(text), into); err != nil {
				t.Fatal(err)
			}
		}
		before, _ := encode(target)
		got, _ := encode(merge(target, patch))
		if string(got) != test.want {
			t.Errorf("merge(%s, %s): got %s, want %s", test.target, test.patch, got, test.want)
		}
		if after, _ := encode(target); string(after) != string(before) {
			t.Errorf("merge(%s, %s) changed the target to %s", test.target, test.patch, after)
		}
	}
}

// FuzzMerge: a patch says the same twice as once, and every key of it that is not an object is in the result as given, or
// not at all when it is null.
func FuzzMerge(f *testing.F) {
	f.Add(`{"a":{"b":1}}`, `{"a":{"b":null,"c":{"d":null}},"e":[null]}`)
	f.Add(`{"a":1}`, `{"a":{"b":2}}`)
	f.Fuzz(func(t *testing.T, one, two string) {
		var target, patch map[string]any
		if decode([]byte(one), &target) != nil || decode([]byte(two), &patch) != nil {
			return
		}
		once := merge(target, patch)
		if diff := cmp.Diff(once, merge(once, patch)); diff != "" {
			t.Errorf("twice is not once: %s", diff)
		}
		checkMerged(t, once, patch)
		if _, err := encode(once); err != nil {
			t.Errorf("the result cannot be stored: %v", err)
		}
	})
}

func checkMerged(t *testing.T, merged, patch map[string]any) {
	t.Helper()
	for name, change := range patch {
		got, there := merged[name]
		switch change := change.(type) {
		case nil:
			if there {
				t.Errorf("%q is still there", name)
			}
		case map[string]any:
			inner, ok := got.(map[string]any)
			if !ok {
				t.Errorf("%q is no object", name)
			}
			checkMerged(t, inner, change)
		default:
			if diff := cmp.Diff(change, got); diff != "" {
				t.Errorf("%q: %s", name, diff)
			}
		}
	}
}

// FuzzSubkeys: no value comes through, whatever the depth.
func FuzzSubkeys(f *testing.F) {
	f.Add(`{"a":1,"b":{"c":{"d":"x"}}}`, 2)
	f.Fuzz(func(t *testing.T, text string, depth int) {
		var value map[string]any
		if decode([]byte(text), &value) != nil || len(text) > 10000 {
			return
		}
		var check func(got, from map[string]any)
		check = func(got, from map[string]any) {
			if len(got) != len(from) {
				t.Fatalf("%d keys of %d", len(got), len(from))
			}
			for name, item := range got {
				if item == nil {
					continue
				}
				inner, ok := item.(map[string]any)
				below, was := from[name].(map[string]any)
				if !ok || !was {
					t.Fatalf("%q came through", name)
				}
				check(inner, below)
			}
		}
		check(subkeys(value, depth), value)
	})
}

// FuzzSplit: the two parts make the path, the parent is a folder, and going up ends at the top.
func FuzzSplit(f *testing.F) {
	for _, path := range []string{"a", "a/b", "a/b/", "ä/ö/", "//", "a//b"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if path == "" {
			return
		}
		parent, name := split(path)
		if parent+name != path || name == "" {
			t.Fatalf("%q is %q and %q", path, parent, name)
		}
		if parent != "" && isLeaf(parent) {
			t.Fatalf("the parent %q of %q is no folder", parent, path)
		}
		if strings.Contains(strings.TrimSuffix(name, "/"), "/") {
			t.Fatalf("the name %q of %q has several parts", name, path)
		}
		if isLeaf(name) != isLeaf(path) {
			t.Fatalf("the name %q of %q is of another kind", name, path)
		}
	})
}

func TestDecodeTellsNothing(t *testing.T) {
	t.Parallel()
	var value map[string]any
	if err := decode([]byte(`{"k":"canary`), &value); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v", err)
	}
	if _, err := encode(map[string]any{"k": json.Number("canary")}); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v", err)
	}
}

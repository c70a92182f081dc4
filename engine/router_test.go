package engine_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"leasehold/engine"
	"leasehold/internal/errs"
)

// echo answers with what the path captured.
func echo(_ context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return &engine.Response{Data: map[string]any{"name": f.Text("name"), "rest": f.Text("rest")}}, nil
}

func testRouter() *engine.Router {
	names := engine.Schema{"name": engine.Text, "rest": engine.Text, "known": engine.Text}
	return engine.NewRouter(
		&engine.Path{Pattern: "roles", Ops: engine.Ops{engine.List: echo}, Help: "the roles"},
		&engine.Path{
			Pattern: "roles/:name", Fields: names, Ops: engine.Ops{engine.Read: echo, engine.Update: echo}, Sudo: true,
			Exists: func(_ context.Context, _ *engine.Request, f *engine.Fields) (bool, error) {
				return f.Text("name") == "there", nil
			},
		},
		&engine.Path{Pattern: "tree/*rest", Fields: names, Ops: engine.Ops{engine.Read: echo}, Unauthenticated: true},
		&engine.Path{Pattern: "quiet", Fields: names, Ops: engine.Ops{
			engine.Update: func(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) { return nil, nil },
		}},
	)
}

func TestRouting(t *testing.T) {
	t.Parallel()
	tests := []struct {
		op   engine.Operation
		path string
		name string
		rest string
		code errs.Code
	}{
		{op: engine.List, path: "roles/"},
		{op: engine.List, path: "roles"},
		{op: engine.Read, path: "roles/a.b-c", name: "a.b-c"},
		{op: engine.Create, path: "roles/new", name: "new"},
		{op: engine.Read, path: "tree/a/b/", rest: "a/b/"},
		{op: engine.Read, path: "tree/", rest: ""},
		{op: engine.Read, path: "roles", code: errs.Unsupported},
		{op: engine.Delete, path: "roles/a", code: errs.Unsupported},
		{op: engine.List, path: "roles/a/", code: errs.NotFound},
		{op: engine.Read, path: "roles/-a", code: errs.NotFound},
		{op: engine.Read, path: "roles/a.", code: errs.NotFound},
		{op: engine.Read, path: "roles/a/b", code: errs.NotFound},
		{op: engine.Read, path: "rolesX", code: errs.NotFound},
		{op: engine.Read, path: "", code: errs.NotFound},
	}
	for _, test := range tests {
		resp, err := testRouter().Handle(t.Context(), &engine.Request{Operation: test.op, Path: test.path})
		if test.code != errs.Internal {
			if errs.CodeOf(err) != test.code {
				t.Errorf("%s %q: got %v, want code %v", test.op, test.path, err, test.code)
			}
			continue
		}
		if err != nil || resp.Data["name"] != test.name || resp.Data["rest"] != test.rest {
			t.Errorf("%s %q: got %+v, %v", test.op, test.path, resp, err)
		}
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	tests := []struct {
		op   engine.Operation
		path string
		want engine.Facts
	}{
		{engine.Update, "roles/there", engine.Facts{Sudo: true}},
		{engine.Update, "roles/new", engine.Facts{Sudo: true, Creates: true}},
		{engine.Read, "roles/new", engine.Facts{Sudo: true}},
		{engine.Read, "tree/x", engine.Facts{Unauthenticated: true}},
		{engine.Read, "nowhere", engine.Facts{}},
	}
	for _, test := range tests {
		got, err := testRouter().Describe(t.Context(), &engine.Request{Operation: test.op, Path: test.path})
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("%s %q: %v, -want +got:\n%s", test.op, test.path, err, diff)
		}
	}
}

// Fields that nobody knows are named where there is an answer, and are silent where there is none.
func TestWarnings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		path string
		data map[string]any
		want []string
	}{
		{"roles/a", map[string]any{"known": "x"}, nil},
		{"roles/a", map[string]any{"z": 1, "b": 2}, []string{"Endpoint ignored these unrecognized parameters: [b z]"}},
		{"roles/a", map[string]any{"name": "other"}, []string{
			"Endpoint replaced the value of these parameters with the values captured from the endpoint's path: [name]",
		}},
		{"quiet", map[string]any{"z": 1}, nil},
	}
	for _, test := range tests {
		resp, err := testRouter().Handle(t.Context(), &engine.Request{Operation: engine.Update, Path: test.path, Data: test.data})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		if resp != nil {
			got = resp.Warnings
			if resp.Data["name"] != "a" {
				t.Errorf("the path's capture did not win: %v", resp.Data)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s %v: got %q, want %q", test.path, test.data, got, test.want)
		}
	}
}

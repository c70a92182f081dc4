package database

import (
	"strings"
	"testing"
	"time"

	"leasehold/plugins"
	"leasehold/plugins/postgres"
)

func TestMark(t *testing.T) {
	t.Parallel()
	m := mark{
		store: "0123456789abcdef", mount: "8f1c2d30-7a55-4d0e-9a52-2f6a7a0f9d11", connection: "pg.main", role: "app-1",
		issued: time.Date(2040, 5, 6, 7, 8, 9, 1000, time.UTC),
	}
	text := "leasehold store=0123456789abcdef mount=8f1c2d30-7a55-4d0e-9a52-2f6a7a0f9d11 connection=pg.main role=app-1 issued=2040-05-06T07:08:09.000001Z"
	if m.String() != text {
		t.Errorf("got %q, want %q", m, text)
	}
	for _, written := range []string{text, text + " later=7", "leasehold  later " + strings.TrimPrefix(text, "leasehold ")} {
		if got, ok := readMark(written); !ok || got != m {
			t.Errorf("%q: got %+v, %v", written, got, ok)
		}
	}
	if got, ok := readMark("leasehold store=0123456789abcdef"); !ok || got != (mark{store: m.store}) {
		t.Errorf("the store alone: got %+v, %v", got, ok)
	}
	for _, bad := range []string{
		"", "leasehold", "leasehold ", "leasehold of old", "x " + text, strings.Replace(text, "store=", "story=", 1),
		strings.Replace(text, "store=0123456789abcdef", "store=", 1), strings.Replace(text, "05-06", "13-06", 1), strings.TrimSuffix(text, "Z"),
	} {
		if got, ok := readMark(bad); ok {
			t.Errorf("%q: got %+v, want it refused", bad, got)
		}
	}
}

// A catalogue may hold anything. What is read as a mark means the same when it is written again.
func FuzzReadMark(f *testing.F) {
	f.Add("leasehold store=0123456789abcdef mount=8f1c connection=pg role=app issued=2040-05-06T07:08:09.000001Z")
	f.Add("leasehold store=a store=b mount= connection==x role issued=2040-05-06T07:08:09.000001Z")
	f.Fuzz(func(t *testing.T, text string) {
		m, ok := readMark(text)
		if !ok {
			return
		}
		again, ok := readMark(m.String())
		if !ok || !again.issued.Equal(m.issued) || again.store != m.store || again.mount != m.mount || again.connection != m.connection || again.role != m.role {
			t.Fatalf("%q: read as %+v, and that as %+v, %v", text, m, again, ok)
		}
		if !strings.HasPrefix(m.String(), plugins.MarkPrefix) {
			t.Fatalf("%q has no prefix", m)
		}
	})
}

func TestShape(t *testing.T) {
	t.Parallel()
	limits := postgres.Driver{}.Usernames()
	for _, test := range []struct {
		template string
		fit      []string
		unfit    []string
	}{
		{"", []string{"v-token-app-0123456789abcdefghij-1700000000", "v---0123456789abcdefghij-1700000000"},
			[]string{"v-token-app-0123456789abcdefghi-1700000000", "v-admin", "postgres", "x-v-token-app-0123456789abcdefghij-1700000000"}},
		{`app_{{random 8 | lowercase}}`, []string{"app_abcd1234"}, []string{"app_abcd123", "app_abcd12345", "app.abcd1234"}},
		{`{{.RoleName}}.{{uuid}}`, []string{"r-1.8f1c2d30-7a55-4d0e-9a52-2f6a7a0f9d11"}, []string{"r-1.8f1c2d30"}},
		{`{{timestamp "Jan 2006" | replace " " "-"}}_{{random 12}}`, []string{"November-2026_abcdefghijkl"}, nil},
		{`{{.DisplayName | sha256 | truncate 10}}{{unix_time_millis}}`, []string{"0123abcdef1700000000000"}, []string{"0123abcdeg1700000000000"}},
		{`{{if eq .RoleName "a"}}x{{end}}{{base64 .RoleName | truncate 9}}{{hex "q"}}{{random 9}}{{truncate_sha256 12 .DisplayName}}`, nil, []string{"x"}},
		{`{{.RoleName}}`, nil, nil}, // every name would fit
		{`{{.RoleName}}_{{random 4}}`, nil, nil},
		{`fixed`, nil, nil},
	} {
		u, err := newUsernames(test.template, limits)
		if err != nil {
			t.Fatalf("%s: %v", test.template, err)
		}
		shape := u.shape()
		if known := shape != nil; known != (len(test.fit)+len(test.unfit) > 0) {
			t.Errorf("%s: got %v", test.template, shape)
			continue
		}
		for _, name := range test.fit {
			if !shape.MatchString(name) {
				t.Errorf("%s: %q does not fit %v", test.template, name, shape)
			}
		}
		for _, name := range test.unfit {
			if shape.MatchString(name) {
				t.Errorf("%s: %q fits %v", test.template, name, shape)
			}
		}
		if shape == nil {
			continue
		}
		for _, display := range []string{"", "token", "a.very-long@display/name=that+goes~on:and_on"} {
			name, err := u.create(nameData{DisplayName: display, RoleName: "app"}, time.Unix(1_700_000_000, 0))
			if err == nil && !shape.MatchString(name.text) {
				t.Errorf("%s: its own name %q does not fit %v", test.template, name.text, shape)
			}
		}
	}
}

package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"leasehold/server/config"
)

func loadMove(t *testing.T, text string, env map[string]string) (*config.Move, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "move.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.LoadMove(path, func(name string) string { return env[name] })
}

func TestLoadMove(t *testing.T) {
	t.Parallel()
	type side struct{ kind, path, url, schema string }
	sideOf := func(s config.Storage) side { return side{s.Type, s.Path, s.URL.Reveal(), s.Schema} }
	const both = `storage_source "postgresql" { connection_url = "one" }
		storage_destination "postgresql" { connection_url = "two" schema = "s" }`
	for name, c := range map[string]struct {
		text                string
		env                 map[string]string
		source, destination side
		warning             string // part of the only one
	}{
		"hcl": {text: `storage_source "file" { path = "/a" }
			storage_destination "postgresql" { connection_url = "url" }
			cluster_addr = "https://10.0.0.1:8201"`,
			source: side{"file", "/a", "", ""}, destination: side{"postgresql", "", "url", ""}, warning: `no effect in this server: "cluster_addr"`},
		"json": {text: `{"storage_source": {"postgresql": {"connection_url": "url"}}, "storage_destination": [{"sqlite": {"path": "/b"}}]}`,
			source: side{"postgresql", "", "url", ""}, destination: side{"sqlite", "/b", "", ""}},
		"environment": {text: `storage_source "raft" { path = "/a" }
			storage_destination "postgresql" {}`,
			env:    map[string]string{"VAULT_PG_CONNECTION_URL": "url", "VAULT_RAFT_PATH": "/b"},
			source: side{"raft", "/b", "", ""}, destination: side{"postgresql", "", "url", ""}, warning: `storage "raft" is kept by one node`},
		"environment for one of two": {text: both, env: map[string]string{"VAULT_PG_CONNECTION_URL": "canary"},
			source: side{"postgresql", "", "one", ""}, destination: side{"postgresql", "", "two", "s"},
			warning: "environment variable VAULT_PG_CONNECTION_URL is ignored: both sides are postgresql"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := loadMove(t, c.text, c.env)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]side{c.source, c.destination}, []side{sideOf(got.Source), sideOf(got.Destination)}, cmp.AllowUnexported(side{})); diff != "" {
				t.Error(diff)
			}
			if all := strings.Join(got.Warnings, "\n"); (all == "") != (c.warning == "") || !strings.Contains(all, c.warning) ||
				strings.Contains(all, "canary") || strings.Contains(all, "\n") {
				t.Errorf("warnings: %q, want %q", all, c.warning)
			}
		})
	}
}

func TestLoadMoveRefuses(t *testing.T) {
	t.Parallel()
	const source = `storage_source "file" { path = "/a" }` + "\n"
	for name, c := range map[string]struct{ text, want string }{
		"a server's file": {`storage "file" { path = "/a" }`, "storage_source: the block is needed"},
		"one side":        {source, "storage_destination: the block is needed"},
		"nothing kept":    {source + `storage_destination "inmem" {}`, `storage_destination: storage "inmem" keeps nothing`},
		"no path":         {source + `storage_destination "file" {}`, `storage_destination: storage "file": path is needed`},
		"no url":          {source + `storage_destination "postgresql" {}`, `storage_destination: storage "postgresql": connection_url is needed`},
		"unknown":         {source + `storage_destination "consul" { token = "canary" }`, `storage_destination: storage "consul" is not known`},
		"a wrong value":   {source + `storage_destination "postgresql" { connection_url = ["canary"] }`, `connection_url: expected a text`},
		"no file":         {"\x00", "move.hcl:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := loadMove(t, c.text, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

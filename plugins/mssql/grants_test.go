package mssql_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"leasehold/internal/secret"
	"leasehold/plugins"
	"leasehold/plugins/mssql"
)

func TestGrants(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.exec(t, "CREATE DATABASE shop", "CREATE DATABASE other")
	db, err := mssql.Driver{}.Open(settings(s, s.User, s.Password))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	const name = "v-grants"
	err = db.CreateUser(t.Context(), plugins.User{Name: name, Password: secret.NewText("Canary-1234567890"), Statements: []string{
		createLogin + " USE [shop]; CREATE USER [{{name}}] FOR LOGIN [{{name}}]; ALTER ROLE db_datareader ADD MEMBER [{{name}}]; ALTER ROLE db_datawriter ADD MEMBER [{{name}}]",
	}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := db.(plugins.Granter).Grants(t.Context(), name)
	want := []string{
		"USE [shop]", "ALTER ROLE [db_datareader] ADD MEMBER [v-grants]", "ALTER ROLE [db_datawriter] ADD MEMBER [v-grants]",
		"-- rights granted to the user itself are not listed",
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("grants: %v\n%s", err, diff)
	}
	if got, err := db.(plugins.Granter).Grants(t.Context(), "v-nobody"); err != nil || len(got) != 0 {
		t.Errorf("grants of nobody: %q, %v", got, err)
	}
}

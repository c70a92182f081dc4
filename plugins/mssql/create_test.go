package mssql_test

import (
	"strings"
	"testing"

	"leasehold/internal/secret"
	"leasehold/plugins"
)

// Statements as people write them.
func TestCreateStatements(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.exec(t, "USE shop", "CREATE ROLE readers", "CREATE LOGIN other WITH PASSWORD = 'Oth3r-other'")
	db := open(t, settings(s, s.User, s.Password))
	for _, test := range []struct {
		name       string
		statements []string
		want       string // empty: made; else the class
	}{
		{"one batch", []string{createLogin + inShop}, ""},
		{"go", []string{createLogin + "\nGO\n" + "USE [shop]\nGO\nCREATE USER [{{name}}] FOR LOGIN [{{name}}]\nGO\nALTER ROLE readers ADD MEMBER [{{name}}]\nGO\n"}, ""},
		{"comments", []string{"-- it's; \n" + createLogin + " /* ; /* ' */ ; */ " + inShop}, ""},
		{"if", []string{"IF NOT EXISTS (SELECT name FROM sys.server_principals WHERE name = N'{{name}}') BEGIN " + createLogin + " END; " + inShop}, ""},
		{"dynamic", []string{createLogin, "EXEC('USE [shop]; CREATE USER [{{name}}] FOR LOGIN [{{name}}]')"}, ""},
		{"variables", []string{"DECLARE @sql nvarchar(max) = N'CREATE LOGIN [' + REPLACE_ + N']'; EXEC(@sql)"}, "permanent"},
		{"variable", []string{"DECLARE @sql nvarchar(max) = N'CREATE LOGIN ' + QUOTENAME(N'{{name}}') + N' WITH PASSWORD = ''{{password}}'''; EXEC(@sql);"}, ""},
		{"procedure", []string{createLogin + inShop, "USE shop; EXEC sp_addrolemember 'readers', '{{name}}'"}, ""},
		{"base64", []string{"Q1JFQVRFIExPR0lOIFt7e25hbWV9fV0gV0lUSCBQQVNTV09SRCA9ICd7e3Bhc3N3b3JkfX0n"}, ""},
		{"transaction", []string{"BEGIN TRANSACTION; " + createLogin + " COMMIT"}, ""},
		{"committed and failed", []string{createLogin + " COMMIT; RAISERROR('no', 16, 1)"}, "refused"},
		{"rolled back", []string{createLogin + " ROLLBACK"}, "permanent"},
		{"left open", []string{"BEGIN TRANSACTION; " + createLogin}, ""},
		{"another name", []string{"CREATE LOGIN somebody WITH PASSWORD = 'Some-b0dy'"}, "permanent"},
		{"a user without a login", []string{"USE shop; CREATE USER [{{name}}] WITHOUT LOGIN"}, "permanent"},
		{"there already", []string{"CREATE LOGIN other WITH PASSWORD = 'x-Oth3r-x'", createLogin}, "permanent"},
		{"syntax", []string{createLogin, "GRANT EVERYTHING TO [{{name}}]"}, "permanent"},
		{"no database", []string{createLogin, "USE nowhere"}, "permanent"},
		{"empty", []string{" ; "}, "permanent"},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := newUser(test.statements...)
			err := db.CreateUser(t.Context(), u)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				s.want(t, 1, "SELECT COUNT(*) FROM sys.server_principals WHERE name = @p1", u.Name)
				session, err := logIn(t.Context(), s, u.Name, u.Password.Reveal(), "")
				if err != nil {
					t.Fatal(err)
				}
				defer session.Close()
				if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
					t.Fatal(err)
				}
			} else if got := plugins.ClassOf(err).String(); err == nil || got != test.want {
				t.Fatalf("got class %s, want %s: %v", got, test.want, err)
			}
			s.want(t, 0, "SELECT COUNT(*) FROM sys.server_principals WHERE name = @p1", u.Name)
			s.want(t, 0, "SELECT COUNT(*) FROM shop.sys.database_principals WHERE name = @p1", u.Name)
			s.want(t, 0, "SELECT COUNT(*) FROM sys.server_principals WHERE name = 'somebody'")
			s.want(t, 1, "SELECT COUNT(*) FROM sys.server_principals WHERE name = 'other'")
		})
	}
}

// Revocation statements run outside of a transaction, all of them.
func TestDropStatements(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	db := open(t, settings(s, s.User, s.Password))
	for _, test := range []struct {
		name       string
		statements []string
		want       string
		gone       bool
	}{
		{"as made", []string{"USE [shop]; DROP USER [{{name}}]; DROP LOGIN [{{name}}]"}, "", true},
		{"lenient", []string{"USE [shop]; DROP USER IF EXISTS [{{name}}]", "IF EXISTS (SELECT name FROM sys.server_principals WHERE name = '{{name}}') DROP LOGIN [{{name}}]"}, "", true},
		{"the login alone", []string{dropLogin}, "", true},
		{"nothing", []string{"SELECT 1"}, "refused", false},
		{"the first fails", []string{"RAISERROR('no', 16, 1)", dropLogin}, "refused", true},
		{"kill in the way", []string{"KILL 1; " + dropLogin}, "refused", true},
		{"empty ones", []string{""}, "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := newUser(createLogin, inShop)
			if err := db.CreateUser(t.Context(), u); err != nil {
				t.Fatal(err)
			}
			session, err := logIn(t.Context(), s, u.Name, u.Password.Reveal(), "")
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			err = db.DropUser(t.Context(), u.Name, test.statements)
			got := ""
			if err != nil {
				got = plugins.ClassOf(err).String()
			}
			if got != test.want {
				t.Errorf("got %q, want %q: %v", got, test.want, err)
			}
			left := 1
			if test.gone {
				left = 0
			}
			s.want(t, left, "SELECT COUNT(*) FROM sys.server_principals WHERE name = @p1", u.Name)
			if works := session.Use(t.Context()) == nil; works == test.gone {
				t.Errorf("the session works: %v", works)
			}
			if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// A user without any right changes its own password with the help of the present one, nobody else's, and no error shows either.
func TestOwnPassword(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.exec(t, "CREATE DATABASE shop CONTAINMENT = PARTIAL")
	const first, second, outside = `F1rst-it''s [a] "secret"`, `S3cond-it''s [a] "secret"`, "0utside-secret"
	for _, test := range []struct {
		name, home, create, change string
		set                        plugins.Settings
	}{
		{"a login's", "", "CREATE LOGIN", "ALTER LOGIN", plugins.Settings{}},
		{"a contained user's", "shop", "CREATE USER", "ALTER USER", plugins.Settings{"contained_db": true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			enter := "USE master"
			test.set["connection_url"] = "sqlserver://{{username}}:{{password}}@" + s.Addr
			if test.home != "" {
				enter = "USE " + test.home
				test.set["connection_url"] = test.set["connection_url"].(string) + "?database=" + test.home
			}
			own, other := "it's ["+test.home+"]", "other-"+test.home
			plain := func(quoted string) string { return strings.ReplaceAll(quoted, "''", "'") }
			for _, name := range []string{own, other} {
				s.exec(t, enter, test.create+" ["+strings.ReplaceAll(name, "]", "]]")+"] WITH PASSWORD = '"+first+"'")
			}
			test.set["username"], test.set["password"] = own, plain(first)
			db := open(t, test.set)
			wants := func(name, password string, works bool) {
				t.Helper()
				session, err := logIn(t.Context(), s, name, password, test.home)
				if err == nil {
					_ = session.Close()
				}
				if (err == nil) != works {
					t.Errorf("login as %s: %v", name, err)
				}
			}
			change := plugins.Change{Password: secret.NewText(plain(second))}
			if err := db.AlterUser(t.Context(), other, change); err == nil {
				t.Error("it changed another's password")
			}
			if err := db.AlterUser(t.Context(), own, change); err != nil {
				t.Fatal(err)
			}
			wants(own, plain(second), true)
			wants(own, plain(first), false)
			wants(other, plain(first), true)

			s.exec(t, enter, test.change+" ["+strings.ReplaceAll(own, "]", "]]")+"] WITH PASSWORD = '"+outside+"'")
			err := db.AlterUser(t.Context(), own, change) // on the connection that it has, with an old password that is the present one no more
			wantClass(t, err, plugins.Permanent)
			for _, password := range []string{first, second, plain(first), plain(second), outside} {
				if err != nil && strings.Contains(err.Error(), password) {
					t.Errorf("a password is in the error: %v", err)
				}
			}
			wants(own, outside, true)
		})
	}
}

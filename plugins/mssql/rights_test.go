package mssql_test

import (
	"net"
	"strings"
	"testing"

	"leasehold/internal/secret"
	"leasehold/plugins"
)

// silent is the address of a server that says nothing.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// newBroker makes a login with some rights on the server, and in the database shop.
func newBroker(t *testing.T, s *server, onServer string, inShop ...string) plugins.Database {
	t.Helper()
	s.exec(t, "CREATE LOGIN broker WITH PASSWORD = 'Br0ker-broker'", "GRANT "+onServer+" TO broker", "USE shop", "CREATE USER broker FOR LOGIN broker")
	s.exec(t, append([]string{"USE shop"}, inShop...)...)
	return open(t, settings(s, "broker", "Br0ker-broker"))
}

const allRights = "ALTER ANY LOGIN, ALTER ANY CONNECTION, VIEW SERVER STATE"

// The least that suffices for users who own nothing: the right to make users, and what the roles give away.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	db := newBroker(t, s, allRights, "GRANT ALTER ANY USER TO broker", "GRANT SELECT ON SCHEMA::dbo TO broker WITH GRANT OPTION")
	u := newUser(createLogin, inShop)
	u.Mark = "leasehold store=abc" // which it has no right for, and which is no reason to refuse the user
	if err := db.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	session, err := logIn(t.Context(), s, u.Name, u.Password.Reveal(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if err := session.Use(t.Context()); err != nil {
		t.Error(err)
	}
	if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
		t.Fatal(err)
	}
	if session.Use(t.Context()) == nil {
		t.Error("a session outlived its user")
	}
	s.want(t, 0, "SELECT COUNT(*) FROM shop.sys.database_principals WHERE name = @p1", u.Name)
	s.want(t, 0, "SELECT COUNT(*) FROM sys.server_principals WHERE name = @p1", u.Name)
}

// What is missing is named, and nothing is taken for done that cannot be seen.
func TestMissingRights(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, onServer string
		inShop         []string
		own            string // what the user owns in the database
		want           string // in the error of the drop
		enabled        bool   // the login is not even disabled
	}{
		{"logins", "ALTER ANY CONNECTION, VIEW SERVER STATE", nil, "", "needs ALTER ANY LOGIN", true},
		{"connections", "ALTER ANY LOGIN, VIEW SERVER STATE", []string{"ALTER ROLE db_owner ADD MEMBER broker"}, "", "needs ALTER ANY CONNECTION", false},
		{"server state", "ALTER ANY LOGIN, ALTER ANY CONNECTION", []string{"ALTER ROLE db_owner ADD MEMBER broker"}, "", "needs VIEW SERVER STATE", false},
		{"users", allRights, []string{"GRANT VIEW DEFINITION TO broker"}, "", "in database [shop]: ", false},
		{"schema", allRights, []string{"GRANT ALTER ANY USER TO broker"}, "CREATE SCHEMA mine AUTHORIZATION [X]", "in database [shop]: ", false},
		{"schema that is seen", allRights, []string{"ALTER ROLE db_accessadmin ADD MEMBER broker", "GRANT VIEW DEFINITION TO broker"},
			"CREATE SCHEMA mine AUTHORIZATION [X]", "the user owns SCHEMA::[mine]", false},
		{"role", allRights, []string{"GRANT ALTER ANY USER, VIEW DEFINITION TO broker"}, "CREATE ROLE mine AUTHORIZATION [X]", "the user owns ROLE::[mine]", false},
		{"database", allRights, []string{"ALTER ROLE db_owner ADD MEMBER broker"}, "ALTER AUTHORIZATION ON DATABASE::other TO [X]", "owns one or more database", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.exec(t, "CREATE DATABASE other")
			db := newBroker(t, s, test.onServer, test.inShop...)
			admin := open(t, settings(s, s.User, s.Password))
			u := newUser(createLogin, inShop)
			if err := admin.CreateUser(t.Context(), u); err != nil {
				t.Fatal(err)
			}
			if test.own != "" {
				s.exec(t, "USE shop", strings.ReplaceAll(test.own, "X", u.Name))
			}
			connected := test.name == "connections" || test.name == "server state"
			session, err := logIn(t.Context(), s, u.Name, u.Password.Reveal(), "")
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			if !connected {
				_ = session.Close()
			}
			err = db.DropUser(t.Context(), u.Name, nil)
			if connected && session.Use(t.Context()) == nil {
				t.Error("a session that could not be ended still reads")
			}
			wantClass(t, err, plugins.Refused)
			if err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
			s.want(t, 1, "SELECT COUNT(*) FROM sys.server_principals WHERE name = @p1", u.Name)
			disabled := 1
			if test.enabled {
				disabled = 0
				wantClass(t, db.CreateUser(t.Context(), newUser(createLogin)), plugins.Refused)
			}
			s.want(t, disabled, "SELECT COUNT(*) FROM sys.server_principals WHERE is_disabled = 1 AND name = @p1", u.Name)
			if test.name != "database" {
				if err := admin.DropUser(t.Context(), u.Name, nil); err != nil {
					t.Errorf("with all rights: %v", err)
				}
			}
		})
	}
}

func TestAlterOwnPassword(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		contained bool
		setup     []string
	}{
		{"login", false, []string{"CREATE LOGIN broker WITH PASSWORD = 'Br0ker-broker'", "GRANT ALTER ANY LOGIN TO broker", "USE shop", "CREATE USER broker FOR LOGIN broker"}},
		{"login for contained users", true, []string{"CREATE LOGIN broker WITH PASSWORD = 'Br0ker-broker'", "GRANT ALTER ANY LOGIN TO broker", "USE shop", "CREATE USER broker FOR LOGIN broker"}},
		{"contained user", true, []string{"USE shop", "CREATE USER broker WITH PASSWORD = 'Br0ker-broker'", "GRANT ALTER ANY USER TO broker"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.exec(t, "CREATE DATABASE shop CONTAINMENT = PARTIAL")
			s.exec(t, test.setup...)
			set := settings(s, "broker", "Br0ker-broker")
			set["connection_url"] = set["connection_url"].(string) + "?database=shop"
			set["contained_db"] = test.contained
			db := open(t, set)
			if err := db.AlterUser(t.Context(), "broker", plugins.Change{Password: secret.NewText("An0ther-one's")}); err != nil {
				t.Fatal(err)
			}
			set["password"] = "An0ther-one's"
			if err := open(t, set).Verify(t.Context()); err != nil {
				t.Error(err)
			}
			wantClass(t, db.DropUser(t.Context(), "BROKER", nil), plugins.Permanent)
		})
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.EnforcePolicy()
	u := newUser(createLogin)
	u.Password = secret.NewText("weak")
	db := open(t, settings(s, s.User, s.Password))
	wantClass(t, db.CreateUser(t.Context(), u), plugins.Permanent)
	s.want(t, 0, "SELECT COUNT(*) FROM sys.server_principals WHERE name = @p1", u.Name)
}

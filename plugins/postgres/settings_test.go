package postgres_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"leasehold/internal/testdb"
	"leasehold/plugins"
	"leasehold/plugins/postgres"
)

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	const secretURL = "postgresql://{{username}}:{{password}}@127.0.0.1:1/x"
	for _, test := range []struct {
		name     string
		settings plugins.Settings
		want     string // the whole text, or its beginning before ...
	}{
		{"nothing", nil, "connection_url cannot be empty"},
		{"empty URL", plugins.Settings{"connection_url": ""}, "connection_url cannot be empty"},
		{"URL of another type", plugins.Settings{"connection_url": []any{"x"}}, "invalid connection_url: want a text"},
		{"template in the user name", plugins.Settings{"connection_url": secretURL, "username": "a{{password}}"}, "username and/or password cannot contain the template variables"},
		{"template in the password", plugins.Settings{"connection_url": secretURL, "password": "canary{{username}}"}, "username and/or password cannot contain the template variables"},
		{"password authentication", plugins.Settings{"connection_url": secretURL, "password_authentication": "md5"}, "'md5' is not a valid password authentication type"},
		{"lifetime", plugins.Settings{"connection_url": secretURL, "max_connection_lifetime": "x"}, "invalid max_connection_lifetime..."},
		{"negative lifetime", plugins.Settings{"connection_url": secretURL, "max_connection_lifetime": json.Number("-1")}, "invalid max_connection_lifetime..."},
		{"connections", plugins.Settings{"connection_url": secretURL, "max_open_connections": "many"}, "invalid max_open_connections..."},
		{"rounds", plugins.Settings{"connection_url": secretURL, "scram_iterations": json.Number("-1")}, "invalid scram_iterations..."},
		{"too many rounds", plugins.Settings{"connection_url": secretURL, "scram_iterations": "1000001"}, "invalid scram_iterations..."},
		{"negative connections", plugins.Settings{"connection_url": secretURL, "max_open_connections": json.Number("-1")}, "invalid max_open_connections..."},
		{"idle connections", plugins.Settings{"connection_url": secretURL, "max_idle_connections": "1.5"}, "invalid max_idle_connections..."},
		{"escaping", plugins.Settings{"connection_url": secretURL, "disable_escaping": "perhaps"}, "invalid disable_escaping..."},
		{"CA", plugins.Settings{"connection_url": secretURL, "tls_ca": "canary"}, "tls_ca..."},
		{"certificate without key", plugins.Settings{"connection_url": secretURL, "tls_certificate": "canary"}, "tls_certificate..."},
		{"malformed URL", plugins.Settings{"connection_url": "postgresql://u:canary@127.0.0.1:x/"}, "connection_url is not..."},
		{"password that breaks the URL", plugins.Settings{"connection_url": secretURL, "password": "/canary", "disable_escaping": true}, "connection_url is not..."},
		{"literal password with an @", plugins.Settings{"connection_url": "postgresql://u:p@canary@127.0.0.1:1/x"}, "connection_url is not..."},
		{"unknown TLS mode", plugins.Settings{"connection_url": secretURL + "?sslmode=canary"}, "connection_url is not..."},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db, err := postgres.Driver{}.Open(test.settings)
			if err == nil {
				_ = db.Close()
				t.Fatal("opened")
			}
			got, want := err.Error(), test.want
			if prefix, ok := strings.CutSuffix(want, "..."); ok && strings.HasPrefix(got, prefix) {
				want = got
			}
			if got != want || strings.Contains(got, "canary") {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestOpenAccepts(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t)
	const odd = `p a'ss\w/o:r@d%41`
	plain, _ := newRole(t, s, "")
	user := "odd " + plain
	s.Exec(t, fmt.Sprintf(`ALTER ROLE %s RENAME TO "%s"; ALTER ROLE "%[2]s" PASSWORD 'p a''ss\w/o:r@d%%41'`, plain, user))
	host, port, _ := strings.Cut(s.Addr, ":")
	keys := fmt.Sprintf("host=%s port=%s dbname=%s sslmode=disable", host, port, s.Database)
	for _, test := range []struct {
		name     string
		settings plugins.Settings
		maxOpen  int
	}{
		{"URL", plugins.Settings{"connection_url": fmt.Sprintf(templateURL, s.Addr, s.Database)}, 4},
		{"other scheme", plugins.Settings{"connection_url": strings.Replace(fmt.Sprintf(templateURL, s.Addr, s.Database), "postgresql", "postgres", 1)}, 4},
		{"escaped by the operator", plugins.Settings{"connection_url": fmt.Sprintf(templateURL, s.Addr, s.Database), "disable_escaping": true,
			"username": "odd%20" + plain, "password": strings.ReplaceAll(url.QueryEscape(odd), "+", "%20")}, 4},
		{"keys and values", plugins.Settings{"connection_url": keys + " user='{{username}}' password='{{password}}'"}, 4},
		{"literal", plugins.Settings{"connection_url": (&url.URL{Scheme: "postgresql", User: url.UserPassword(user, odd), Host: s.Addr, Path: s.Database, RawQuery: "sslmode=disable"}).String(),
			"username": nil, "password": nil}, 4},
		{"numbers", plugins.Settings{"connection_url": fmt.Sprintf(templateURL, s.Addr, s.Database), "max_open_connections": json.Number("7"),
			"max_idle_connections": json.Number("-1"), "max_connection_lifetime": json.Number("60"), "disable_escaping": false}, 7},
		{"texts", plugins.Settings{"connection_url": fmt.Sprintf(templateURL, s.Addr, s.Database), "max_open_connections": "2",
			"max_idle_connections": "9", "max_connection_lifetime": "1d", "disable_escaping": "false", "password_authentication": "password"}, 2},
		{"other layers' settings", plugins.Settings{"connection_url": fmt.Sprintf(templateURL, s.Addr, s.Database), "username_template": "x", "unknown": map[string]any{}}, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for name, value := range map[string]any{"username": user, "password": odd} {
				if _, set := test.settings[name]; !set {
					test.settings[name] = value
				}
			}
			db := open(t, test.settings)
			for range 3 {
				if err := db.Verify(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got := db.MaxOpen(); got != test.maxOpen {
				t.Errorf("connections: got %d, want %d", got, test.maxOpen)
			}
		})
	}
}

// Sessions are in UTC and carry a name; one that the URL gives stays.
func TestSessions(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	for query, want := range map[string]string{"": "leasehold UTC", "&application_name=mine&timezone=Europe/Rome": "mine UTC"} {
		options := settings(s, s.User, s.Password)
		options["connection_url"] = options["connection_url"].(string) + query
		u := newUser(createRole, `COMMENT ON ROLE "{{name}}" IS 'x'`,
			`DO $$ BEGIN EXECUTE format('COMMENT ON ROLE "{{name}}" IS %L', current_setting('application_name') || ' ' || current_setting('timezone')); END $$`)
		db := open(t, options)
		if err := db.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		if got := ask(t, s, "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1", u.Name); got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
		if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// max_idle_connections is how many stay open.
func TestIdle(t *testing.T) {
	t.Parallel()
	for idle, want := range map[string]string{"-1": "0", "1": "1"} {
		s := testdb.Shared(t).Scratch(t)
		options := settings(s, s.User, s.Password)
		options["max_idle_connections"] = idle
		db := open(t, options)
		if err := db.Verify(t.Context()); err != nil {
			t.Fatal(err)
		}
		question := fmt.Sprintf(`SELECT count(*) = %s FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'leasehold'`, want)
		if err := poll(t.Context(), s, question); err != nil {
			t.Errorf("%s idle: %v", idle, err)
		}
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := testdb.Postgres(t, testdb.TLS())
	byName := strings.Replace(s.Addr, "127.0.0.1", "localhost", 1)
	for _, test := range []struct {
		name, address, query        string
		ca, certificate, key, wrong string
	}{
		{"all", s.Addr, "?sslmode=verify-full", s.CA, s.ClientCertificate, s.ClientKey, ""},
		{"by name", byName, "?sslmode=require", s.CA, s.ClientCertificate, s.ClientKey, ""},
		{"in spite of the URL", s.Addr, "?sslmode=disable", s.CA, s.ClientCertificate, s.ClientKey, ""},
		{"in spite of a URL that says nothing", s.Addr, "", s.CA, s.ClientCertificate, s.ClientKey, ""},
		{"without CA, not verified", s.Addr, "?sslmode=require", "", s.ClientCertificate, s.ClientKey, ""},
		{"without CA, verified by the system's", s.Addr, "?sslmode=verify-full", "", s.ClientCertificate, s.ClientKey, "unknown authority"},
		{"without certificate", s.Addr, "", s.CA, "", "", "certificate"},
		{"another CA", s.Addr, "?sslmode=require", s.ClientCertificate, s.ClientCertificate, s.ClientKey, "unknown authority"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db := open(t, plugins.Settings{
				"connection_url": "postgresql://{{username}}:{{password}}@" + test.address + "/postgres" + test.query,
				"username":       s.User, "password": s.Password,
				"tls_ca": test.ca, "tls_certificate": test.certificate, "private_key": test.key,
			})
			err := db.Verify(t.Context())
			if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
				t.Errorf("got %v, want %q", err, test.wrong)
			}
		})
	}
}

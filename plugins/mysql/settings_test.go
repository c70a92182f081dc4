package mysql_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/plugins"
	"leasehold/plugins/mysql"
)

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	const url = "{{username}}:{{password}}@tcp(127.0.0.1:1)/"
	for _, test := range []struct {
		name     string
		settings plugins.Settings
		want     string // "..." at the end: and more
	}{
		{"nothing", plugins.Settings{}, "connection_url cannot be empty"},
		{"URL of another type", plugins.Settings{"connection_url": []any{"canary"}}, "invalid connection_url: want a text"},
		{"placeholder as a password", plugins.Settings{"connection_url": url, "password": "{{username}}"}, "username and/or password cannot contain the template variables"},
		{"bad number", plugins.Settings{"connection_url": url, "max_open_connections": "canary"}, "invalid max_open_connections: want a whole number"},
		{"bad duration", plugins.Settings{"connection_url": url, "max_connection_lifetime": "canary"}, "invalid max_connection_lifetime: want a duration such as 30m"},
		{"bad truth", plugins.Settings{"connection_url": url, "tls_skip_verify": "canary"}, "invalid tls_skip_verify: want true or false"},
		{"no URL", plugins.Settings{"connection_url": "canary"}, "connection_url is not valid..."},
		{"no network", plugins.Settings{"connection_url": "u:canary@127.0.0.1:3306/x"}, "connection_url is not valid..."},
		{"address that does not end", plugins.Settings{"connection_url": "u:canary@tcp(127.0.0.1:3306/x"}, "connection_url is not valid..."},
		{"bad option", plugins.Settings{"connection_url": url + "?timeout=canary"}, "connection_url is not valid..."},
		{"unknown TLS settings", plugins.Settings{"connection_url": url + "?tls=canary"}, "connection_url is not valid..."},
		{"no CA", plugins.Settings{"connection_url": url, "tls_ca": "canary"}, "tls_ca holds no PEM certificate"},
		{"no certificate", plugins.Settings{"connection_url": url, "tls_certificate_key": "canary"}, "tls_certificate_key is not a PEM certificate with its key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db, err := mysql.Driver{}.Open(test.settings)
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
	s := testdb.SharedMariaDB(t)
	const odd = `p a'ss\w/o:r@d%41(x)?&`
	user := "odd us@er/:" + secret.Random(secret.Base62, 8).Reveal()
	s.Exec(t, fmt.Sprintf("CREATE USER `%s`@`%%` IDENTIFIED BY '%s'", user, strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(odd)))
	plain, _ := newAdmin(t, s)
	s.Exec(t, fmt.Sprintf("ALTER USER %s@'%%' IDENTIFIED BY '%s'", plain, strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(odd)))
	for _, test := range []struct {
		name     string
		settings plugins.Settings
		maxOpen  int
	}{
		{"URL", plugins.Settings{"connection_url": fmt.Sprintf(templateURL, s.Addr)}, 4},
		{"literal", plugins.Settings{"connection_url": plain + ":" + odd + "@tcp(" + s.Addr + ")/", "username": nil, "password": nil}, 4},
		{"first host is away", plugins.Settings{"connection_url": fmt.Sprintf(templateURL, "127.0.0.1:1,"+s.Addr)}, 4},
		{"first host has no port", plugins.Settings{"connection_url": fmt.Sprintf(templateURL, "127.0.0.1,[::1]:1,"+s.Addr) + "?timeout=2s"}, 4},
		{"numbers", plugins.Settings{"connection_url": fmt.Sprintf(templateURL, s.Addr), "max_open_connections": json.Number("7"),
			"max_idle_connections": json.Number("-1"), "max_connection_lifetime": json.Number("60"), "tls_skip_verify": false}, 7},
		{"texts", plugins.Settings{"connection_url": fmt.Sprintf(templateURL, s.Addr), "max_open_connections": "2",
			"max_idle_connections": "9", "max_connection_lifetime": "1d", "tls_skip_verify": "false"}, 2},
		{"other layers' settings", plugins.Settings{"connection_url": fmt.Sprintf(templateURL, s.Addr), "username_template": "x", "unknown": map[string]any{}}, 4},
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

// What no URL may choose: files of this machine, several statements in one query, another character set.
func TestHardened(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	name := newDatabase(t, s)
	options := settings(s, s.User, s.Password)
	options["connection_url"] = options["connection_url"].(string) + name + "?allowAllFiles=true&multiStatements=true&charset=gbk"
	db := open(t, options)
	s.Exec(t, "CREATE TABLE "+name+".lines (a text)")
	err := db.CreateUser(t.Context(), newUser("LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE "+name+".lines"))
	if err == nil || ask(t, s, "SELECT COUNT(*) FROM "+name+".lines") != "0" {
		t.Errorf("a file of this machine was sent: %v", err)
	}
	if err := db.CreateUser(t.Context(), newUser("INSERT INTO "+name+".lines SELECT @@character_set_client")); err == nil {
		t.Error("statements may name the character set") // refused, as they could change it
	}
	if err := db.CreateUser(t.Context(), newUser("INSERT INTO "+name+".lines SELECT CHARSET('x')")); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, s, "SELECT a FROM "+name+".lines"); got != "utf8mb4" {
		t.Errorf("character set: got %s", got)
	}
}

// max_idle_connections is how many stay open.
func TestIdle(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	for idle, want := range map[string]string{"-1": "0", "1": "1"} {
		own, password := newAdmin(t, s)
		options := settings(s, own, password)
		options["max_idle_connections"] = idle
		if err := open(t, options).Verify(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := poll(t.Context(), s.DB(t), "SELECT COUNT(*) = ? FROM information_schema.PROCESSLIST WHERE USER = ?", want, own); err != nil {
			t.Errorf("%s idle: %v", idle, err)
		}
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := testdb.MariaDB(t, testdb.TLS())
	byName, pair := strings.Replace(s.Addr, "127.0.0.1", "localhost", 1), s.ClientCertificate+s.ClientKey
	for _, test := range []struct {
		name, address, query string
		more                 plugins.Settings
		wrong                string
	}{
		{"all", s.Addr, "", plugins.Settings{"tls_ca": s.CA, "tls_certificate_key": pair}, ""},
		{"by name", byName, "", plugins.Settings{"tls_ca": s.CA, "tls_certificate_key": pair}, ""},
		{"first host is away", "localhost:1," + s.Addr, "", plugins.Settings{"tls_ca": s.CA, "tls_certificate_key": pair}, ""},
		{"in spite of the URL", s.Addr, "?tls=false&allowFallbackToPlaintext=true", plugins.Settings{"tls_ca": s.CA, "tls_certificate_key": pair}, ""},
		{"another name", s.Addr, "", plugins.Settings{"tls_ca": s.CA, "tls_certificate_key": pair, "tls_server_name": "localhost"}, ""},
		{"not verified", s.Addr, "", plugins.Settings{"tls_certificate_key": pair, "tls_skip_verify": true}, ""},
		{"wrong name", s.Addr, "", plugins.Settings{"tls_ca": s.CA, "tls_certificate_key": pair, "tls_server_name": "elsewhere"}, "elsewhere"},
		{"verified by the system's", s.Addr, "", plugins.Settings{"tls_certificate_key": pair}, "unknown authority"},
		{"another CA", s.Addr, "", plugins.Settings{"tls_ca": s.ClientCertificate, "tls_certificate_key": pair}, "unknown authority"},
		{"without certificate", s.Addr, "", plugins.Settings{"tls_ca": s.CA}, "Access denied"},
		{"without TLS", s.Addr, "", plugins.Settings{}, "Access denied"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			options := plugins.Settings{"connection_url": fmt.Sprintf(templateURL, test.address) + test.query, "username": s.User, "password": s.Password}
			for name, value := range test.more {
				options[name] = value
			}
			err := open(t, options).Verify(t.Context())
			if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
				t.Errorf("got %v, want %q", err, test.wrong)
			}
		})
	}
}

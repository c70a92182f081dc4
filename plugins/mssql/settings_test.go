package mssql_test

import (
	"strings"
	"testing"

	"leasehold/plugins"
	"leasehold/plugins/mssql"
	"leasehold/plugins/mssql/tdstest"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	host, port, _ := strings.Cut(s.Addr, ":")
	odd := `p;a=s:s'w@r/d%20 "?{}` + "1A"
	s.exec(t, "CREATE LOGIN [o;d/d] WITH PASSWORD = '"+strings.ReplaceAll(odd, "'", "''")+"'")
	for _, test := range []struct {
		name string
		set  plugins.Settings
		want string // of the error; empty: it connects
	}{
		{"template", plugins.Settings{"connection_url": "sqlserver://{{username}}:{{password}}@" + s.Addr}, ""},
		{"query", plugins.Settings{"connection_url": "sqlserver://" + s.Addr + "?user+id={{username}}&password={{password}}&database=master"}, ""},
		{"words", plugins.Settings{"connection_url": "server=" + host + ";port=" + port + ";user id={{username}};password={{password}};database=master"}, ""},
		{"odbc", plugins.Settings{"connection_url": "odbc:server=" + host + ";port=" + port + ";user id={{username}};password={{password}}"}, ""},
		{"escaped by the operator", plugins.Settings{"connection_url": "sqlserver://{{username}}:{{password}}@" + s.Addr, "disable_escaping": true,
			"username": "o%3Bd%2Fd", "password": "p%3Ba%3Ds%3As%27w%40r%2Fd%2520%20%22%3F%7B%7D1A"}, ""},
		{"literal", plugins.Settings{"connection_url": "sqlserver://" + s.User + ":" + s.Password + "@" + s.Addr}, ""},
		{"pool", plugins.Settings{"connection_url": "sqlserver://{{username}}:{{password}}@" + s.Addr, "max_idle_connections": "-1", "max_connection_lifetime": "5s"}, ""},
		{"nothing", plugins.Settings{}, "connection_url cannot be empty"},
		{"bad self_managed", plugins.Settings{"connection_url": "sqlserver://{{username}}:{{password}}@" + s.Addr, "self_managed": "perhaps"}, "invalid self_managed"},
		{"no user", plugins.Settings{"connection_url": "sqlserver://" + s.Addr}, "names no user"},
		{"no URL", plugins.Settings{"connection_url": "sqlserver://%zz"}, "connection_url is not valid"},
		{"another scheme", plugins.Settings{"connection_url": "postgresql://{{username}}:{{password}}@" + s.Addr}, "connection_url is not valid"},
		{"a placeholder in the password", plugins.Settings{"connection_url": "x", "password": "{{username}}"}, "cannot contain the template variables"},
		{"bad pool", plugins.Settings{"connection_url": "sqlserver://a:b@h", "max_open_connections": "many"}, "invalid max_open_connections"},
		{"bad contained_db", plugins.Settings{"connection_url": "sqlserver://a:b@h", "contained_db": "perhaps"}, "invalid contained_db"},
		{"bad CA", plugins.Settings{"connection_url": "sqlserver://a:b@h", "tls_ca": "no PEM"}, "tls_ca holds no PEM certificate"},
		{"bad key", plugins.Settings{"connection_url": "sqlserver://a:b@h", "tls_certificate_key": "no PEM"}, "tls_certificate_key is not a PEM certificate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			set := plugins.Settings{"username": "o;d/d", "password": odd}
			for name, value := range test.set {
				set[name] = value
			}
			db, err := mssql.Driver{}.Open(set)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), odd) {
					t.Fatalf("got %v, want %q in it", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := db.Verify(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEncryption(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	other, plain := newServer(t), newServer(t)
	plain.RefuseEncryption()
	for _, test := range []struct {
		name   string
		server *tdstest.Server
		query  string
		more   plugins.Settings
		works  bool
	}{
		{"by default, not verified", s.Server, "", nil, true},
		{"by default, and the server has none", plain.Server, "", nil, false},
		{"asked for, and verified", s.Server, "?encrypt=true", nil, false},
		{"asked for, and not verified", s.Server, "?encrypt=true&TrustServerCertificate=true", nil, true},
		{"not asked for, and verified", s.Server, "?TrustServerCertificate=false", nil, false},
		{"turned off", plain.Server, "?encrypt=disable", nil, true},
		{"the right CA", s.Server, "", plugins.Settings{"tls_ca": s.CA}, true},
		{"another CA", s.Server, "", plugins.Settings{"tls_ca": other.CA}, false},
		{"another CA, not verified", s.Server, "", plugins.Settings{"tls_ca": other.CA, "tls_skip_verify": true}, true},
		{"the right name", s.Server, "", plugins.Settings{"tls_ca": s.CA, "tls_server_name": "db.example"}, true},
		{"another name", s.Server, "", plugins.Settings{"tls_ca": s.CA, "tls_server_name": "other.example"}, false},
		{"a name alone", s.Server, "", plugins.Settings{"tls_server_name": "db.example"}, false},
		{"over the URL", plain.Server, "?encrypt=disable", plugins.Settings{"tls_ca": s.CA}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			set := plugins.Settings{"connection_url": "sqlserver://{{username}}:{{password}}@" + test.server.Addr + test.query, "username": "sa", "password": test.server.Password}
			for name, value := range test.more {
				set[name] = value
			}
			db := open(t, set)
			err := db.Verify(t.Context())
			if (err == nil) != test.works {
				t.Errorf("got %v, want success %v", err, test.works)
			}
			if err != nil {
				wantClass(t, err, plugins.Unreachable)
			}
		})
	}
}

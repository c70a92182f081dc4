// Package testdb starts throwaway database servers for tests, benchmarks and the demo.
//
// [Postgres] is for tests: the server ends with the test. [Start] is for TestMain and for programs. A server listens on
// a free port of the loopback interface, has its own data directory and is removed afterwards. Where the server's
// binaries are missing the answer is an error that names the package to install, never a skip.
//
// By default a server forgets what it was told when the machine dies ([Durable] is the opposite) and writes every
// statement to its log, so that a test can look for secrets there.
package testdb

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a running server. Its superuser is User. Safe for concurrent use, but for Stop, Crash, Kill, Restart and Promote.
type Server struct {
	Addr     string // host:port
	User     string
	Password string
	Database string
	LogFile  string // the server's log; with log_statement=all unless Durable or With said otherwise

	// With TLS alone, PEM: what a client needs. The certificate names User. CAKey signs others.
	CA, CAKey, ClientCertificate, ClientKey string

	*postmaster
}

type options struct {
	durable  bool
	tls      bool
	settings map[string]string
}

// Option changes how a server is started.
type Option func(*options)

// Durable keeps what is committed through a crash of the machine, and logs no statements: as an operator would run it.
// Benchmarks and stores under test use it.
func Durable() Option { return func(o *options) { o.durable = true } }

// With sets a configuration parameter (postgres -c name=value).
func With(name, value string) Option { return func(o *options) { o.settings[name] = value } }

// TLS makes the server refuse connections without TLS and without a client certificate of CA.
func TLS() Option { return func(o *options) { o.tls = true } }

// Postgres starts a PostgreSQL server that is stopped and removed when the test ends.
func Postgres(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s, stop, err := Start(opts...)
	if err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
	t.Cleanup(stop)
	return s
}

// Start starts a PostgreSQL server. stop ends and removes it, and may be called more than once. A server whose starter
// dies without calling stop ends too; its files are removed by the next Start of any process.
func Start(opts ...Option) (s *Server, stop func(), err error) {
	o := options{settings: map[string]string{
		"listen_addresses":        "127.0.0.1",
		"unix_socket_directories": "",
		"max_connections":         "200",
		// In the data directory, and gone with it, also when nobody cleans up.
		"dynamic_shared_memory_type": "mmap",
	}}
	for _, opt := range opts {
		opt(&o)
	}
	defaults := map[string]string{"log_statement": "all", "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
	if o.durable {
		defaults = map[string]string{"log_statement": "none", "fsync": "on"}
	}
	for name, value := range defaults {
		if _, set := o.settings[name]; !set {
			o.settings[name] = value
		}
	}

	template, err := postgresTemplate()
	if err != nil {
		return nil, nil, err
	}
	removeAbandoned()
	dir, remove, err := claimFolder()
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			remove()
		}
	}()
	s = &Server{
		User: superuser, Password: password, Database: superuser,
		LogFile: filepath.Join(dir, "log"),
		postmaster: &postmaster{
			binaries: template.binaries, account: template.account, data: filepath.Join(dir, "data"), settings: o.settings,
		},
	}
	if err := s.account.own(dir); err != nil {
		return nil, nil, err
	}
	if err := s.account.command("cp", "-a", template.data, s.data).run(); err != nil {
		return nil, nil, err
	}
	if o.tls {
		if err := s.prepareTLS(o.settings); err != nil {
			return nil, nil, err
		}
	}
	if err := s.start(s); err != nil {
		return nil, nil, err
	}
	return s, func() {
		s.Stop()
		remove()
	}, nil
}

// URL is where the database is, with user and password.
func (s *Server) URL() string {
	u := url.URL{Scheme: "postgresql", User: url.UserPassword(s.User, s.Password), Host: s.Addr, Path: "/" + s.Database}
	if s.CA == "" {
		u.RawQuery = "sslmode=disable"
	}
	return u.String()
}

// Connect opens a connection as the superuser.
func (s *Server) Connect(ctx context.Context) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig(s.URL())
	if err != nil {
		return nil, fmt.Errorf("connect to the server: %w", err)
	}
	if s.CA != "" {
		if c.TLSConfig, err = s.clientTLS(); err != nil {
			return nil, err
		}
		c.Fallbacks = nil
	}
	return pgx.ConnectConfig(ctx, c)
}

// Conn opens a connection as the superuser that is closed when the test ends.
func (s *Server) Conn(t testing.TB) *pgx.Conn {
	t.Helper()
	c, err := s.Connect(t.Context())
	if err != nil {
		t.Fatalf("connect to the server: %v", err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// Exec runs SQL as the superuser; several statements may be separated by semicolons.
func (s *Server) Exec(t testing.TB, sql string) {
	t.Helper()
	c, err := s.Connect(t.Context())
	if err != nil {
		t.Fatalf("connect to the server: %v", err)
	}
	defer c.Close(context.Background())
	if _, err := c.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Scratch makes an empty database on the same server, dropped when the test ends, so that the tests of a package can
// share a server. The result differs from s in Database alone.
func (s *Server) Scratch(t testing.TB) *Server {
	t.Helper()
	name := "scratch_" + strings.ToLower(rand.Text())
	s.Exec(t, "CREATE DATABASE "+name)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		c, err := s.Connect(ctx)
		if err != nil {
			t.Errorf("drop database %s: %v", name, err)
			return
		}
		defer c.Close(ctx)
		if _, err := c.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop database %s: %v", name, err)
		}
	})
	scratch := *s
	scratch.Database = name
	return &scratch
}

// Log is what the server has logged until now.
func (s *Server) Log(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(s.LogFile)
	if err != nil {
		t.Fatalf("read the server's log: %v", err)
	}
	return string(b)
}

package testdb

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// MariaServer is a running MariaDB server. User may do everything. Safe for concurrent use, but for Stop, Crash and Restart.
type MariaServer struct {
	Addr     string // host:port
	User     string
	Password string
	LogFile  string // every statement, as the server logs it; not with Durable

	// With TLS alone, PEM: what a client needs.
	CA, ClientCertificate, ClientKey string

	dir     string
	args    []string
	process postmaster
}

// MariaDB starts a MariaDB server that is stopped and removed when the test ends. Options are those of [Postgres]; With sets
// a variable of the server.
func MariaDB(t testing.TB, opts ...Option) *MariaServer {
	t.Helper()
	s, stop, err := StartMariaDB(opts...)
	if err != nil {
		t.Fatalf("start MariaDB: %v", err)
	}
	t.Cleanup(stop)
	return s
}

// StartMariaDB starts a MariaDB server, as [Start] does PostgreSQL.
func StartMariaDB(opts ...Option) (s *MariaServer, stop func(), err error) {
	o := options{settings: map[string]string{}}
	for _, opt := range opts {
		opt(&o)
	}
	template, err := mariaTemplate()
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
	s = &MariaServer{User: "super", Password: password, LogFile: filepath.Join(dir, "general.log"), dir: dir}
	if err := here().command("cp", "-a", template, filepath.Join(dir, "data")).run(); err != nil {
		return nil, nil, err
	}
	if err := s.configure(o); err != nil {
		return nil, nil, err
	}
	for range 5 { // another process may take the port that was free a moment ago
		if err = s.pickPort(); err != nil {
			return nil, nil, err
		}
		if err = s.Restart(); err == nil {
			return s, func() {
				s.Stop()
				remove()
			}, nil
		}
	}
	return nil, nil, err
}

// here is the user that this process runs as: MariaDB does not mind root.
func here() account { return account{uid: os.Getuid(), gid: os.Getgid()} }

// configure writes the server's files and its command line.
func (s *MariaServer) configure(o options) error {
	settings := map[string]string{
		"datadir": filepath.Join(s.dir, "data"), "socket": filepath.Join(s.dir, "socket"), "pid-file": filepath.Join(s.dir, "pid"),
		"log-error": filepath.Join(s.dir, "error.log"), "init-file": filepath.Join(s.dir, "init.sql"),
		"bind-address": "127.0.0.1", "skip-name-resolve": "ON", "skip-log-bin": "1", "performance-schema": "OFF", "max-connections": "200",
		"innodb-buffer-pool-size": "16M", "innodb-log-file-size": mariaLogSize,
	}
	if !o.durable {
		settings["general-log"], settings["general-log-file"] = "ON", s.LogFile
		settings["innodb-flush-log-at-trx-commit"], settings["sync-frm"] = "0", "OFF"
	}
	requirement := ""
	if o.tls {
		c, err := issueCertificates(s.User)
		if err != nil {
			return err
		}
		s.CA, s.ClientCertificate, s.ClientKey = c.ca, c.client, c.clientKey
		for name, text := range map[string]string{"ca": c.ca, "cert": c.server, "key": c.serverKey} {
			path := filepath.Join(s.dir, name+".pem")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				return fmt.Errorf("write the server's TLS files: %w", err)
			}
			settings["ssl-"+name] = path
		}
		settings["require-secure-transport"], requirement = "ON", " REQUIRE X509"
	}
	for name, value := range o.settings {
		settings[name] = value
	}
	s.args = []string{"--no-defaults"}
	if os.Getuid() == 0 {
		s.args = append(s.args, "--user=root")
	}
	for name, value := range settings {
		s.args = append(s.args, "--"+name+"="+value)
	}
	// A statement a line, and no other way in than this user.
	script := fmt.Sprintf("CREATE USER IF NOT EXISTS %[1]s@'%%' IDENTIFIED BY '%[2]s'%[3]s;\nGRANT ALL ON *.* TO %[1]s@'%%' WITH GRANT OPTION;\n",
		s.User, s.Password, requirement)
	if err := os.WriteFile(settings["init-file"], []byte(script), 0o600); err != nil {
		return fmt.Errorf("write the server's first statements: %w", err)
	}
	return nil
}

func (s *MariaServer) pickPort() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("find a free port: %w", err)
	}
	s.Addr = l.Addr().String()
	return l.Close()
}

// Restart starts a server that was stopped or crashed, at the same address and with the same data. It returns when the
// server takes connections.
func (s *MariaServer) Restart() error {
	_, port, _ := net.SplitHostPort(s.Addr)
	cmd := here().command(mariadbd, append(s.args, "--port="+port)...)
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	if err := s.process.launch(cmd); err != nil {
		return fmt.Errorf("start mariadbd: %w", err)
	}
	db, err := s.open("")
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for {
		if err = db.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case <-retry.C:
		case <-s.process.done:
			text, _ := os.ReadFile(filepath.Join(s.dir, "error.log"))
			return fmt.Errorf("mariadbd ended at once:\n%s", text)
		case <-ctx.Done():
			s.Stop()
			return fmt.Errorf("mariadbd takes no connections: %w", err)
		}
	}
}

// Stop ends the server in good order, its sessions included. A server that has ended is left alone.
func (s *MariaServer) Stop() { s.process.end(syscall.SIGTERM) }

// Crash ends the server as a power cut would, but for what the machine's memory holds.
func (s *MariaServer) Crash() { s.process.end(syscall.SIGKILL) }

// open prepares connections as User to a database; empty: to none.
func (s *MariaServer) open(database string) (*sql.DB, error) {
	config := mysql.NewConfig()
	config.User, config.Passwd, config.Net, config.Addr, config.DBName = s.User, s.Password, "tcp", s.Addr, database
	config.MultiStatements, config.Logger = true, &mysql.NopLogger{}
	if s.CA != "" {
		pair, err := tls.X509KeyPair([]byte(s.ClientCertificate), []byte(s.ClientKey))
		if err != nil {
			return nil, fmt.Errorf("read the client's certificate: %w", err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(s.CA))
		config.TLS = &tls.Config{ServerName: "localhost", RootCAs: roots, Certificates: []tls.Certificate{pair}}
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the server: %w", err)
	}
	return sql.OpenDB(connector), nil
}

// DB is connections as User, closed when the test ends. One query may hold several statements.
func (s *MariaServer) DB(t testing.TB) *sql.DB {
	t.Helper()
	db, err := s.open("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// Exec runs SQL as User; several statements may be separated by semicolons.
func (s *MariaServer) Exec(t testing.TB, sql string) {
	t.Helper()
	db, err := s.open("")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Log is the statements that the server has logged until now.
func (s *MariaServer) Log(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(s.LogFile)
	if err != nil {
		t.Fatalf("read the server's log: %v", err)
	}
	return string(b)
}

const (
	mariadbd     = "/usr/sbin/mariadbd"
	mariaLogSize = "8M" // most of what a template has, and a server for tests writes little
)

var mariaVersion = regexp.MustCompile(`[0-9]+(?:\.[0-9]+)+`)

// mariaTemplate finds or makes a data directory to copy, as [postgresTemplate] does.
var mariaTemplate = sync.OnceValues(func() (string, error) {
	banner, err := exec.Command(mariadbd, "--version").Output()
	if err != nil {
		return "", errors.New("no MariaDB server in /usr/sbin: install the Debian packages mariadb-server-core and mariadb-client-core " +
			"(apt-get install --no-install-recommends mariadb-server-core mariadb-client-core)")
	}
	home := filepath.Join(os.TempDir(), fmt.Sprintf("leasehold-mariadb%s-template-%d", mariaVersion.Find(banner), os.Getuid()))
	data := filepath.Join(home, "data")
	if here().owns(home) {
		return data, nil
	}
	dir, err := os.MkdirTemp("", "leasehold-mariadb-template-")
	if err != nil {
		return "", fmt.Errorf("make a folder for the template: %w", err)
	}
	defer os.RemoveAll(dir)
	args := []string{"--no-defaults", "--datadir=" + filepath.Join(dir, "data"), "--auth-root-authentication-method=normal",
		"--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=" + mariaLogSize}
	if os.Getuid() == 0 {
		args = append(args, "--user=root")
	}
	install := here().command("/usr/bin/mariadb-install-db", args...)
	install.Env = []string{"PATH=" + strings.Join([]string{"/usr/bin", "/bin", "/usr/sbin"}, ":"), "LC_ALL=C.UTF-8", "TZ=UTC"}
	if err := install.run(); err != nil {
		return "", err
	}
	if err := os.Rename(dir, home); err != nil && !here().owns(home) {
		return "", fmt.Errorf("keep the template: %w", err)
	}
	return data, nil
})

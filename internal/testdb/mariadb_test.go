package testdb_test

import (
	"os"
	"strings"
	"testing"

	"leasehold/internal/testdb"
)

func TestMariaDB(t *testing.T) {
	t.Parallel()
	s := testdb.MariaDB(t, testdb.With("sql-mode", "ANSI_QUOTES"))
	s.Exec(t, `CREATE DATABASE d; CREATE TABLE d.kept (a int) ENGINE=InnoDB; INSERT INTO d.kept VALUES (7)`)
	if !strings.Contains(s.Log(t), "INSERT INTO d.kept") {
		t.Errorf("the log lacks a statement:\n%s", s.Log(t))
	}
	db := s.DB(t)
	var mode string
	if err := db.QueryRowContext(t.Context(), "SELECT @@sql_mode").Scan(&mode); err != nil || mode != "ANSI_QUOTES" {
		t.Errorf("sql_mode: got %q, %v", mode, err)
	}
	s.Crash()
	if err := db.PingContext(t.Context()); err == nil {
		t.Fatal("a crashed server answers")
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "SELECT a FROM d.kept"); err != nil {
		t.Fatalf("after recovery: %v", err)
	}
}

func TestMariaDBStops(t *testing.T) {
	t.Parallel()
	s, stop, err := testdb.StartMariaDB(testdb.Durable())
	if err != nil {
		t.Fatal(err)
	}
	db := s.DB(t)
	var flushed int
	if err := db.QueryRowContext(t.Context(), "SELECT @@innodb_flush_log_at_trx_commit").Scan(&flushed); err != nil || flushed != 1 {
		t.Errorf("flush at commit: got %d, %v; want 1", flushed, err)
	}
	stop()
	stop()
	if err := db.PingContext(t.Context()); err == nil {
		t.Error("a stopped server answers")
	}
	if _, err := os.Stat(s.LogFile); !os.IsNotExist(err) {
		t.Errorf("the files are still there: %v", err)
	}
}

func TestMariaDBWithTLS(t *testing.T) {
	t.Parallel()
	s := testdb.MariaDB(t, testdb.TLS())
	var name, cipher string
	if err := s.DB(t).QueryRowContext(t.Context(), "SHOW SESSION STATUS LIKE 'Ssl_cipher'").Scan(&name, &cipher); err != nil || cipher == "" {
		t.Errorf("cipher: %q, %v", cipher, err)
	}
}

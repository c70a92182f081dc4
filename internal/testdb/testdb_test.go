package testdb_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"leasehold/internal/testdb"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	s := testdb.Postgres(t)
	s.Exec(t, "CREATE TABLE kept (a int); INSERT INTO kept VALUES (7)")
	if !strings.Contains(s.Log(t), "INSERT INTO kept") {
		t.Errorf("the log lacks a statement:\n%s", s.Log(t))
	}
	scratch := s.Scratch(t)
	if scratch.Database == s.Database || !strings.Contains(scratch.URL(), scratch.Database) {
		t.Errorf("scratch database %q at %q", scratch.Database, scratch.URL())
	}
	s.Crash()
	if _, err := s.Connect(t.Context()); err == nil {
		t.Fatal("a crashed server answers")
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	var a int
	if err := s.Conn(t).QueryRow(t.Context(), "SELECT a FROM kept").Scan(&a); err != nil || a != 7 {
		t.Fatalf("after recovery: %d, %v", a, err)
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	s, stop, err := testdb.Start(testdb.Durable(), testdb.With("work_mem", "7MB"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"fsync": "on", "synchronous_commit": "on", "work_mem": "7MB", "log_statement": "none"} {
		var got string
		if err := s.Conn(t).QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&got); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, want)
		}
	}
	stop()
	stop()
	if _, err := s.Connect(t.Context()); err == nil {
		t.Error("a stopped server answers")
	}
	if _, err := os.Stat(s.LogFile); !os.IsNotExist(err) {
		t.Errorf("the files are still there: %v", err)
	}
}

// A starter that is killed leaves no server, and no files after the next start.
func TestKilledStarter(t *testing.T) {
	t.Parallel()
	if os.Getenv("TESTDB_STARTER") != "" {
		s, _, err := testdb.Start()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("started %s %s\n", s.Addr, s.LogFile)
		select {}
	}
	starter := exec.Command(os.Args[0], "-test.run=^TestKilledStarter$")
	starter.Env = append(os.Environ(), "TESTDB_STARTER=yes")
	out, err := starter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Start(); err != nil {
		t.Fatal(err)
	}
	var addr, log string
	if _, err := fmt.Fscanf(out, "started %s %s\n", &addr, &log); err != nil {
		t.Fatal(err)
	}
	_ = starter.Process.Kill()
	_ = starter.Wait()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for range again.C {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		_ = c.Close()
	}
	testdb.Postgres(t)
	if _, err := os.Stat(log); !os.IsNotExist(err) {
		t.Errorf("the files are still there: %v", err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := testdb.Postgres(t, testdb.TLS())
	var used bool
	if err := s.Conn(t).QueryRow(t.Context(), "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&used); err != nil || !used {
		t.Fatalf("TLS in use: %v, %v", used, err)
	}
}

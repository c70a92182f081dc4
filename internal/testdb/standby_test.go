package testdb_test

import (
	"context"
	"testing"

	"leasehold/internal/testdb"
)

// What a killed primary has acknowledged is on its standby, and the dead primary can come back by itself.
func TestStandby(t *testing.T) {
	t.Parallel()
	primary := testdb.Postgres(t, testdb.Durable())
	primary.Exec(t, "CREATE TABLE kept (a int)")
	standby := testdb.Standby(t, primary)
	primary.Exec(t, "INSERT INTO kept VALUES (7)")
	before := primary.Conn(t)
	primary.Kill()
	if err := before.Ping(t.Context()); err == nil {
		t.Fatal("a killed server answers")
	}
	standby.Promote(t)
	standby.Exec(t, "INSERT INTO kept VALUES (8)")
	var n int
	if err := standby.Conn(t).QueryRow(t.Context(), "SELECT count(*) FROM kept").Scan(&n); err != nil || n != 2 {
		t.Errorf("the standby has %d rows, %v", n, err)
	}
	if err := primary.Restart(); err != nil {
		t.Errorf("restart the killed primary: %v", err)
	}
}

// A commit of the primary has no answer while the standby cannot take it.
func TestThePrimaryWaitsForItsStandby(t *testing.T) {
	t.Parallel()
	primary := testdb.Postgres(t, testdb.Durable())
	primary.Exec(t, "CREATE TABLE kept (a int)")
	standby := testdb.Standby(t, primary)
	standby.Kill()
	ctx, cancel := context.WithCancel(t.Context())
	conn, watch := primary.Conn(t), primary.Conn(t)
	answered := make(chan error, 1)
	go func() {
		_, err := conn.Exec(ctx, "INSERT INTO kept VALUES (7)")
		answered <- err
	}()
	for waiting := false; !waiting; {
		select {
		case err := <-answered:
			t.Fatalf("a commit was answered that the standby does not have: %v", err)
		default:
		}
		err := watch.QueryRow(t.Context(), "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep')").Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-answered; err == nil {
		t.Error("a commit was answered that the standby does not have")
	}
}

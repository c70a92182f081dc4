package broker_test

import (
	"errors"
	"testing"
	"time"

	"leasehold/broker"
	"leasehold/broker/brokertest"
	"leasehold/engine"
	"leasehold/internal/errs"
)

func TestDisableRevokesFirst(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	n.Must(engine.Update, "sys/mounts/lab", map[string]any{"type": "lab"})
	n.Must(engine.Read, "lab/lend/a", nil)
	n.Must(engine.Read, "lab/lend/b", nil)
	n.Must(engine.Update, "lab/note", map[string]any{"v": 1})

	n.Lab.Refuse(errors.New("no"))
	_, err := n.Do(n.Root, engine.Delete, "sys/mounts/lab", nil)
	if errs.CodeOf(err) != errs.Invalid {
		t.Fatalf("got %v", err)
	}
	n.Must(engine.Read, "lab/note", nil) // a mount that keeps its leases stays, with all that it has
	if n.Lab.Lent() != 2 {
		t.Fatalf("%d things are out", n.Lab.Lent())
	}

	n.Lab.Refuse(nil)
	n.Clock.Advance(time.Hour) // behind the pause after a refusal
	n.Must(engine.Delete, "sys/mounts/lab", nil)
	if n.Lab.Lent() != 0 {
		t.Errorf("%d things are out", n.Lab.Lent())
	}
	n.Must(engine.Delete, "sys/mounts/lab", nil) // idempotent
	n.Must(engine.Update, "sys/mounts/lab", map[string]any{"type": "lab"})
	_, err = n.Do(n.Root, engine.Read, "lab/note", nil)
	wantError(t, err, errs.NotFound, "")
}

// A mount whose rows cannot all be removed has lost some of them: it is not shown again, and any node goes on.
func TestDisableGoesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	n.Must(engine.Update, "sys/mounts/lab", map[string]any{"type": "lab"})
	n.Must(engine.Update, "lab/note", map[string]any{"v": 1})
	n.Lab.BreakUnmount(errors.New("the disk is full"))
	_, err := n.Do(n.Root, engine.Delete, "sys/mounts/lab", nil)
	if err == nil || errs.From(err) != nil {
		t.Fatalf("got %v, want an error that clients are told nothing of", err)
	}
	_, err = n.Do(n.Root, engine.Read, "lab/note", nil)
	wantError(t, err, errs.NotFound, `no handler for route "lab/note". route entry not found.`)
	n.Lab.BreakUnmount(nil)
	n.Clock.Advance(time.Hour)
	reap(n)
	n.Must(engine.Update, "sys/mounts/lab", map[string]any{"type": "lab"})
}

// While a mount is being emptied it takes no requests, and its path is taken. A process that dies there leaves the rest
// to any node.
func TestDisableIsTakenUpAfterACrash(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	n.Must(engine.Update, "sys/mounts/lab", map[string]any{"type": "lab"})
	n.Must(engine.Read, "lab/lend/a", nil)
	if id, err := broker.Hide(n.Broker, t.Context(), "lab/", "", ""); err != nil || id == "" {
		t.Fatalf("hide: %q, %v", id, err)
	}
	_, err := n.Do(n.Root, engine.Read, "lab/note", nil)
	wantError(t, err, errs.NotFound, `no handler for route "lab/note". route entry not found.`)
	_, err = n.Do(n.Root, engine.Update, "sys/mounts/lab", map[string]any{"type": "lab"})
	wantError(t, err, errs.Invalid, "path is already in use at lab/")
	reap(n)
	if n.Lab.Lent() != 1 {
		t.Fatal("another request may still be at it: its time has not passed")
	}
	n.Clock.Advance(time.Hour)
	reap(n)
	if n.Lab.Lent() != 0 {
		t.Errorf("%d things are out", n.Lab.Lent())
	}
	n.Must(engine.Update, "sys/mounts/lab", map[string]any{"type": "lab"})
}

func reap(n *brokertest.Node) {
	n.T.Helper()
	if err := n.Reap(n.T.Context()); err != nil {
		n.T.Fatalf("reap: %v", err)
	}
	n.Wait()
}

func TestRemount(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	n.Must(engine.Update, "sys/mounts/old", map[string]any{"type": "lab"})
	n.Must(engine.Update, "old/note", map[string]any{"v": "1"})
	n.Must(engine.Read, "old/lend/a", nil)
	before := n.Must(engine.Read, "sys/mounts/old", nil).Data["uuid"]
	id := n.Must(engine.Update, "sys/remount", map[string]any{"from": "old", "to": "new/place"}).Data["migration_id"].(string)
	info := n.Must(engine.Read, "sys/remount/status/"+id, nil).Data["migration_info"].(map[string]any)
	if info["status"] != "success" || info["source_mount"] != "old/" || info["target_mount"] != "new/place/" {
		t.Errorf("got %v", info)
	}
	if n.Must(engine.Read, "new/place/note", nil).Data["v"] != "1" || n.Must(engine.Read, "sys/mounts/new/place", nil).Data["uuid"] != before {
		t.Error("the rows did not move along")
	}
	if n.Lab.Lent() != 0 {
		t.Error("a lease was carried over")
	}

	n.Must(engine.Read, "new/place/lend/a", nil)
	n.Lab.Refuse(errors.New("no"))
	id = n.Must(engine.Update, "sys/remount", map[string]any{"from": "new/place", "to": "third"}).Data["migration_id"].(string)
	info = n.Must(engine.Read, "sys/remount/status/"+id, nil).Data["migration_info"].(map[string]any)
	if info["status"] != "failure" {
		t.Errorf("got %v", info)
	}
	n.Must(engine.Read, "new/place/note", nil)

	// A crash in the midst of a move: any node goes on.
	n.Lab.Refuse(nil)
	if _, err := broker.Hide(n.Broker, t.Context(), "new/place/", "last/", "an-id"); err != nil {
		t.Fatal(err)
	}
	_, err := n.Do(n.Root, engine.Update, "sys/mounts/last/below", map[string]any{"type": "lab"})
	wantError(t, err, errs.Invalid, "path is already in use at new/place/")
	n.Clock.Advance(time.Hour)
	reap(n)
	n.Must(engine.Read, "last/note", nil)
	if m, err := n.Migration(t.Context(), "an-id"); err != nil || m.Status != "success" {
		t.Errorf("got %+v, %v", m, err)
	}
}

// A request that is on its way when its mount is hidden gets nothing: what it would be issued, nobody would look for.
func TestNothingIsIssuedForAHiddenMount(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	n.Must(engine.Update, "sys/mounts/lab", map[string]any{"type": "lab"})
	n.Lab.BeforeLend(func() {
		if _, err := broker.Hide(n.Broker, t.Context(), "lab/", "", ""); err != nil {
			t.Error(err)
		}
	})
	_, err := n.Do(n.Root, engine.Read, "lab/lend/a", nil)
	wantError(t, err, errs.NotFound, "the mount is being removed or moved")
	if n.Lab.Lent() != 0 {
		t.Errorf("%d things are out", n.Lab.Lent())
	}
}

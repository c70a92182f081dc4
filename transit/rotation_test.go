package transit_test

import (
	"sync"
	"testing"
	"time"

	"leasehold/store"
)

// runAll has all nodes look for what is due, at once, until they have done it.
func runAll(nodes ...*world) {
	var running sync.WaitGroup
	for _, n := range nodes {
		running.Go(func() {
			if err := n.engine.RunOnce(n.Context()); err != nil {
				n.Errorf("run once: %v", err)
			}
			n.engine.Wait()
		})
	}
	running.Wait()
}

func TestRotatesByItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nodes := []*world{w, w.node(), w.node()}
	w.post("keys/period", `{"auto_rotate_period":"24h"}`)
	w.post("keys/ec", `{"type":"ecdsa-p256","auto_rotate_period":"24h"}`)
	w.post("keys/schedule", `{"auto_rotate_schedule":"0 3 * * *"}`) // it is after 7
	w.post("keys/never", "")
	demand := func(after time.Duration, period, ec, schedule int) {
		t.Helper()
		w.clock.Advance(after)
		runAll(nodes...)
		for name, want := range map[string]int{"period": period, "ec": ec, "schedule": schedule, "never": 1} {
			if got := w.get("keys/" + name)["latest_version"]; got != want {
				t.Errorf("%s after %s: latest version is %v, want %d", name, after, got, want)
			}
		}
	}
	demand(0, 1, 1, 1)
	demand(19*time.Hour, 1, 1, 1) // a little after 2
	demand(time.Hour, 1, 1, 2)
	demand(4*time.Hour, 2, 2, 2)
	demand(30*24*time.Hour, 3, 3, 3) // once, however late
	demand(0, 3, 3, 3)
	w.post("keys/period/rotate", "") // begins the period again
	w.post("keys/ec/config", `{"auto_rotate_period":0}`)
	w.post("keys/schedule/config", `{"auto_rotate_schedule":"0 3 1 * *"}`)
	demand(23*time.Hour, 4, 3, 3)
	demand(time.Hour, 5, 3, 3)
	if got := w.get("keys/schedule"); got["auto_rotate_schedule"] != "0 3 1 * *" || got["auto_rotate_period"] != int64(0) {
		t.Errorf("got %v", got)
	}
}

// A node that dies with a claim does not keep the key from being rotated.
func TestClaimThatLapses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.post("keys/k", `{"auto_rotate_period":"1h"}`)
	w.clock.Advance(time.Hour)
	err := w.store.Update(t.Context(), func(tx *store.Tx) error { // as a claim leaves it
		_, err := tx.Exec(`UPDATE transit_keys SET due_at = $1`, store.Micros(tx.Now().Add(time.Minute)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	runAll(w)
	if got := w.get("keys/k")["latest_version"]; got != 1 {
		t.Errorf("a key that is claimed was rotated to %v", got)
	}
	w.clock.Advance(time.Minute)
	runAll(w)
	if got := w.get("keys/k")["latest_version"]; got != 2 {
		t.Errorf("a key whose claim has lapsed is at %v", got)
	}
}

// A mount that is being removed makes no keys any more.
func TestNoRotationOfWhatGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.post("keys/k", `{"auto_rotate_period":"1h"}`)
	w.clock.Advance(time.Hour)
	*w.gone = true
	runAll(w)
	if got := w.get("keys/k")["latest_version"]; got != 1 {
		t.Errorf("latest version is %v", got)
	}
}

// Whoever was too slow does not rotate a second time, and a claim ends when somebody changes the key.
func TestLateRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.post("keys/k", `{"auto_rotate_period":"1h"}`)
	w.clock.Advance(time.Hour)
	claim := func(due bool) func() error {
		t.Helper()
		finish, err := w.engine.ClaimDue(t.Context())
		if err != nil || (finish != nil) != due {
			t.Fatalf("the key is claimed: %v, %v", finish != nil, err)
		}
		return finish
	}
	demand := func(finish func() error, want int) {
		t.Helper()
		if err := finish(); err != nil {
			t.Error(err)
		}
		if got := w.get("keys/k")["latest_version"]; got != want {
			t.Errorf("latest version is %v, want %d", got, want)
		}
	}
	slow := claim(true)
	claim(false)
	w.clock.Advance(2 * time.Minute)
	fast := claim(true)
	demand(slow, 1)
	demand(fast, 2)
	demand(slow, 2)
	demand(fast, 2)
	w.clock.Advance(time.Hour)
	overtaken := claim(true)
	w.post("keys/k/rotate", "")
	demand(overtaken, 3)
	w.clock.Advance(time.Hour)
	switchedOff := claim(true)
	w.post("keys/k/config", `{"auto_rotate_period":0}`)
	demand(switchedOff, 3)
}

package lease_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"leasehold/internal/clock"
	"leasehold/internal/errs"
	"leasehold/lease"
	"leasehold/store"
)

// target stands for a database: users by name, and failures on demand. The name is the lease's payload.
type target struct {
	mu       sync.Mutex
	users    map[string]time.Time
	drops    map[string]int
	fail     error // what every call answers; nil: it works
	failOnly string
	late     map[string]bool // users that appear after their creation was given up
}

func newTarget() *target {
	return &target{users: map[string]time.Time{}, drops: map[string]int{}, late: map[string]bool{}}
}

func (d *target) setFail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = err
}

func (d *target) create(_ context.Context, r lease.Record) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	d.users[string(r.Payload)] = r.ExpiresAt
	return nil
}

func (d *target) Revoke(_ context.Context, r lease.Record) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil && (d.failOnly == "" || d.failOnly == string(r.Payload)) {
		return d.fail
	}
	d.drops[string(r.Payload)]++
	delete(d.users, string(r.Payload))
	return nil
}

func (d *target) Extend(_ context.Context, r lease.Record, until time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	d.users[string(r.Payload)] = until
	return nil
}

func (d *target) Terms(context.Context, lease.Record) (def, max time.Duration, err error) {
	return time.Hour, 4 * time.Hour, nil
}

func (d *target) names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for name := range d.users {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// node is this process among those that share the store.
const node = 7

// world is a manager, its clock and its target.
type world struct {
	t      *testing.T
	clock  *clock.Fake
	store  *store.Store
	leases *lease.Manager
	target *target
	dead   map[int64]bool // tokens
	deadMu sync.Mutex
	made   int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: clock.NewFake(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)), target: newTarget(), dead: map[int64]bool{}}
	st := newStore(t, w.clock, lease.Migrations()...)
	w.store = st
	var err error
	w.leases, err = lease.New(lease.Config{
		Store: st,
		Alive: func(_ *store.Tx, token int64) (bool, error) {
			w.deadMu.Lock()
			defer w.deadMu.Unlock()
			return !w.dead[token], nil
		},
		MountTTL: func(string) (time.Duration, time.Duration) { return 768 * time.Hour, 768 * time.Hour },
		Node:     func() int64 { return node },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.leases.Register("test", w.target)
	return w
}

func (w *world) kill(token int64) {
	w.deadMu.Lock()
	defer w.deadMu.Unlock()
	w.dead[token] = true
}

func (w *world) intent() lease.Intent {
	w.made++
	return lease.Intent{
		Kind: "test", MountUUID: "m1", Path: "database/creds/app", Target: "pg", Token: 7, TTL: time.Hour, Renewable: true,
		Payload: fmt.Appendf(nil, "user-%03d", w.made),
	}
}

func (w *world) issue(change ...func(*lease.Intent)) lease.Record {
	w.t.Helper()
	in := w.intent()
	for _, c := range change {
		c(&in)
	}
	r, err := w.leases.Issue(w.t.Context(), in, w.target.create)
	if err != nil {
		w.t.Fatalf("issue: %v", err)
	}
	return r
}

func (w *world) reap() {
	w.t.Helper()
	if err := w.leases.RunOnce(w.t.Context()); err != nil {
		w.t.Fatalf("reap: %v", err)
	}
}

func (w *world) wantUsers(want ...string) {
	w.t.Helper()
	if got := w.target.names(); !slices.Equal(got, want) {
		w.t.Fatalf("users in the target: got %v, want %v", got, want)
	}
}

func (w *world) wantLeases(want int) {
	w.t.Helper()
	keys, err := w.leases.List(w.t.Context(), "database/creds/app")
	if err != nil {
		w.t.Fatal(err)
	}
	if len(keys) != want {
		w.t.Fatalf("leases: got %v, want %d", keys, want)
	}
}

func TestLeaseEndsAtItsExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.issue()
	if !strings.HasPrefix(r.ID, "database/creds/app/") || len(r.ID) != len("database/creds/app/")+24 {
		t.Errorf("lease id %q", r.ID)
	}
	w.clock.Advance(time.Hour - time.Microsecond)
	w.reap()
	w.wantUsers("user-001")
	w.clock.Advance(time.Microsecond)
	w.reap()
	w.wantUsers()
	w.wantLeases(0)
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		do   func(w *world, id string) error
	}{
		{"waiting", func(w *world, id string) error { return w.leases.Revoke(w.t.Context(), id, true) }},
		{"by the reaper", func(w *world, id string) error {
			err := w.leases.Revoke(w.t.Context(), id, false)
			w.reap()
			return err
		}},
		{"prefix", func(w *world, _ string) error {
			return w.leases.RevokePrefix(w.t.Context(), "database/creds", true)
		}},
		{"prefix with a slash", func(w *world, _ string) error {
			return w.leases.RevokePrefix(w.t.Context(), "database/creds/app/", true)
		}},
		{"prefix by the reaper", func(w *world, _ string) error {
			err := w.leases.RevokePrefix(w.t.Context(), "database", false)
			w.reap()
			return err
		}},
		{"mount", func(w *world, _ string) error { return w.leases.RevokeMount(w.t.Context(), "m1") }},
		{"force", func(w *world, _ string) error { return w.leases.RevokeForce(w.t.Context(), "database/creds/app") }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			r := w.issue()
			other := w.issue(func(in *lease.Intent) { in.Path, in.MountUUID = "database2/creds/app", "m2" })
			if err := test.do(w, r.ID); err != nil {
				t.Fatal(err)
			}
			w.wantUsers("user-002")
			if _, err := w.leases.Lookup(t.Context(), r.ID); errs.CodeOf(err) != errs.Invalid {
				t.Errorf("lookup of a revoked lease: %v", err)
			}
			if _, err := w.leases.Lookup(t.Context(), other.ID); err != nil {
				t.Errorf("lookup of another mount's lease: %v", err)
			}
		})
	}
}

func TestRevokeOfUnknownLeaseIsNoError(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, sync := range []bool{true, false} {
		if err := w.leases.Revoke(t.Context(), "database/creds/app/none", sync); err != nil {
			t.Errorf("sync=%v: %v", sync, err)
		}
	}
}

// A caller's own means end a lease as the engine's do; what they cannot do is left to the engine's.
func TestRevokeBy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := w.issue(), w.issue()
	err := w.leases.RevokeBy(t.Context(), first.ID, func(ctx context.Context, r lease.Record) error {
		if got, err := w.leases.Lookup(ctx, r.ID); err != nil || got.State != lease.Revoking {
			t.Errorf("while it is being undone: %+v, %v", got, err)
		}
		return w.target.Revoke(ctx, r)
	})
	if err != nil {
		t.Fatal(err)
	}
	w.wantUsers("user-002")
	if _, err := w.leases.Lookup(t.Context(), first.ID); errs.CodeOf(err) != errs.Invalid {
		t.Errorf("lookup of a revoked lease: %v", err)
	}
	refusal := errs.New(errs.Unavailable, "no")
	undo := func(context.Context, lease.Record) error { return refusal }
	if err := w.leases.RevokeBy(t.Context(), second.ID, undo); !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
	w.wantUsers("user-002")
	w.clock.Advance(time.Minute) // long before its end
	w.reap()
	w.wantUsers()
	if err := w.leases.RevokeBy(t.Context(), second.ID, undo); errs.CodeOf(err) != errs.Invalid {
		t.Errorf("of a lease that is gone: %v", err)
	}
}

func TestRefusedRevocation(t *testing.T) {
	t.Parallel()
	refusal := errs.New(errs.Unavailable, "division by zero")

	t.Run("a caller who waits is told, and the lease stays", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		r := w.issue()
		w.target.setFail(refusal)
		err := w.leases.Revoke(t.Context(), r.ID, true)
		if errs.CodeOf(err) != errs.Invalid || !strings.Contains(err.Error(), "division by zero") {
			t.Errorf("got %v", err)
		}
		got, err := w.leases.Lookup(t.Context(), r.ID)
		if err != nil || got.State != lease.Active || got.Failure == "" {
			t.Errorf("lease after the refusal: %+v, %v", got, err)
		}
		w.target.setFail(nil)
		w.clock.Advance(time.Hour)
		w.reap()
		w.wantUsers()
	})
	t.Run("the reaper never gives up", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		r := w.issue()
		w.target.setFail(refusal)
		w.clock.Advance(time.Hour)
		for range 40 {
			w.reap()
			w.clock.Advance(11 * time.Minute)
		}
		got, err := w.leases.Lookup(t.Context(), r.ID)
		if err != nil || !got.Irrevocable() || got.Attempts != 40 || !strings.Contains(got.Failure, "division by zero") {
			t.Fatalf("after 40 refusals: %+v, %v", got, err)
		}
		listed, err := w.leases.Irrevocable(t.Context(), 0)
		if err != nil || len(listed) != 1 {
			t.Errorf("irrevocable: %v, %v", listed, err)
		}
		counts, err := w.leases.CountIrrevocable(t.Context())
		if err != nil || counts["m1"] != 1 {
			t.Errorf("counts: %v, %v", counts, err)
		}
		if _, _, err := w.leases.Renew(t.Context(), r.ID, 0); errs.CodeOf(err) != errs.Invalid {
			t.Errorf("renewal of an irrevocable lease: %v", err)
		}
		w.target.setFail(nil)
		w.reap()
		w.wantUsers()
		w.wantLeases(0)
	})
	t.Run("what was meant for the log is not shown", func(t *testing.T) {
		t.Parallel()
		for _, err := range []error{
			errs.New(errs.Unavailable, "no").Because(errors.New("canary")), fmt.Errorf("canary: %w", lease.ErrUnreachable), errors.New("canary"),
		} {
			w := newWorld(t)
			r := w.issue()
			w.target.setFail(err)
			w.clock.Advance(time.Hour)
			w.reap()
			got, lookup := w.leases.Lookup(t.Context(), r.ID)
			if lookup != nil || got.Failure == "" || strings.Contains(got.Failure, "canary") {
				t.Errorf("%v: shown as %q, %v", err, got.Failure, lookup)
			}
		}
	})
	t.Run("an unknown outcome stays with the reaper", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		r := w.issue()
		w.target.setFail(lease.ErrUnknown)
		if err := w.leases.Revoke(t.Context(), r.ID, true); err == nil {
			t.Error("a revocation without an answer was reported as done")
		}
		w.target.setFail(nil)
		w.clock.Advance(2 * time.Second)
		w.reap()
		w.wantUsers()
	})
	t.Run("a prefix is tried to its end", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		for range 20 {
			w.issue()
		}
		w.target.setFail(refusal)
		w.target.failOnly = "user-003"
		if err := w.leases.RevokePrefix(t.Context(), "database", true); errs.CodeOf(err) != errs.Invalid {
			t.Errorf("got %v", err)
		}
		w.wantUsers("user-003")
	})
	t.Run("force forgets", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.issue()
		w.target.setFail(refusal)
		if err := w.leases.RevokeForce(t.Context(), "database/creds/app"); err != nil {
			t.Fatal(err)
		}
		w.wantLeases(0)
		w.wantUsers("user-001")
	})
}

func TestUnreachableTargetIsParkedAndBlamesNoLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var ids []string
	for range 50 {
		ids = append(ids, w.issue().ID)
	}
	w.clock.Advance(time.Hour)
	w.target.setFail(fmt.Errorf("dial: %w", lease.ErrUnreachable))
	for range 60 {
		w.reap()
		w.clock.Advance(time.Minute)
	}
	for _, id := range ids {
		if r, err := w.leases.Lookup(t.Context(), id); err != nil || r.Attempts != 0 {
			t.Fatalf("after an hour's outage: %+v, %v", r, err)
		}
	}
	w.target.setFail(nil)
	w.reap()
	w.wantUsers()
	w.wantLeases(0)
}

func TestOneTargetsOutageDoesNotTouchAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hanging := make(chan struct{})
	w.leases.Register("hanging", &hangingTarget{target: newTarget(), release: hanging})
	w.issue()
	w.issue(func(in *lease.Intent) { in.Kind, in.Target = "hanging", "other" })
	w.clock.Advance(time.Hour)
	if err := w.leases.Reap(t.Context()); err != nil {
		t.Fatal(err)
	}
	for len(w.target.names()) > 1 { // the hanging target's user is in the same map; the other one goes
		if err := w.leases.Reap(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	close(hanging)
	w.leases.Wait()
}

type hangingTarget struct {
	*target
	release chan struct{}
}

func (h *hangingTarget) Revoke(context.Context, lease.Record) error {
	<-h.release
	return nil
}

func TestFailedCreation(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		err       error
		leavesRow bool
	}{
		{"refused", errs.New(errs.Unavailable, "syntax error"), false},
		{"unreachable", lease.ErrUnreachable, false},
		{"unknown", lease.ErrUnknown, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			in := w.intent()
			_, err := w.leases.Issue(t.Context(), in, func(ctx context.Context, r lease.Record) error {
				if err := w.target.create(ctx, r); err != nil { // it happened all the same
					return err
				}
				return test.err
			})
			if !errors.Is(err, test.err) {
				t.Fatalf("got %v", err)
			}
			next, pending, err := w.leases.NextDue(t.Context())
			if err != nil || pending != test.leavesRow {
				t.Fatalf("a row is left: %v (due %v), %v", pending, next, err)
			}
			if test.leavesRow {
				w.clock.Advance(time.Minute)
				w.reap()
				w.wantUsers()
			}
		})
	}
}

// A creation that lands after it was given up, and after the first clean drop, is found by the later sweeps.
func TestLateCreationIsSwept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in := w.intent()
	if _, err := w.leases.Issue(t.Context(), in, func(context.Context, lease.Record) error { return lease.ErrUnknown }); err == nil {
		t.Fatal("an unknown outcome was reported as success")
	}
	w.clock.Advance(30 * time.Second)
	w.reap() // nothing is there yet
	w.target.users[string(in.Payload)] = time.Time{}
	w.clock.Advance(20 * time.Second)
	w.reap()
	w.wantUsers()
	for range 3 {
		w.clock.Advance(20 * time.Minute)
		w.reap()
	}
	if got := w.target.drops[string(in.Payload)]; got != 4 {
		t.Errorf("dropped %d times, want 4: once when due and three sweeps", got)
	}
	if _, left, err := w.leases.NextDue(t.Context()); err != nil || left {
		t.Errorf("the intent is still there after its sweeps: %v", err)
	}
}

func TestTokenThatDiesDuringCreation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.leases.Issue(t.Context(), w.intent(), func(ctx context.Context, r lease.Record) error {
		w.kill(7)
		return w.target.create(ctx, r)
	})
	if errs.CodeOf(err) != errs.Unauthenticated {
		t.Errorf("got %v", err)
	}
	w.wantUsers()
	if _, err := w.leases.Issue(t.Context(), w.intent(), w.target.create); errs.CodeOf(err) != errs.Unauthenticated {
		t.Errorf("issue with a dead token: %v", err)
	}
	w.wantUsers()
}

func TestRowTakenDuringCreation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.leases.Issue(t.Context(), w.intent(), func(ctx context.Context, r lease.Record) error {
		w.clock.Advance(time.Minute) // the creation takes longer than it may
		w.reap()
		return w.target.create(ctx, r)
	})
	if err == nil {
		t.Error("a lease that the reaper took was handed out")
	}
	w.wantUsers()
}

func TestClientThatHangsUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, hangUp := context.WithCancel(t.Context())
	_, err := w.leases.Issue(ctx, w.intent(), func(ctx context.Context, r lease.Record) error {
		hangUp()
		return w.target.create(ctx, r)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	w.reap()
	w.wantUsers()
}

func TestDueByToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	st := w.leases.Store
	for range 5 {
		w.issue()
	}
	w.issue(func(in *lease.Intent) { in.Token = 8 })
	for found, rounds := 2, 0; found == 2; rounds++ {
		err := st.Update(t.Context(), func(tx *store.Tx) (err error) {
			found, err = w.leases.DueByToken(tx, 7, 2)
			return err
		})
		if err != nil || rounds > 3 {
			t.Fatalf("round %d: %v", rounds, err)
		}
	}
	w.reap()
	w.wantUsers("user-006")
}

func TestDueByTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issue()
	w.issue(func(in *lease.Intent) { in.Target = "other" })
	has := func() (has bool) {
		err := w.leases.Store.View(t.Context(), func(tx *store.Tx) (err error) {
			has, err = w.leases.HasTarget(tx, "m1", "pg")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return has
	}
	if !has() {
		t.Error("the target has a lease")
	}
	if err := w.leases.Store.Update(t.Context(), func(tx *store.Tx) error { return w.leases.DueByTarget(tx, "m1", "pg") }); err != nil {
		t.Fatal(err)
	}
	w.reap()
	w.wantUsers("user-002")
	if has() {
		t.Error("the target has no lease any more")
	}
}

func TestRenew(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		after     time.Duration
		increment time.Duration
		intent    func(*lease.Intent)
		want      time.Duration // from now
		warnings  int
		wantErr   string
	}{
		{name: "role default", after: time.Minute, want: time.Hour},
		{name: "increment", increment: 90 * time.Second, want: 90 * time.Second},
		{name: "shorter than what is left", increment: 10 * time.Second, want: 10 * time.Second},
		{name: "cut at the role's maximum since issue", after: time.Minute, increment: 8 * time.Hour, want: 4*time.Hour - time.Minute, warnings: 1},
		{name: "cut at the token's end", increment: 2 * time.Hour, want: 90 * time.Minute, warnings: 1, intent: func(in *lease.Intent) {
			in.NotAfter = time.Date(2030, 1, 1, 1, 30, 0, 0, time.UTC)
		}},
		{name: "expired", after: time.Hour, wantErr: "lease expired"},
		{name: "not renewable", wantErr: "lease is not renewable", intent: func(in *lease.Intent) { in.Renewable = false }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			change := test.intent
			if change == nil {
				change = func(*lease.Intent) {}
			}
			id := w.issue(change).ID
			w.clock.Advance(test.after)
			r, warnings, err := w.leases.Renew(t.Context(), id, test.increment)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Fatalf("got %v, want %q", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := r.ExpiresAt.Sub(w.clock.Now()); got != test.want || len(warnings) != test.warnings {
				t.Errorf("got %v with warnings %q, want %v with %d", got, warnings, test.want, test.warnings)
			}
			if moved := w.target.users["user-001"]; !moved.Equal(r.ExpiresAt) {
				t.Errorf("the target's expiry is %v, the lease's %v", moved, r.ExpiresAt)
			}
			w.clock.Advance(test.want)
			w.reap()
			w.wantUsers()
		})
	}
}

func TestRenewalThatTheTargetRefusesChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.issue()
	w.clock.Advance(time.Minute)
	w.target.setFail(errs.New(errs.Unavailable, "no"))
	if _, _, err := w.leases.Renew(t.Context(), before.ID, 0); errs.CodeOf(err) != errs.Invalid {
		t.Errorf("got %v", err)
	}
	after, err := w.leases.Lookup(t.Context(), before.ID)
	if err != nil || !after.ExpiresAt.Equal(before.ExpiresAt) || !after.LastRenewal.IsZero() {
		t.Errorf("before %+v, after %+v, %v", before, after, err)
	}
}

func TestRenewalAfterTheTokenDiedIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.issue().ID
	w.kill(7)
	if _, _, err := w.leases.Renew(t.Context(), id, 0); errs.CodeOf(err) != errs.Unauthenticated {
		t.Errorf("got %v", err)
	}
}

func TestConcurrentRenewalsAgreeWithTheTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.issue().ID
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			_, _, err := w.leases.Renew(t.Context(), id, time.Duration(i+1)*10*time.Minute)
			if err != nil && errs.CodeOf(err) != errs.Conflict {
				t.Errorf("renew: %v", err)
			}
		})
	}
	wait.Wait()
	if _, _, err := w.leases.Renew(t.Context(), id, time.Hour); err != nil {
		t.Fatal(err)
	}
	r, err := w.leases.Lookup(t.Context(), id)
	if err != nil || !w.target.users["user-001"].Equal(r.ExpiresAt) {
		t.Errorf("target %v, lease %v, %v", w.target.users["user-001"], r.ExpiresAt, err)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, path := range []string{"database/creds/app", "database/creds/app", "database/creds/app2", "db2/creds/x", "database-b/creds/y"} {
		w.issue(func(in *lease.Intent) { in.Path = path })
	}
	tests := []struct {
		prefix string
		want   []string
	}{
		{"", []string{"database-b/", "database/", "db2/"}},
		{"database", []string{"creds/"}},
		{"database/", []string{"creds/"}},
		{"database/creds", []string{"app/", "app2/"}},
		{"none", nil},
	}
	for _, test := range tests {
		got, err := w.leases.List(t.Context(), test.prefix)
		slices.Sort(got)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("list %q: got %v, want %v, %v", test.prefix, got, test.want, err)
		}
	}
	w.wantLeases(2)
}

func TestBacklogIsWorkedOffInOneRound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 500 {
		w.issue()
	}
	w.clock.Advance(time.Hour)
	w.reap()
	w.wantUsers()
	w.wantLeases(0)
	for name, n := range w.target.drops {
		if n != 1 {
			t.Errorf("%s was dropped %d times", name, n)
		}
	}
}

func TestWhatADeadNodeLeftIsTakenOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in := w.intent()
	func() {
		defer func() { _ = recover() }()
		_, _ = w.leases.Issue(t.Context(), in, func(ctx context.Context, r lease.Record) error {
			_ = w.target.create(ctx, r)
			panic("the process dies here")
		})
	}()
	w.wantUsers("user-001")
	w.reap() // the intent is not due yet
	w.wantUsers("user-001")
	w.died(node + 1) // another node: nothing of ours is given back
	w.reap()
	w.wantUsers("user-001")
	w.died(node)
	w.reap()
	w.wantUsers()
}

// died says that a node is dead.
func (w *world) died(node int64) {
	w.t.Helper()
	if err := w.store.Update(w.t.Context(), func(tx *store.Tx) error { return w.leases.Died(tx, node) }); err != nil {
		w.t.Fatal(err)
	}
}

func TestMountWithACreationUnderWayStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, _ = w.leases.Issue(t.Context(), w.intent(), func(context.Context, lease.Record) error { return lease.ErrUnknown })
	if err := w.leases.RevokeMount(t.Context(), "m1"); errs.CodeOf(err) != errs.Conflict {
		t.Errorf("got %v, want a conflict: the creation may still land", err)
	}
	for range 4 {
		w.clock.Advance(20 * time.Minute)
		w.reap()
	}
	if err := w.leases.RevokeMount(t.Context(), "m1"); err != nil {
		t.Errorf("after the sweeps: %v", err)
	}
}

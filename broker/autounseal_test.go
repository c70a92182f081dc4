package broker_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"leasehold/broker"
	"leasehold/broker/brokertest"
	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/store/seal"
	"leasehold/store/seal/static"
)

// faulty is a static seal that can be out of reach.
type faulty struct {
	*static.Seal

	mu    sync.Mutex
	asked int           // guarded by mu
	down  bool          // guarded by mu: it wraps, and unwraps nothing but that, once
	fresh bool          // guarded by mu: something was wrapped, and not unwrapped since
	tried chan struct{} // receives after an Unwrap that failed
}

func mustFaulty(t *testing.T) *faulty {
	t.Helper()
	s, err := static.New(static.Config{CurrentKeyID: "1", CurrentKey: secret.NewText(strings.Repeat("k", 32))})
	if err != nil {
		t.Fatal(err)
	}
	return &faulty{Seal: s, tried: make(chan struct{})}
}

func (f *faulty) set(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

func (f *faulty) Wrap(ctx context.Context, key []byte) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fresh = true
	return f.Seal.Wrap(ctx, key)
}

func (f *faulty) Unwrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	f.mu.Lock()
	f.asked++
	down := f.down && !f.fresh
	f.fresh = false
	f.mu.Unlock()
	if down {
		select {
		case f.tried <- struct{}{}:
		case <-ctx.Done():
		}
		return nil, errors.New("out of reach")
	}
	return f.Seal.Unwrap(ctx, wrapped)
}

// alone is a node on an empty store that its seal opens.
func alone(t *testing.T) (*brokertest.Node, *faulty) {
	t.Helper()
	n, f := brokertest.NewSealed(t, broker.Settings{}), mustFaulty(t)
	n.Barrier.Use(seal.Seals{Current: f})
	return n, f
}

// keep runs KeepUnsealed until the test ends. opened receives whenever it has opened the store.
func keep(t *testing.T, n *brokertest.Node) (opened <-chan struct{}) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	told, ended := make(chan struct{}, 8), make(chan struct{})
	go func() {
		n.KeepUnsealed(ctx, func(context.Context) { told <- struct{}{} })
		close(ended)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return told
}

func TestKeepUnsealed(t *testing.T) {
	t.Parallel()
	n, f := alone(t)
	opened := keep(t, n)
	// Nobody has initialised the store yet: it answers so, and opens once somebody has.
	status, err := n.SealStatus(t.Context())
	if err != nil || status.Initialized || !status.Recovery || status.Type != "static" {
		t.Fatalf("%+v, %v", status, err)
	}
	f.set(true)
	_, root, err := n.Initialize(t.Context(), seal.Params{Shares: 2, Threshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	n.Root = root
	for range 3 {
		<-f.tried // it is out of reach, and tried again
	}
	if !n.Sealed() {
		t.Fatal("opened without its seal")
	}
	f.set(false)
	select { // one more attempt may have begun before
	case <-f.tried:
		<-opened
	case <-opened:
	}
	n.Must(engine.Read, "sys/mounts", nil)

	// A fault seals it: it opens again.
	n.SealNow()
	<-opened
	n.Must(engine.Read, "sys/mounts", nil)
}

// Where people open the store there is nothing to keep.
func TestKeepUnsealedWithShares(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	n.SealNow()
	n.KeepUnsealed(t.Context(), func(context.Context) { t.Error("opened") })
	if !n.Sealed() {
		t.Error("opened without shares")
	}
}

func TestANodeThatIsSealedByAnOperatorStaysSo(t *testing.T) {
	t.Parallel()
	n, f := alone(t)
	shares, root, err := n.Initialize(t.Context(), seal.Params{Shares: 2, Threshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	n.Root = root
	times := 0
	count := func(context.Context) { times++ }
	for range 2 { // the second finds it open
		if err := n.OpenAlone(t.Context(), count); err != nil || n.Sealed() {
			t.Fatalf("sealed: %v, %v", n.Sealed(), err)
		}
	}
	if err := n.Seal(t.Context(), &broker.Request{ID: "x", Token: n.Root}); err != nil {
		t.Fatal(err)
	}
	asked := f.asked
	if err := n.OpenAlone(t.Context(), count); err != nil || !n.Sealed() || times != 1 || f.asked != asked {
		t.Fatalf("sealed: %v, opened %d times, its seal was asked: %v; %v", n.Sealed(), times, f.asked != asked, err)
	}
	unsealWith(t, n, reveal(shares))
	n.Must(engine.Read, "sys/mounts", nil)
	n.SealNow()
	if err := n.OpenAlone(t.Context(), count); err != nil || n.Sealed() {
		t.Errorf("after a fault: sealed: %v, %v", n.Sealed(), err)
	}
}

func TestInitializeWithRecoveryShares(t *testing.T) {
	t.Parallel()
	n, _ := alone(t)
	_, _, err := n.Initialize(t.Context(), seal.Params{Shares: 2, Threshold: 1})
	wantError(t, err, errs.Invalid, "invalid recovery configuration: threshold must be greater than one for multiple shares")
	w, _ := alone(t)
	w.Barrier.Use(seal.Seals{Current: lost{}})
	_, _, err = w.Initialize(t.Context(), seal.Params{Shares: 1, Threshold: 1})
	wantError(t, err, errs.Unavailable, `seal "lost" did not do its part: the server's log says why`)
	if status, _ := w.SealStatus(t.Context()); status.Initialized {
		t.Error("a failed init left something")
	}
}

// lost is a seal whose key is gone.
type lost struct{}

func (lost) Type() string                                 { return "lost" }
func (lost) Wrap(context.Context, []byte) ([]byte, error) { return nil, errors.New("the key is gone") }
func (lost) Unwrap(context.Context, []byte) ([]byte, error) {
	return nil, errors.New("the key is gone")
}
func (lost) Stale(context.Context, []byte) (bool, error) { return false, nil }

func TestRekeyOfRecoveryShares(t *testing.T) {
	t.Parallel()
	n, _ := alone(t)
	ctx := t.Context()
	shares, root, err := n.Initialize(ctx, seal.Params{Shares: 2, Threshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	n.Root = root
	if err := n.OpenAlone(ctx, func(context.Context) {}); err != nil {
		t.Fatal(err)
	}
	params := broker.RekeyParams{Key: broker.UnsealKey, Shares: 1, Threshold: 1}
	_, err = n.StartRekey(ctx, params)
	wantError(t, err, errs.Invalid, "rekeying of unseal keys not supported: this store opens by itself and has recovery keys")
	_, err = n.RekeyStatus(ctx, broker.UnsealKey)
	wantError(t, err, errs.Invalid, "rekeying of unseal keys not supported: this store opens by itself and has recovery keys")
	params.Key, params.Verify = broker.RecoveryKey, true
	r, err := n.StartRekey(ctx, params)
	if err != nil || r.Required != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	_, _, err = n.GiveRekeyShare(ctx, broker.UnsealKey, r.Nonce, shares[0].Reveal())
	wantError(t, err, errs.Invalid, "no barrier rekey in progress")
	var made []secret.Bytes
	for _, share := range shares {
		if r, made, err = n.GiveRekeyShare(ctx, broker.RecoveryKey, r.Nonce, share.Reveal()); err != nil {
			t.Fatal(err)
		}
	}
	_, err = n.RekeyVerification(broker.UnsealKey)
	wantError(t, err, errs.Invalid, "no rekey verification in progress")
	if r, err = n.GiveVerificationShare(ctx, broker.RecoveryKey, r.VerificationNonce, made[0].Reveal()); err != nil || !r.Complete {
		t.Fatalf("%+v, %v", r, err)
	}
	g, err := n.StartRootGeneration(ctx, "")
	if err != nil || g.Required != 1 {
		t.Fatalf("%+v, %v", g, err)
	}
	if _, err = n.GiveRootShare(ctx, g.Nonce, shares[0].Reveal()); !errors.Is(err, seal.ErrInvalidKey) {
		t.Errorf("an old share: %v", err)
	}
	if g, err = n.GiveRootShare(ctx, g.Nonce, made[0].Reveal()); err != nil || !g.Complete {
		t.Errorf("%+v, %v", g, err)
	}
	m, _ := open(t, seal.Params{Shares: 1, Threshold: 1}, broker.Settings{})
	_, err = m.StartRekey(ctx, params)
	wantError(t, err, errs.Invalid, "recovery rekeying not supported: this store has unseal keys")
}

func TestLeadershipAndNodes(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	l, err := n.Leadership()
	if err != nil || l != (broker.Leadership{}) {
		t.Errorf("with a store of one node: %+v, %v", l, err)
	}
	nodes, err := n.Nodes(t.Context())
	if err != nil || len(nodes) != 1 || !nodes[0].Self || nodes[0].Version != "1.2.3" {
		t.Errorf("%+v, %v", nodes, err)
	}
	answer := n.Must(engine.Read, "sys/ha-status", nil)
	shown := answer.Data["nodes"].([]map[string]any)
	if len(shown) != 1 || shown[0]["active_node"] != true || shown[0]["last_echo"] != nil || !answer.Duplicate {
		t.Errorf("%+v", answer)
	}
}

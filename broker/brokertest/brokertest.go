// Package brokertest makes whole brokers for tests: a real store, real tokens and leases, and one engine of its own.
package brokertest

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"leasehold/auth"
	"leasehold/auth/token"
	"leasehold/broker"
	"leasehold/broker/sys"
	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/kvcompat"
	"leasehold/lease"
	"leasehold/store"
	"leasehold/store/seal"
	"leasehold/store/sqlite"
)

// Node is one process's broker. Nodes of one store see each other's changes.
type Node struct {
	*broker.Broker
	T     testing.TB
	Store *store.Store
	Clock *clock.Fake
	// Barrier has Shamir's seal unless the test makes it use another before anything else.
	Barrier *seal.Barrier
	Tokens  *auth.Store
	Leases  *lease.Manager
	Lab     *Lab
	// Audited is called after each line that the audit devices took or refused. Set it before requests run at once.
	Audited func(answer bool)

	Share []byte      // the one unseal share; empty until Initialize
	Root  secret.Text // the root token
}

// Start is where the clocks of nodes stand at first.
var Start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// New is an open node on a store of its own.
func New(t testing.TB, settings broker.Settings) *Node {
	t.Helper()
	return NewSealed(t, settings).opened()
}

// NewOn is New on a store of the caller's choice, which is empty. The dialect's clock is that of the node.
func NewOn(t testing.TB, settings broker.Settings, dialect func(clock.Clock) store.Dialect) *Node {
	t.Helper()
	return newSealed(t, settings, dialect).opened()
}

// opened initialises and unseals the node.
func (n *Node) opened() *Node {
	t := n.T
	t.Helper()
	shares, root, err := n.Initialize(t.Context(), seal.Params{Shares: 1, Threshold: 1})
	if err != nil {
		t.Fatalf("initialize: %v", err)
	}
	n.Share, n.Root = shares[0].Reveal(), root
	n.MustUnseal()
	return n
}

// NewSealed is a node on an empty store of its own.
func NewSealed(t testing.TB, settings broker.Settings) *Node {
	t.Helper()
	return newSealed(t, settings, func(clock.Clock) store.Dialect {
		return sqlite.New(sqlite.Config{Path: filepath.Join(t.TempDir(), "store.db")})
	})
}

func newSealed(t testing.TB, settings broker.Settings, dialect func(clock.Clock) store.Dialect) *Node {
	t.Helper()
	clk := clock.NewFake(Start)
	st, err := store.Open(t.Context(), store.Config{
		Dialect:    dialect(clk),
		Clock:      clk,
		Migrations: slices.Concat(seal.Migrations(), broker.Migrations(), auth.Migrations(), lease.Migrations(), kvcompat.Migrations()),
	})
	if err != nil {
		t.Fatalf("open a store: %v", err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return wire(t, st, clk, settings, nil)
}

// Another is a second broker on the node's store: what another process, or this one after a restart, would be. The store
// being open in this process, it is open at once.
func (n *Node) Another() *Node {
	n.T.Helper()
	other := wire(n.T, n.Store, n.Clock, n.Settings(), n.Lab)
	other.Share, other.Root = n.Share, n.Root
	return other
}

func wire(t testing.TB, st *store.Store, clk *clock.Fake, settings broker.Settings, lab *Lab) *Node {
	t.Helper()
	n := &Node{T: t, Store: st, Clock: clk, Lab: lab, Barrier: seal.New(st, discard)}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	cubbyhole := kvcompat.NewCubbyhole(st)
	n.Tokens, err = auth.New(auth.Config{Store: st, Ended: cubbyhole.Forget, DueLeases: func(tx *store.Tx, token int64, limit int) (int, error) {
		return n.Leases.DueByToken(tx, token, limit)
	}})
	must(err)
	n.Leases, err = lease.New(lease.Config{
		Store: st, Alive: n.Tokens.Alive,
		MountLive: func(tx *store.Tx, id string) (bool, error) { return n.Broker.MountLive(tx, id) },
		MountTTL:  func(id string) (time.Duration, time.Duration) { return n.Broker.MountTTL(id) },
	})
	must(err)
	if n.Lab == nil { // nodes of one store share it, as they would a target
		n.Lab = newLab(n)
	}
	n.Leases.Register("lab", n.Lab)
	tokens, err := token.New(token.Config{
		Tokens:       n.Tokens,
		PolicyExists: func(ctx context.Context, name string) (bool, error) { return n.Broker.PolicyExists(ctx, name) },
		RenewLogin: func(ctx context.Context, path string, l *engine.Login) (engine.Mount, error) {
			return n.Broker.RenewLogin(ctx, path, l)
		},
	})
	must(err)
	n.Broker, err = broker.New(broker.Config{
		Store: st, Barrier: n.Barrier, Tokens: n.Tokens, Leases: n.Leases,
		Engines:     map[string]engine.Engine{"lab": n.Lab, "kv": n.Lab, kvcompat.CubbyholeKind: cubbyhole},
		Cubbyhole:   cubbyhole,
		AuthMethods: map[string]engine.Engine{"token": tokens, "door": door{}, "approle": door{}},
		System:      func(b *broker.Broker) engine.Engine { return sys.New(b, sys.Process{}) },
		Version:     "1.2.3", Settings: settings, Clock: clk,
		Observer: broker.Observer{Audited: func(answer bool, _ time.Duration, _ error) {
			if n.Audited != nil {
				n.Audited(answer)
			}
		}},
	})
	must(err)
	t.Cleanup(n.Wait)
	return n
}

// MustUnseal opens the node's store.
func (n *Node) MustUnseal() {
	n.T.Helper()
	status, err := n.Unseal(n.T.Context(), n.Share)
	if err != nil || status.Sealed {
		n.T.Fatalf("unseal: %+v, %v", status, err)
	}
}

// Do sends a request with a token. path may be of a list, with or without the trailing slash.
func (n *Node) Do(token secret.Text, op engine.Operation, path string, data map[string]any) (*engine.Response, error) {
	return n.DoWrapped(n.T.Context(), 0, token, op, path, data)
}

// DoWrapped is Do for an answer that is to be wrapped.
func (n *Node) DoWrapped(ctx context.Context, ttl time.Duration, token secret.Text, op engine.Operation, path string,
	data map[string]any) (*engine.Response, error) {
	if op == engine.List && path != "" && path[len(path)-1] != '/' {
		path += "/"
	}
	resp, _, err := n.Handle(ctx, &broker.Request{
		ID: uuid.NewString(), Operation: op, Path: path, Data: decoded(data), RemoteAddr: "127.0.0.1", RemotePort: 4711, Token: token,
		WrapTTL: ttl,
	})
	return resp, err
}

// decoded is data as a body would give it.
func decoded(data map[string]any) map[string]any {
	out := make(map[string]any, len(data))
	for name, value := range data {
		switch v := value.(type) {
		case int:
			value = json.Number(strconv.Itoa(v))
		case map[string]any:
			value = decoded(v)
		}
		out[name] = value
	}
	return out
}

// Must is Do as root for a request that must succeed.
func (n *Node) Must(op engine.Operation, path string, data map[string]any) *engine.Response {
	n.T.Helper()
	resp, err := n.Do(n.Root, op, path, data)
	if err != nil {
		n.T.Fatalf("%s %s: %v", op, path, err)
	}
	if resp == nil {
		resp = &engine.Response{}
	}
	return resp
}

// MustToken makes a child of the root token with a policy of the given text (empty: the default policy alone).
func (n *Node) MustToken(policy string, fields map[string]any) secret.Text {
	n.T.Helper()
	names := []any{"default"}
	if policy != "" {
		name := "p" + uuid.NewString()[:8]
		n.Must(engine.Update, "sys/policies/acl/"+name, map[string]any{"policy": policy})
		names = []any{name}
	}
	data := map[string]any{"policies": names, "ttl": "1h"}
	for k, v := range fields {
		data[k] = v
	}
	return n.Must(engine.Update, "auth/token/create", data).Auth.ClientToken
}

// Lab is an engine whose mounts keep notes and lend things. It is also the place where the things stand that must be
// taken back.
type Lab struct {
	*engine.Router
	node *Node

	mu      sync.Mutex
	notes   map[string]map[string]any // by mount and path; guarded by mu
	lent    map[string]bool           // by lease; guarded by mu
	refusal error                     // of every revocation; guarded by mu
	broken  error                     // what Unmount fails with; guarded by mu
	before  func()                    // a lend; guarded by mu
	after   func()                    // a lend; guarded by mu
}

func newLab(n *Node) *Lab {
	l := &Lab{node: n, notes: map[string]map[string]any{}, lent: map[string]bool{}}
	l.Router = engine.NewRouter(
		&engine.Path{Pattern: "lend/:name", Fields: engine.Schema{"name": engine.Text}, Help: "Lends a thing.",
			Ops: engine.Ops{engine.Read: l.lend}},
		&engine.Path{Pattern: "*path", Exists: l.exists, Help: "Keeps notes.",
			Ops: engine.Ops{engine.Read: l.read, engine.Update: l.write, engine.List: l.list}},
	)
	return l
}

// Refuse makes every revocation fail from now on; nil: succeed.
func (l *Lab) Refuse(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusal = err
}

// BreakUnmount makes every removal of a mount's notes fail half-way from now on; nil: succeed.
func (l *Lab) BreakUnmount(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = err
}

// BeforeLend has fn called when a request to lend has come, before it asks for a lease.
func (l *Lab) BeforeLend(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.before = fn
}

// AfterLend has fn called when a thing was lent, before the answer.
func (l *Lab) AfterLend(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.after = fn
}

// Lent is how many things are out.
func (l *Lab) Lent() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lent)
}

func (l *Lab) lend(ctx context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	l.mu.Lock()
	before, after := l.before, l.after
	l.mu.Unlock()
	if before != nil {
		before()
	}
	record, err := l.node.Leases.Issue(ctx, lease.Intent{
		Kind: "lab", MountUUID: r.Mount.UUID, Path: r.FullPath(), Target: "shelf", Token: r.Caller.LeaseParent, TTL: r.Mount.DefaultTTL,
		Renewable: true, Payload: []byte("{}"),
	}, func(_ context.Context, record lease.Record) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lent[record.ID] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	if after != nil {
		after()
	}
	return &engine.Response{
		Data:   map[string]any{"thing": "a"},
		Secret: &engine.Secret{LeaseID: record.ID, Duration: r.Mount.DefaultTTL, Renewable: true},
	}, nil
}

// Revoke implements lease.Revoker.
func (l *Lab) Revoke(_ context.Context, r lease.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refusal != nil {
		return l.refusal
	}
	delete(l.lent, r.ID)
	return nil
}

// Extend implements lease.Revoker.
func (l *Lab) Extend(context.Context, lease.Record, time.Time) error { return nil }

// Terms implements lease.Revoker.
func (l *Lab) Terms(context.Context, lease.Record) (def, max time.Duration, err error) {
	return 0, 0, nil
}

func (l *Lab) exists(_ context.Context, r *engine.Request, _ *engine.Fields) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.notes[r.Mount.UUID+r.Path] != nil, nil
}

func (l *Lab) read(_ context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	note := l.notes[r.Mount.UUID+r.Path]
	if note == nil {
		return nil, nil
	}
	return &engine.Response{Data: note}, nil
}

func (l *Lab) write(_ context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	note := r.Data
	if note == nil {
		note = map[string]any{}
	}
	l.notes[r.Mount.UUID+r.Path] = note
	return nil, nil
}

func (l *Lab) list(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	return &engine.Response{Data: map[string]any{"keys": []string{}}}, nil
}

// Unmount implements engine.Unmounter.
func (l *Lab) Unmount(_ context.Context, m engine.Mount) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key := range l.notes {
		if len(key) >= len(m.UUID) && key[:len(m.UUID)] == m.UUID {
			delete(l.notes, key)
		}
	}
	return l.broken
}

// door is an auth method that lets everybody in who says a name, and hands out secret ids.
type door struct{}

func (door) Describe(context.Context, *engine.Request) (engine.Facts, error) {
	return engine.Facts{Unauthenticated: true}, nil
}

func (door) Handle(_ context.Context, r *engine.Request) (*engine.Response, error) {
	if r.Path == "secret-id" {
		return &engine.Response{Data: map[string]any{"secret_id": "s", "secret_id_accessor": "a"}}, nil
	}
	name, _ := r.Data["name"].(string)
	return &engine.Response{Login: &engine.Login{DisplayName: name, Renewable: true, Metadata: map[string]string{"name": name}}}, nil
}

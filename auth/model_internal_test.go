package auth

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"leasehold/internal/clock"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/internal/ttl"
	"leasehold/store"
	"leasehold/store/storetest"
)

var modelSeed = flag.Uint64("model.seed", 0, "run the model test with this seed alone")

// TestModel runs random operations against the store and against a model of the tree, and compares what is alive.
func TestModel(t *testing.T) {
	t.Parallel()
	seeds := []uint64{*modelSeed}
	if *modelSeed == 0 {
		seeds = nil
		for seed := range uint64(8) {
			seeds = append(seeds, seed+1)
		}
	}
	for name, on := range storetest.Databases {
		for i, seed := range seeds {
			if name == "postgresql" && i >= 3 {
				break // each statement is a round trip
			}
			t.Run(fmt.Sprintf("%s, seed %d", name, seed), func(t *testing.T) {
				t.Parallel()
				runModel(t, seed, on)
			})
		}
	}
}

func runModel(t *testing.T, seed uint64, on storetest.Open) {
	m := newModel(t, seed, on)
	for step := range 120 {
		m.step = step
		m.operate()
		m.compare(step%10 == 9)
		if t.Failed() {
			t.Fatalf("again with: go test -run TestModel ./auth -args -model.seed=%d", seed)
		}
	}
	m.settle()
}

// node is a token as the model sees it.
type node struct {
	parent  *node
	state   string
	path    string
	expires time.Time // zero: never
	uses    int       // as Token.NumUses
	batch   bool

	token Token
	text  secret.Text
}

func (n *node) liveAt(now time.Time) bool {
	return n.state == "live" && (n.expires.IsZero() || now.Before(n.expires))
}

// alive is the definition in the package comment. A batch token does not outlive its parent's severing.
func (n *node) alive(now time.Time) bool {
	return n.liveAt(now) && (n.orphan() && !n.cutOff() || !n.orphan() && n.parent.alive(now))
}

func (n *node) orphan() bool { return n.parent == nil || n.parent.state == "severed" }
func (n *node) cutOff() bool { return n.batch && n.parent != nil }

type model struct {
	t      *testing.T
	rand   *rand.Rand
	step   int
	last   string
	clock  *clock.Fake
	store  *store.Store
	tokens *Store
	nodes  []*node
}

func newModel(t *testing.T, seed uint64, on storetest.Open) *model {
	m := &model{t: t, rand: rand.New(rand.NewPCG(seed, 0)), clock: clock.NewFake(time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC))}
	table := store.Migration{Package: "testleases", Version: 1, SQL: []string{
		`CREATE TABLE test_leases (seq SEQ, token BIGINT NOT NULL, due BIGINT NOT NULL) STRICT`,
	}}
	m.store = on(t, m.clock, append(Migrations(), table)...)
	var err error
	m.tokens, err = New(Config{Store: m.store, DueLeases: func(tx *store.Tx, token int64, limit int) (int, error) {
		n, err := tx.Exec(`UPDATE test_leases SET due = 1 WHERE seq IN
			(SELECT seq FROM test_leases WHERE token = $1 AND due = 0 LIMIT $2)`, token, limit)
		return int(n), err
	}})
	m.check(err)
	m.tokens.batch = 1 + m.rand.IntN(4) // so that a round of the reaper often stops half-way
	return m
}

func (m *model) check(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("step %d, %s: %v", m.step, m.last, err)
	}
}

func (m *model) now() time.Time { return m.clock.Now() }

// any picks a token, more often a late one.
func (m *model) any() *node {
	return m.nodes[len(m.nodes)-1-min(m.rand.IntN(len(m.nodes)), m.rand.IntN(len(m.nodes)))]
}

func (m *model) operate() {
	ctx := m.t.Context()
	if len(m.nodes) == 0 {
		m.create(nil)
		return
	}
	n := m.any()
	alive := n.alive(m.now())
	switch what := m.rand.IntN(100); {
	case what < 8:
		m.create(nil)
	case what < 45:
		m.create(n)
	case what < 55:
		m.last = "revoke"
		m.check(m.tokens.Revoke(ctx, n.token.Seq))
		if n.state == "live" && !n.batch {
			n.state = "dead"
		}
	case what < 62:
		m.last = "revoke-orphan"
		err := m.tokens.RevokeOrphan(ctx, n.token.Seq)
		if m.agree(err, errs.Invalid, alive && !n.batch) {
			n.state = "severed"
		}
	case what < 70:
		m.use(n, alive)
	case what < 76:
		m.renew(n, alive)
	case what < 80:
		m.last = "revoke by prefix"
		m.check(m.tokens.RevokeLeasePrefix(ctx, n.path))
		for _, other := range m.nodes {
			if other.path == n.path && other.liveAt(m.now()) && !other.batch {
				other.state = "dead"
			}
		}
	case what < 88:
		m.last = "advance"
		m.clock.Advance(time.Duration(m.rand.IntN(600)) * time.Second / 10)
	case what < 97:
		m.last = "reap a batch"
		_, err := m.tokens.reap(ctx)
		m.check(err)
	default:
		m.last = "reap"
		m.check(m.tokens.RunOnce(ctx))
	}
}

// agree checks that an operation was refused exactly when the model says so, and reports whether it was done.
func (m *model) agree(err error, code errs.Code, want bool) bool {
	m.t.Helper()
	if err != nil && errs.CodeOf(err) != code {
		m.check(err)
	}
	if (err == nil) != want {
		m.t.Errorf("step %d, %s: got %v, want success %t", m.step, m.last, err, want)
	}
	return err == nil
}

func (m *model) create(parent *node) {
	m.last = "create"
	n := &node{parent: parent, state: "live", path: fmt.Sprintf("auth/m/%d", m.rand.IntN(12))}
	spec := Spec{Path: n.path}
	if m.rand.IntN(4) > 0 {
		spec.TTL = time.Duration(1+m.rand.IntN(300)) * time.Second
		n.expires = m.now().Add(spec.TTL)
	}
	switch m.rand.IntN(6) {
	case 0:
		n.batch = true
		spec.Type = Batch
		if spec.TTL == 0 {
			spec.TTL = time.Minute
			n.expires = m.now().Add(spec.TTL)
		}
	case 1:
		n.uses = 1 + m.rand.IntN(3)
		spec.NumUses = n.uses
	}
	if parent != nil {
		if parent.batch {
			return
		}
		spec.Parent = parent.token.Seq
	}
	var err error
	n.token, n.text, err = m.tokens.Create(m.t.Context(), spec)
	if !m.agree(err, errs.Unauthenticated, parent == nil || parent.alive(m.now())) {
		return
	}
	m.nodes = append(m.nodes, n)
	if !n.batch {
		m.check(m.store.Update(m.t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`INSERT INTO test_leases (token, due) VALUES ($1, 0), ($1, 0)`, n.token.Seq)
			return err
		}))
	}
}

func (m *model) use(n *node, alive bool) {
	m.last = "use"
	if n.uses == 0 {
		return
	}
	seen := n.token
	err := m.tokens.Use(m.t.Context(), &seen)
	if !m.agree(err, errs.Unauthenticated, alive && n.uses > 0) {
		return
	}
	if n.uses--; n.uses == 0 {
		n.uses = -1
		// The request is over at once, and the caller says so.
		m.check(m.tokens.Revoke(m.t.Context(), n.token.Seq))
		n.state = "dead"
	}
	if seen.NumUses != n.uses {
		m.t.Errorf("step %d, use: %d left, want %d", m.step, seen.NumUses, n.uses)
	}
}

func (m *model) renew(n *node, alive bool) {
	m.last = "renew"
	increment := time.Duration(1+m.rand.IntN(300)) * time.Second
	_, _, err := m.tokens.Renew(m.t.Context(), n.token.Seq, func(*store.Tx, Token) (ttl.Limits, error) {
		return ttl.Limits{Increment: increment, MountTTL: time.Hour, MountMax: 1000 * time.Hour}, nil
	})
	if m.agree(err, errs.Invalid, alive && !n.batch) {
		n.expires = m.now().Add(increment)
	}
}

// compare asks the store about one token, or about all.
func (m *model) compare(all bool) {
	m.t.Helper()
	ctx := m.t.Context()
	nodes := []*node{m.any()}
	if all {
		nodes = m.nodes
	}
	for _, n := range nodes {
		alive := n.alive(m.now())
		token, err := m.tokens.Authenticate(ctx, n.text, "")
		m.agree(err, errs.Unauthenticated, alive)
		if err == nil && token.Orphan != n.orphan() {
			m.t.Errorf("step %d, %s: row %d is an orphan: %t, want %t", m.step, m.last, n.token.Seq, token.Orphan, n.orphan())
		}
	}
	if !all {
		return
	}
	var want []string
	for _, n := range m.nodes {
		if n.alive(m.now()) && !n.batch {
			want = append(want, n.token.Accessor)
		}
	}
	got, err := m.tokens.Accessors(ctx)
	m.check(err)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		m.t.Errorf("step %d, %s: %d accessors, want %d", m.step, m.last, len(got), len(want))
	}
}

// settle lets the reaper finish, and checks that what has ended left nothing behind and nothing else was touched.
func (m *model) settle() {
	m.last = "settle"
	m.check(m.tokens.RunOnce(m.t.Context()))
	m.compare(true)
	alive := map[int64]bool{}
	for _, n := range m.nodes {
		if n.alive(m.now()) && !n.batch {
			alive[n.token.Seq] = true
		}
	}
	m.check(m.store.View(m.t.Context(), func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT t.seq, 0, 0 FROM tokens t UNION ALL SELECT token, 1, due FROM test_leases`)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		left := 0
		for rows.Next() {
			var seq int64
			var lease, due bool
			if err := rows.Scan(&seq, &lease, &due); err != nil {
				return err
			}
			switch {
			case !lease:
				left++
				if !alive[seq] {
					m.t.Errorf("row %d has ended and is still there", seq)
				}
			case due == alive[seq]:
				m.t.Errorf("a lease of row %d is due: %t; the token is alive: %t", seq, due, alive[seq])
			}
		}
		if left != len(alive) {
			m.t.Errorf("%d rows are left, %d tokens are alive", left, len(alive))
		}
		return rows.Err()
	}))
}

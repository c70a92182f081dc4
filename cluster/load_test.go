package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"leasehold/server/proctest"
)

const (
	workersPerNode = 3

	// Beyond these numbers nothing new is made: a round ends with a look at each.
	maxLeases = 120
	maxTokens = 30

	lifetimeSeconds = 3600
)

// load is what clients do until it is stopped.
type load struct {
	stop chan struct{}
	done sync.WaitGroup
}

// load starts clients on all nodes: each node has its own, so that one that does not answer keeps no other idle. The caller
// stops them.
func (r *rig) load(dice *rand.Rand) *load {
	l := &load{stop: make(chan struct{})}
	for i := range workersPerNode * len(r.nodes) {
		dice := rand.New(rand.NewPCG(dice.Uint64(), 0))
		l.done.Go(func() { r.work(r.nodes[i%len(r.nodes)], dice, l.stop) })
	}
	return l
}

func (l *load) end() {
	close(l.stop)
	l.done.Wait()
}

// awaitAnswers waits until n operations were answered, so that a slow machine has its share of work between two faults.
func (r *rig) awaitAnswers(n int) {
	r.t.Helper()
	timeout := time.After(patience)
	for range n {
		select {
		case <-r.answered:
		case <-timeout:
			r.explain()
			r.t.Fatal("the nodes do not answer any more")
		}
	}
}

// work does one thing after the other at a node.
func (r *rig) work(n *node, dice *rand.Rand, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		what, err := r.something(n, dice)
		switch code := status(err); {
		case code == 0: // the node is dead, or was just killed
			<-time.After(time.Duration(dice.IntN(20)) * time.Millisecond)
			continue
		case code == http.StatusServiceUnavailable: // sealed: it has just been started
			<-time.After(time.Duration(dice.IntN(20)) * time.Millisecond)
			continue
		case code >= 300:
			var answer *proctest.Error
			errors.As(err, &answer)
			r.book.surprise(fmt.Sprintf("%s: %d %.120s", what, code, answer.Body))
			<-time.After(time.Duration(dice.IntN(20)) * time.Millisecond)
			continue
		}
		select {
		case r.answered <- struct{}{}:
		default: // nobody counts
		}
		<-time.After(time.Duration(dice.IntN(500)) * time.Millisecond) // clients think
	}
}

// something does one thing and says what it was.
func (r *rig) something(n *node, dice *rand.Rand) (string, error) {
	leases, tokens := r.book.size()
	role, at := r.someRole(dice)
	c, t := r.book.someLease(held), r.book.someToken(held)
	switch roll := dice.IntN(100); {
	case roll < 30 && leases < maxLeases:
		_, err := r.issue(n, role, at, t)
		return "issue with a token", err
	case roll < 45 && leases < maxLeases:
		_, err := r.issue(n, role, at, nil)
		return "issue", err
	case roll < 55 && tokens < maxTokens:
		if dice.IntN(2) == 0 {
			t = nil
		}
		_, err := r.createToken(n, t)
		return "create token", err
	case roll < 57:
		return "revoke prefix", r.revokePrefix(n, fmt.Sprint("batch", at), dice.IntN(2) == 0)
	case roll < 62 && t != nil:
		return "revoke token", r.revokeToken(n, r.answering(dice), t)
	case roll < 67:
		return "ask for a dead token", r.askToken(n, r.book.someToken(gone))
	case roll < 72:
		return "ask for a token", r.askToken(n, t)
	case c == nil:
		return "nothing", nil
	case roll < 85:
		return "renew", r.renew(n, c)
	default:
		return "revoke", r.revoke(n, c, dice.IntN(2) == 0)
	}
}

func (t *token) textOr(root string) string {
	if t == nil {
		return root
	}
	return t.text
}

// issue takes credentials with a token; nil: the root token.
func (r *rig) issue(n *node, role string, at int, t *token) (*creds, error) {
	before, begun, now := r.book.fateOf(t), r.book.beginIssue(role), time.Now()
	got, err := n.Call(http.MethodGet, "database/creds/"+role, t.textOr(n.RootToken), nil)
	if err != nil {
		r.lostToken(t, before, err)
		return nil, err
	}
	if before == gone {
		r.book.bad("a lease was issued to a token after its revocation had been acknowledged")
	}
	data, _ := got["data"].(map[string]any)
	c := &creds{role: role, target: at, token: t}
	c.lease, _ = got["lease_id"].(string)
	c.user, _ = data["username"].(string)
	c.password, _ = data["password"].(string)
	seconds, _ := got["lease_duration"].(float64)
	c.ends = now.Add(time.Duration(seconds) * time.Second)
	r.book.issued(c, begun)
	return c, nil
}

// lostToken notes when a token that is held, before and after, is refused.
func (r *rig) lostToken(t *token, before fate, err error) {
	if status(err) == http.StatusForbidden && before == held && r.book.fateOf(t) == held {
		r.book.bad("an acknowledged token is refused")
	}
}

func (r *rig) renew(n *node, c *creds) error {
	before, now := r.book.fateOf(c), time.Now()
	got, err := n.Root(http.MethodPut, "sys/leases/renew", map[string]any{"lease_id": c.lease, "increment": lifetimeSeconds})
	if err != nil {
		if before != held || r.book.fateOf(c) != held {
			return refused(err)
		}
		return err
	}
	if before == gone {
		r.book.bad("a lease was renewed after its revocation had been acknowledged")
	}
	seconds, _ := got["lease_duration"].(float64)
	r.book.renewed(c, now.Add(time.Duration(seconds)*time.Second))
	return nil
}

// refused takes a clear refusal for what it is where one is to be expected.
func refused(err error) error {
	if code := status(err); code >= 400 && code < 500 {
		return nil
	}
	return err
}

// revoke ends a lease. After a synchronous one is answered, the user must be gone.
func (r *rig) revoke(n *node, c *creds, sync bool) error {
	r.book.ask(&c.own)
	_, err := n.Root(http.MethodPut, "sys/leases/revoke", map[string]any{"lease_id": c.lease, "sync": sync})
	if err != nil {
		return err
	}
	r.book.end(&c.own)
	if !sync {
		return nil
	}
	var there bool
	err = r.targets[c.target].pool.QueryRow(context.Background(), `SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1)`, c.user).Scan(&there)
	if err != nil {
		return err
	}
	if there {
		r.book.bad("a user is there after its revocation was answered: " + c.user)
	}
	return nil
}

func (r *rig) revokePrefix(n *node, role string, sync bool) error {
	finish := r.book.beginSweep(role)
	_, err := n.Root(http.MethodPut, "sys/leases/revoke-prefix/database/creds/"+role, map[string]any{"sync": sync})
	finish(err == nil)
	return err
}

func (r *rig) createToken(n *node, parent *token) (*token, error) {
	before := r.book.fateOf(parent)
	got, err := n.Call(http.MethodPost, "auth/token/create", parent.textOr(n.RootToken), map[string]any{
		"policies": []string{"app"}, "ttl": lifetimeSeconds,
	})
	if err != nil {
		r.lostToken(parent, before, err)
		return nil, err
	}
	if before == gone {
		r.book.bad("a token was made by one whose revocation had been acknowledged")
	}
	auth, _ := got["auth"].(map[string]any)
	t := &token{parent: parent}
	t.text, _ = auth["client_token"].(string)
	r.book.created(t)
	return t, nil
}

// revokeToken ends a token at one node, and looks at once at another.
func (r *rig) revokeToken(n, other *node, t *token) error {
	r.book.ask(&t.own)
	if _, err := n.Root(http.MethodPost, "auth/token/revoke", map[string]any{"token": t.text}); err != nil {
		return err
	}
	r.book.end(&t.own)
	return r.askToken(other, t)
}

// askToken uses a token. One that has ended must be refused, one that is held must not.
func (r *rig) askToken(n *node, t *token) error {
	if t == nil {
		return nil
	}
	before := r.book.fateOf(t)
	_, err := n.Call(http.MethodGet, "auth/token/lookup-self", t.text, nil)
	r.lostToken(t, before, err)
	switch code := status(err); {
	case code == http.StatusOK && before == gone:
		r.book.bad("a token is accepted after its revocation was acknowledged")
	case code == http.StatusForbidden:
		return nil
	}
	return err
}

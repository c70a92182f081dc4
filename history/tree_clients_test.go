package history

import (
	"fmt"
	"net/http"
	"sync"
)

// tree is a tree of tokens as clients know it.
type tree struct {
	object string

	mu     sync.Mutex
	tokens []token // guarded by mu
	leases []held  // guarded by mu
	given  [2]int  // numbers given to tokens and leases, also to those that came to nothing; guarded by mu
}

// held is a lease that was issued to a token of a tree.
type held struct {
	number int
	*lease
}

type token struct {
	number         int
	text, accessor string
	batch          bool
}

// callsOfTree is after about how many calls another tree is used.
const callsOfTree = 130

func (t *tree) named() string { return t.object }

func (c *client) newTree() (*tree, bool) {
	_, answer, _, _ := c.ask(operation{verb: "create"}, request{
		method: http.MethodPost, path: "auth/token/create", body: map[string]any{"policies": []string{"holder"}, "no_parent": true},
	})
	first := tokenOf(0, answer)
	return &tree{object: fmt.Sprint("tree/", c.name()), tokens: []token{first}, given: [2]int{1, 0}}, first.text != ""
}

func tokenOf(n int, answer map[string]any) token {
	return token{n, text(answer, "auth", "client_token"), text(answer, "auth", "accessor"), text(answer, "auth", "token_type") == "batch"}
}

// next gives a number; false: there is none left.
func (t *tree) next(which, most int) (int, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.given[which]
	if n == most {
		return 0, false
	}
	t.given[which]++
	return n, true
}

// any is a token that clients were told of, and perhaps a lease.
func (t *tree) any(c *client) (token, held, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, _ := pick(c.dice, t.tokens)
	l, there := pick(c.dice, t.leases)
	return k, l, there
}

func (c *client) workOnTree() {
	t, ok := inUse(c, &c.trees, c.newTree)
	if !ok {
		return
	}
	if c.dice.IntN(callsOfTree) == 0 {
		c.discard(t.object)
	}
	k, l, leased := t.any(c)
	o := operation{object: t.object, on: k.number}
	switch roll := c.dice.IntN(100); {
	case roll < 18 && !k.batch:
		c.grow(t, k)
	case roll < 24:
		c.issueTo(t, k)
	case roll < 28 && !k.batch && (k.number > 0 || c.dice.IntN(4) == 0):
		c.end(t, k)
	case roll < 40 && leased:
		c.useHeld(t, l)
	case roll < 48:
		c.listTokens(t)
	case roll < 56 && !k.batch:
		c.renewToken(o, k)
	default:
		c.look(o, k)
	}
}

// grow makes a token below another.
func (c *client) grow(t *tree, parent token) {
	n, ok := t.next(0, maxTokens)
	if !ok {
		return
	}
	body := map[string]any{"policies": []string{"holder"}}
	o := operation{object: t.object, verb: "create", on: parent.number, to: n, arg: "child"}
	r := request{method: http.MethodPost, path: "auth/token/create", token: parent.text, body: body, refusals: refused}
	switch c.dice.IntN(8) {
	case 0:
		o.arg, r.path = "orphan", "auth/token/create-orphan"
	case 1, 2:
		o.arg, body["type"], body["ttl"] = "batch", "batch", "2h"
	}
	o, answer, _, told := c.ask(o, r)
	if !told || o.class == unknown { // nobody knows its text
		return
	}
	c.record.add(o)
	if o.class == yes {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.tokens = append(t.tokens, tokenOf(n, answer))
	}
}

// look asks whether a token is alive: itself, or another.
func (c *client) look(o operation, k token) {
	r := request{method: http.MethodPost}
	switch which := c.dice.IntN(10); {
	case which < 5:
		o.verb, r.method, r.path, r.token, r.refusals = "self", http.MethodGet, "auth/token/lookup-self", k.text, refused
	case which < 8 || k.batch:
		o.verb, r.path, r.body, r.refusals = "lookup", "auth/token/lookup", map[string]any{"token": k.text}, []string{"bad token"}
	default:
		o.verb, r.path, r.body, r.refusals = "lookup", "auth/token/lookup-accessor", map[string]any{"accessor": k.accessor}, []string{"invalid accessor"}
	}
	o, answer, _, told := c.ask(o, r)
	if o.class == yes {
		o.answer = map[any]string{true: "orphan", false: "child"}[dig(answer, "data", "orphan")]
	}
	if told {
		c.record.add(o)
	}
}

// end revokes a token in one of the ways there are, and looks at another node.
func (c *client) end(t *tree, k token) {
	o := operation{object: t.object, verb: "revoke", on: k.number}
	r := request{method: http.MethodPost}
	switch c.dice.IntN(4) {
	case 0:
		r.path, r.body = "auth/token/revoke", map[string]any{"token": k.text}
	case 1:
		r.path, r.body = "auth/token/revoke-accessor", map[string]any{"accessor": k.accessor}
	case 2:
		o.verb, r.path, r.token, r.refusals = "revoke-self", "auth/token/revoke-self", k.text, refused
	case 3:
		o.verb, r.path, r.body, r.refusals = "revoke-orphan", "auth/token/revoke-orphan", map[string]any{"token": k.text}, []string{"token to revoke not found"}
	}
	c.tell(o, r)
	c.hop()
	if c.dice.IntN(2) == 0 {
		k, _, _ = t.any(c) // of those below, perhaps
	}
	c.look(operation{object: t.object, on: k.number}, k)
}

func (c *client) renewToken(o operation, k token) {
	o.verb = "renew-token"
	r := request{method: http.MethodPost, path: "auth/token/renew", body: map[string]any{"token": k.text}, refusals: []string{"token not found"}}
	if c.dice.IntN(2) == 0 {
		r = request{method: http.MethodPost, path: "auth/token/renew-self", token: k.text, refusals: append(refused, "token not found")}
	}
	c.tell(o, r)
}

func (c *client) listTokens(t *tree) {
	o, answer, _, told := c.ask(operation{object: t.object, verb: "list"}, request{method: "LIST", path: "auth/token/accessors"})
	if !told || o.class != yes {
		return
	}
	keys, _ := dig(answer, "data", "keys").([]any)
	listed := map[any]bool{}
	for _, key := range keys {
		listed[key] = true
	}
	c.record.addLater(func() []operation {
		t.mu.Lock()
		defer t.mu.Unlock()
		var living []int
		for _, k := range t.tokens {
			if listed[k.accessor] {
				living = append(living, k.number)
			}
		}
		o.answer = numbers(living)
		return []operation{o}
	})
}

// issueTo takes credentials with a token.
func (c *client) issueTo(t *tree, k token) {
	n, ok := t.next(1, maxLeases)
	if !ok {
		return
	}
	l, o, told := c.issue("database/creds/held", k.text, refused, nil)
	if !told {
		return
	}
	o.object, o.on, o.to = t.object, k.number, n
	c.record.add(o)
	if l != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.leases = append(t.leases, held{n, l})
	}
}

// useHeld looks whether a lease still stands that was issued to a token.
func (c *client) useHeld(t *tree, l held) {
	o := operation{object: t.object, to: l.number}
	body := map[string]any{"lease_id": l.id}
	switch c.dice.IntN(3) {
	case 0:
		o.verb = "renew-lease"
		o, _, _, told := c.ask(o, request{method: http.MethodPut, path: "sys/leases/renew", body: body, refusals: notRenewed, void: []string{"being renewed by others"}})
		if told {
			c.record.add(o)
		}
	case 1:
		o.verb = "lookup-lease"
		c.tell(o, request{method: http.MethodPut, path: "sys/leases/lookup", body: body, refusals: []string{"invalid lease"}})
	case 2:
		o.verb, o.client, o.node, o.start = "login", c.number, -1, c.record.now()
		if c.loginOf(l.lease, &o) {
			c.record.add(o)
		}
	}
}

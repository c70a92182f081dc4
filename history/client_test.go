package history

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"leasehold/server/proctest"
)

// client makes one call after the other, most of them at its own node.
type client struct {
	*world
	number int
	dice   *rand.Rand
	at     int // the node of the call under way
}

// patience is when a client hangs up where nodes may be stopped.
const patience = 10 * time.Second

// work calls until stop is closed.
func (c *client) work(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		c.move()
		switch n := c.dice.IntN(100); {
		case n < 30:
			c.workOnTree()
		case n < 58:
			c.workOnLease()
		case n < 68:
			c.workOnPolicy()
		case n < 77:
			c.workOnRole()
		case n < 86:
			c.workOnSecret()
		case n < 96:
			c.workOnMount()
		case n < 99:
			c.workOnLimited()
		default:
			c.workOnTerm()
		}
	}
}

// move chooses the node of the next call. Clients stay at their own node, also while it is stopped; they visit others that are
// well.
func (c *client) move() {
	c.at = c.number % nodes
	if other := c.dice.IntN(nodes); c.dice.IntN(2) == 0 && !c.down[other].Load() {
		c.at = other
	}
}

// request is a call below /v1/.
type request struct {
	method, path, token string // token: empty for the root token
	body                any

	refusals []string // texts of answers that mean no
	void     []string // texts of answers that mean that nothing was done
}

// refused are the texts for a token that has ended.
var refused = []string{"permission denied"}

// ask makes a call. told is false when it did not reach the server, or was not done.
func (c *client) ask(asked operation, r request) (o operation, answer map[string]any, body string, told bool) {
	o = asked
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	if c.faults {
		wait := patience
		if c.dice.IntN(30) == 0 {
			wait = time.Duration(c.dice.Int64N(int64(20 * time.Millisecond))) // a client that is cut off
		}
		ctx, cancel = context.WithTimeout(context.Background(), wait)
	}
	defer cancel()
	server := c.node[c.at]
	if r.token == "" {
		r.token = server.RootToken
	}
	o.client, o.node = c.number, c.at
	o.start = c.record.now()
	answer, err := server.CallContext(ctx, r.method, r.path, r.token, r.body)
	o.end = c.record.now()
	defer func() {
		if told && o.class == unknown && !o.observes() {
			c.wear(o.object)
		}
	}()
	var refusal *proctest.Error
	switch {
	case err == nil:
		o.class = yes
		return o, answer, "", true
	case errors.Is(err, syscall.ECONNREFUSED):
		return o, nil, "", false
	case !errors.As(err, &refusal):
		if !c.faults {
			c.complain("%s: %s %s: %v", o.describe(), r.method, r.path, err)
		}
		return o, nil, "", true
	case holds(refusal.Body, r.void):
		return o, nil, "", false
	case holds(refusal.Body, r.refusals):
		o.class = no
		return o, nil, refusal.Body, true
	case refusal.Status == http.StatusServiceUnavailable && holds(refusal.Body, []string{"Vault is sealed"}) && c.faults:
		return o, nil, "", true // it may have begun
	case refusal.Status < http.StatusInternalServerError || !c.faults:
		c.complain("%s: %s %s: %v", o.verb, r.method, r.path, err)
	}
	return o, nil, "", true
}

func holds(body string, texts []string) bool {
	for _, text := range texts {
		if strings.Contains(body, text) {
			return true
		}
	}
	return false
}

// tell is ask for what has no answer but yes and no.
func (c *client) tell(o operation, r request) class {
	o, _, _, told := c.ask(o, r)
	if told {
		c.record.add(o)
	}
	return o.class
}

// hop goes to another node that is well, if there is one, to look whether it knows.
func (c *client) hop() {
	for range nodes {
		if other := c.dice.IntN(nodes); other != c.at && !c.down[other].Load() {
			c.at = other
			return
		}
	}
}

// endurance is how many calls without an answer an object is used for. Each can be thought to have taken effect at many moments,
// so with too many the search has no end.
const endurance = 4

func (w *world) wear(object string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.worn[object]++
}

// discard has no client use an object any more.
func (w *world) discard(object string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.worn[object] = endurance
}

// named is an object that clients use.
type named interface{ named() string }

// inUse is one of the objects of a kind that are in use. Where there are too few, make makes one more; it may fail, and the
// answer is nil.
func inUse[T named](c *client, kind *[]T, make func() (T, bool)) (one T, ok bool) {
	c.mu.Lock()
	*kind = slices.DeleteFunc(*kind, func(one T) bool { return c.worn[one.named()] >= endurance })
	one, _ = pick(c.dice, *kind)
	enough := len(*kind) >= 2
	c.mu.Unlock()
	if enough {
		return one, true
	}
	if one, ok = make(); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		*kind = append(*kind, one)
	}
	return one, ok
}

func pick[T any](dice *rand.Rand, all []T) (one T, ok bool) {
	if len(all) == 0 {
		return one, false
	}
	return all[dice.IntN(len(all))], true
}

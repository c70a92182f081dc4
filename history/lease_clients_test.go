package history

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// lease is one that a client was told of.
type lease struct {
	object         string // empty: its tree's
	id, path       string
	user, password string
	seconds        int
	issued         operation
}

// issue takes credentials. The lease is nil when there are none, and told is false when that says nothing. The operation has
// no object yet: credentials are a sign of life of whatever they need.
func (c *client) issue(path, token string, refusals, void []string) (_ *lease, o operation, told bool) {
	void = append([]string{"revoked before it could be handed out", "the connection was changed at the same time"}, void...)
	o, answer, _, told := c.ask(operation{verb: "issue"}, request{method: http.MethodGet, path: path, token: token, refusals: refusals, void: void})
	if !told || o.class != yes {
		return nil, o, told && o.class == no
	}
	l := &lease{
		id: text(answer, "lease_id"), path: path, user: text(answer, "data", "username"), password: text(answer, "data", "password"),
		seconds: int(number(answer, "lease_duration")), issued: o,
	}
	if token == "" { // else the caller knows which tree it belongs to
		l.object = fmt.Sprint("lease/", c.name())
		l.issued.object, l.issued.verb, l.issued.on = l.object, "issue", grant(float64(l.seconds))
		c.record.add(l.issued)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leases = append(c.leases, l)
	return l, o, true
}

// recent is how many of the latest leases are worked with.
const recent = 14

func (c *client) workOnLease() {
	c.mu.Lock()
	l, there := pick(c.dice, c.leases[max(0, len(c.leases)-recent):])
	there = there && l.object != "" && c.worn[l.object] < endurance
	c.mu.Unlock()
	switch n := c.dice.IntN(100); {
	case n < 18 || !there:
		c.issue("database/creds/steady", "", nil, nil)
	case n < 36:
		c.lookUp(l)
	case n < 50:
		c.logIn(l)
	case n < 66:
		c.renew(l)
	case n < 76:
		c.revoke(l, true)
	case n < 84:
		c.revoke(l, false)
	case n < 97:
		c.listLeases(l.path)
	default:
		c.revokePrefix(l.path)
	}
}

func (c *client) lookUp(l *lease) {
	o, answer, _, told := c.ask(operation{object: l.object, verb: "lookup"}, request{
		method: http.MethodPut, path: "sys/leases/lookup", body: map[string]any{"lease_id": l.id}, refusals: []string{"invalid lease"},
	})
	switch {
	case o.class == no:
		o.answer = "gone"
	case o.class == yes && dig(answer, "data", "renewable") == true:
		o.on = grant(number(answer, "data", "ttl"))
	case o.class == yes:
		o.class, o.answer = no, "ending"
	}
	if told {
		c.record.add(o)
	}
}

// logIn tries the credentials at the database itself.
func (c *client) logIn(l *lease) {
	o := operation{object: l.object, verb: "login", client: c.number, node: -1, start: c.record.now()}
	if c.loginOf(l, &o) {
		c.record.add(o)
	}
}

// loginOf fills in the answer and the end of a login. It returns whether the database has answered.
func (c *client) loginOf(l *lease, o *operation) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	config, err := pgx.ParseConfig(c.target.URL())
	if err != nil {
		c.complain("login: %v", err)
		return false
	}
	config.User, config.Password = l.user, l.password
	conn, err := pgx.ConnectConfig(ctx, config)
	o.end = c.record.now()
	var refusal *pgconn.PgError
	switch {
	case err == nil:
		o.class = yes
		_ = conn.Close(ctx)
	case errors.As(err, &refusal) && strings.HasPrefix(refusal.Code, "28"): // invalid authorization specification
		o.class = no
	default:
		c.complain("login: %v", err)
		return false
	}
	return true
}

// notRenewed are the refusals of a renewal. A user that is gone already cannot be extended.
var notRenewed = []string{"lease not found", "lease expired", "failed to renew entry", "permission denied"}

func (c *client) renew(l *lease) {
	increment := lifetime(300 * c.dice.IntN(40))
	o := operation{object: l.object, verb: "renew", on: grant(float64(increment))}
	// A role that is gone or changed has a say in a renewal, and is not this lease's.
	refusals, void := notRenewed, []string{"being renewed by others"}
	if l.path != "database/creds/steady" {
		return
	}
	o, _, _, told := c.ask(o, request{
		method: http.MethodPut, path: "sys/leases/renew", body: map[string]any{"lease_id": l.id, "increment": increment}, refusals: refusals, void: void,
	})
	if told {
		c.record.add(o)
	}
}

func (c *client) revoke(l *lease, sync bool) {
	o, _, _, told := c.ask(operation{object: l.object, verb: "revoke"}, request{
		method: http.MethodPut, path: "sys/leases/revoke", body: map[string]any{"lease_id": l.id, "sync": sync},
	})
	if !told {
		return
	}
	c.record.add(ending(o, l.object, sync)...)
	c.hop()
	switch c.dice.IntN(3) {
	case 0:
		c.logIn(l)
	case 1:
		c.lookUp(l)
	}
}

// ending is what a revocation means for a lease. One without an answer has begun, perhaps, and others may end it.
func ending(o operation, object string, sync bool) []operation {
	condemn, end := o, o
	condemn.object, condemn.verb = object, "condemn"
	end.object, end.verb = object, "end"
	if sync && o.class == yes {
		return []operation{condemn, end}
	}
	if o.class == no {
		condemn.class = unknown
	}
	return []operation{condemn}
}

// revoked adds a revocation to all leases whose path begins with a prefix and that may have been there.
func (c *client) revoked(o operation, prefix string, sync bool) {
	c.record.addLater(func() (ops []operation) {
		for _, l := range c.below(prefix, o) {
			ops = append(ops, ending(o, l.object, sync)...)
		}
		return ops
	})
}

// below are the leases of a prefix that were not issued later than an operation.
func (c *client) below(prefix string, o operation) (found []*lease) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.leases {
		if l.object != "" && strings.HasPrefix(l.path+"/", prefix) && l.issued.start <= o.end {
			found = append(found, l)
		}
	}
	return found
}

func (c *client) revokePrefix(path string) {
	sync := c.dice.IntN(2) == 0
	r := request{method: http.MethodPut, path: "sys/leases/revoke-prefix/" + path, body: map[string]any{"sync": sync}}
	if c.dice.IntN(4) == 0 {
		sync, r.path = true, "sys/leases/revoke-force/"+path
	}
	o, _, _, told := c.ask(operation{verb: "revoke"}, r)
	if !told {
		return
	}
	c.revoked(o, path+"/", sync)
	if c.hop(); c.dice.IntN(2) == 0 {
		c.listLeases(path)
	}
}

func (c *client) listLeases(path string) {
	o, answer, _, told := c.ask(operation{verb: "listed"}, request{method: "LIST", path: "sys/leases/lookup/" + path, refusals: nothing})
	if !told || o.class == unknown {
		return
	}
	listed := map[string]bool{}
	keys, _ := dig(answer, "data", "keys").([]any)
	for _, key := range keys {
		listed[fmt.Sprint(path, "/", key)] = true
	}
	c.record.addLater(func() (ops []operation) {
		for _, l := range c.below(path+"/", o) {
			o.object, o.class = l.object, no
			if listed[l.id] {
				o.class = yes
			}
			ops = append(ops, o)
		}
		return ops
	})
}

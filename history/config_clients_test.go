package history

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// letters are the paths that a policy may allow.
var letters = []string{"a", "b", "c"}

// nothing is the answer that says that there is nothing.
var nothing = []string{`"errors":[]`}

// policy is held by one token.
type policy struct{ object, name, token string }

func (p *policy) named() string { return p.object }

func (c *client) newPolicy() (*policy, bool) {
	name := fmt.Sprint("p", c.name())
	_, answer, _, _ := c.ask(operation{verb: "create"}, request{
		method: http.MethodPost, path: "auth/token/create", body: map[string]any{"policies": []string{name}, "no_parent": true},
	})
	p := &policy{"policy/" + name, name, text(answer, "auth", "client_token")}
	return p, p.token != ""
}

func (c *client) workOnPolicy() {
	p, ok := inUse(c, &c.policies, c.newPolicy)
	if !ok {
		return
	}
	path := "sys/policies/acl/" + p.name
	o := operation{object: p.object}
	switch n := c.dice.IntN(10); {
	case n < 2:
		o.verb, o.arg = "write", fmt.Sprint(c.name(), ":")
		rules := ""
		for _, letter := range letters {
			if c.dice.IntN(2) == 0 {
				o.arg += letter
				rules += fmt.Sprintf("path \"kv/data/%s\" {\n  capabilities = [\"read\"]\n}\n", letter)
			}
		}
		if c.tell(o, request{method: http.MethodPut, path: path, body: map[string]any{"policy": "# " + o.arg + "\n" + rules}}) == yes {
			c.hop()
			c.usePolicy(p)
		}
	case n < 3:
		o.verb = "delete"
		if c.tell(o, request{method: http.MethodDelete, path: path}) == yes {
			c.hop()
			c.usePolicy(p)
		}
	case n < 5:
		c.readPolicy(p)
	default:
		c.usePolicy(p)
	}
}

func (c *client) readPolicy(p *policy) {
	o, answer, _, told := c.ask(operation{object: p.object, verb: "read"}, request{method: http.MethodGet, path: "sys/policies/acl/" + p.name, refusals: nothing})
	line, _, _ := strings.Cut(text(answer, "data", "policy"), "\n")
	if o.answer = strings.TrimPrefix(line, "# "); told {
		c.record.add(o)
	}
}

// usePolicy has the policy's holder try what it allows, or asks what that could do.
func (c *client) usePolicy(p *policy) {
	letter, _ := pick(c.dice, letters)
	o := operation{object: p.object, verb: "allows", arg: letter}
	path := "kv/data/" + letter
	if c.dice.IntN(3) > 0 {
		c.tell(o, request{method: http.MethodGet, path: path, token: p.token, refusals: refused})
		return
	}
	o, answer, _, told := c.ask(o, request{method: http.MethodPost, path: "sys/capabilities", body: map[string]any{"token": p.token, "path": path}})
	if o.class == yes {
		can, _ := dig(answer, "data", "capabilities").([]any)
		if !slices.Contains(can, any("read")) {
			o.class = no
		}
	}
	if told {
		c.record.add(o)
	}
}

// lifetime is the n-th of different lifetimes in seconds. What is left of it after some minutes still tells the same grant.
func lifetime(n int) int { return 4600 + n/300*grantStep + n%300 }

// role is a role with a connection of its own. Both are objects.
type role struct{ object, connection, name string }

func (r *role) named() string { return r.object }

func (c *client) newRole() (*role, bool) {
	name := fmt.Sprint("r", c.name())
	r := &role{"role/" + name, "connection/" + name, name}
	if err := c.sql(`CREATE ROLE "broker-` + name + `" SUPERUSER LOGIN PASSWORD 'first'`); err != nil { // its password will be rotated
		c.complain("make a broker: %v", err)
		return nil, false
	}
	o, _, _, told := c.ask(operation{object: r.connection, verb: "write", arg: userTemplate(0)}, request{
		method: http.MethodPost, path: "database/config/" + name, body: c.connectionBody("broker-"+name, "first"),
	})
	if told {
		c.record.add(o)
	}
	return r, o.class == yes
}

func (c *client) workOnRole() {
	role, ok := inUse(c, &c.roles, c.newRole)
	if !ok {
		return
	}
	path := "database/roles/" + role.name
	o := operation{object: role.object}
	switch n := c.dice.IntN(20); {
	case n < 3:
		ttl := lifetime(c.name())
		o.verb, o.arg = "write", strconv.Itoa(ttl)
		if c.tell(o, request{method: http.MethodPost, path: path, body: roleBody(role.name, ttl)}) == yes {
			c.hop()
			c.useRole(role)
		}
	case n < 4:
		o.verb = "delete"
		if c.tell(o, request{method: http.MethodDelete, path: path}) == yes {
			c.hop()
			c.useRole(role)
		}
	case n < 8:
		c.readRole(role)
	case n < 10:
		c.writeConnection(role)
	case n < 12:
		c.readConnection(role)
	case n < 13: // which changes nothing that a client sees
		c.ask(operation{object: role.connection, verb: "read"}, request{
			method: http.MethodPost, path: "database/rotate-root/" + role.name, void: []string{"are being rotated"},
		})
	default:
		c.useRole(role)
	}
}

func (c *client) readRole(r *role) {
	o, answer, _, told := c.ask(operation{object: r.object, verb: "read"}, request{method: http.MethodGet, path: "database/roles/" + r.name, refusals: nothing})
	if o.class == yes {
		o.answer = fmt.Sprint(number(answer, "data", "default_ttl"))
	}
	if told {
		c.record.add(o)
	}
}

func (c *client) readConnection(r *role) {
	o, answer, _, told := c.ask(operation{object: r.connection, verb: "read"}, request{method: http.MethodGet, path: "database/config/" + r.name})
	o.answer = text(answer, "data", "connection_details", "username_template")
	if told {
		c.record.add(o)
	}
}

func (c *client) writeConnection(r *role) {
	o := operation{object: r.connection, verb: "write", arg: userTemplate(c.name())}
	o, _, _, told := c.ask(o, request{
		method: http.MethodPost, path: "database/config/" + r.name,
		body: map[string]any{"username_template": o.arg, "verify_connection": false},
		void: []string{"at the same time", "are being rotated"},
	})
	if told {
		c.record.add(o)
	}
	if told && o.class == unknown {
		c.wear(r.object)
	}
}

// useRole issues credentials: their lifetime tells the role that was in force, their name the connection.
func (c *client) useRole(r *role) {
	l, o, told := c.issue("database/creds/"+r.name, "", []string{"unknown role"}, nil)
	if !told {
		return
	}
	o.object, o.verb = r.object, "read"
	if l == nil {
		c.record.add(o)
		return
	}
	o.answer = strconv.Itoa(l.seconds)
	c.record.add(o)
	n, _, _ := strings.Cut(strings.TrimPrefix(l.user, "v-"), "-")
	o.object, o.answer = r.connection, "v-"+n+"-{{random 20}}"
	c.record.add(o)
}

type secret struct{ object, name string }

func (s *secret) named() string { return s.object }

func (c *client) newSecret() (*secret, bool) {
	name := fmt.Sprint("s", c.name())
	return &secret{"secret/" + name, name}, true
}

func (c *client) workOnSecret() {
	s, _ := inUse(c, &c.secrets, c.newSecret)
	o := operation{object: s.object}
	n := c.dice.IntN(20)
	if n >= 12 {
		c.readSecret(s)
		return
	}
	r := request{method: http.MethodPost, path: "kv/data/" + s.name}
	switch {
	case n < 4:
		o.verb, o.arg = "put", strconv.Itoa(c.name())
		r.body = map[string]any{"data": map[string]any{"value": o.arg}}
	case n < 9:
		o.verb, o.arg, o.on = "cas", strconv.Itoa(c.name()), c.readSecret(s)
		c.move()
		r.body = map[string]any{"data": map[string]any{"value": o.arg}, "options": map[string]any{"cas": o.on}}
		r.refusals = []string{"did not match the current version"}
	case n < 11:
		o.verb, r.method = "delete", http.MethodDelete
	default:
		o.verb, r.method, r.path = "wipe", http.MethodDelete, "kv/metadata/"+s.name
	}
	o, answer, _, told := c.ask(o, r)
	if o.class == yes && r.method == http.MethodPost {
		o.answer = fmt.Sprint(number(answer, "data", "version"))
	}
	if told {
		c.record.add(o)
		c.hop()
		c.readSecret(s)
	}
}

// readSecret returns the version that it has read.
func (c *client) readSecret(s *secret) (version int) {
	o := operation{object: s.object, verb: "read"}
	o, answer, body, told := c.ask(o, request{method: http.MethodGet, path: "kv/data/" + s.name, refusals: []string{`"errors":[]`, `"data":null`}})
	if !told || o.class == unknown {
		return 0
	}
	if o.class == no { // of a deleted version, there is still something to tell
		_ = json.Unmarshal([]byte(body), &answer)
	}
	version = int(number(answer, "data", "metadata", "version"))
	o.answer = fmt.Sprintf("%d=%s", version, text(answer, "data", "data", "value"))
	c.record.add(o)
	return version
}

func (c *client) workOnTerm() {
	o := operation{object: "term/", verb: "rotate"}
	c.mu.Lock()
	fresh := c.worn[o.object] < endurance
	c.mu.Unlock()
	if fresh && c.dice.IntN(3) == 0 {
		c.tell(o, request{method: http.MethodPut, path: "sys/rotate"})
		c.hop()
	}
	c.readTerm()
}

func (c *client) readTerm() {
	o, answer, _, told := c.ask(operation{object: "term/", verb: "read"}, request{method: http.MethodGet, path: "sys/key-status"})
	if o.answer = fmt.Sprint(number(answer, "data", "term")); told {
		c.record.add(o)
	}
}

// mount is a path that is enabled and disabled.
type mount struct {
	object, path, kind string

	admin sync.Mutex // held by the client that enables or disables; for ever once an outcome is unknown
}

func (m *mount) named() string { return m.object }

func (c *client) newMount() (*mount, bool) {
	n := c.name()
	kind := "kv"
	if n%3 == 0 {
		kind = "database"
	}
	return &mount{object: fmt.Sprint("mount/", n), path: fmt.Sprint("m", n), kind: kind}, true
}

// callsOfMount is after about how many calls another mount is used.
const callsOfMount = 80

func (c *client) workOnMount() {
	m, _ := inUse(c, &c.mounts, c.newMount)
	if c.dice.IntN(callsOfMount) == 0 {
		c.discard(m.object)
	}
	if c.dice.IntN(6) == 0 && m.admin.TryLock() {
		if c.administer(m) {
			m.admin.Unlock()
		}
		c.hop()
	}
	c.useMount(m)
}

// administer enables or disables the mount. It returns whether the outcome is known.
func (c *client) administer(m *mount) bool {
	if c.dice.IntN(2) == 0 {
		o, _, _, told := c.ask(operation{object: m.object, verb: "enable"}, request{
			method: http.MethodPost, path: "sys/mounts/" + m.path, body: map[string]any{"type": m.kind}, refusals: []string{"path is already in use"},
		})
		if told {
			c.record.add(o)
		}
		if o.class == yes && m.kind == "database" {
			c.ask(o, request{method: http.MethodPost, path: m.path + "/config/c", body: c.connectionBody(c.target.User, c.target.Password)})
			c.ask(o, request{method: http.MethodPost, path: m.path + "/roles/r", body: roleBody("c", lifetime(0))})
		}
		return !told || o.class != unknown
	}
	o, _, _, told := c.ask(operation{object: m.object}, request{
		method: http.MethodDelete, path: "sys/mounts/" + m.path, refusals: []string{"failed to revoke leases"},
	})
	if !told {
		return true
	}
	c.revoked(o, m.path+"/", true)
	hide, gone, show := o, o, o
	hide.verb, gone.verb, show.verb = "hide", "gone", "show"
	if o.class != unknown {
		hide.class, gone.class, show.class = yes, yes, yes
	}
	c.record.add(hide)
	if o.class != no {
		c.record.add(gone)
	}
	if o.class != yes { // nobody may have heard that it was refused
		c.record.add(show)
	}
	return o.class != unknown
}

func (c *client) findMount(m *mount) {
	o, answer, _, told := c.ask(operation{object: m.object, verb: "has"}, request{method: http.MethodGet, path: "sys/mounts"})
	if o.class == yes && dig(answer, "data", m.path+"/") == nil {
		o.class = no
	}
	if told {
		c.record.add(o)
	}
}

var noRoute = []string{"no handler for route", "the mount is being removed"}

func (c *client) useMount(m *mount) {
	o := operation{object: m.object}
	switch n := c.dice.IntN(10); {
	case n < 2:
		c.findMount(m)
	case m.kind == "database":
		_, o, told := c.issue(m.path+"/creds/r", "", noRoute, []string{"unknown role", "failed to find entry for connection"})
		if o.object, o.verb = m.object, "has"; told {
			c.record.add(o)
		}
	case n < 5:
		o.verb, o.arg = "put", strconv.Itoa(c.name())
		c.tell(o, request{method: http.MethodPost, path: m.path + "/x", body: map[string]any{"value": o.arg}, refusals: noRoute})
	default:
		o.verb = "get"
		o, answer, body, told := c.ask(o, request{method: http.MethodGet, path: m.path + "/x", refusals: append(nothing, noRoute...)})
		if holds(body, nothing) {
			o.verb, o.class = "empty", yes
		}
		if o.answer = text(answer, "data", "value"); told {
			c.record.add(o)
		}
	}
}

// limited is a token for some requests.
type limited struct{ object, token string }

func (l *limited) named() string { return l.object }

func (c *client) newLimited() (*limited, bool) {
	_, answer, _, _ := c.ask(operation{verb: "create"}, request{
		method: http.MethodPost, path: "auth/token/create", body: map[string]any{"num_uses": allowedUses, "policies": []string{"default"}},
	})
	l := &limited{fmt.Sprint("limited/", c.name()), text(answer, "auth", "client_token")}
	return l, l.token != ""
}

func (c *client) workOnLimited() {
	l, ok := inUse(c, &c.limited, c.newLimited)
	if !ok {
		return
	}
	for range 3 { // by POST: a GET whose connection breaks is sent again behind our back
		c.tell(operation{object: l.object, verb: "use"}, request{
			method: http.MethodPost, path: "sys/capabilities-self", token: l.token, body: map[string]any{"path": "x"}, refusals: refused,
		})
		c.move()
	}
	switch c.dice.IntN(12) {
	case 0:
		c.tell(operation{object: l.object, verb: "revoke"}, request{method: http.MethodPost, path: "auth/token/revoke", body: map[string]any{"token": l.token}})
	case 1, 2:
		c.discard(l.object)
	}
}

package cluster

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// change is something that an operator changes at one node, and what the others must make of it from then on.
type change struct {
	name string
	make func(a *agreement) (then func(n *node) error, err error)
}

// agreement is one round of a change.
type agreement struct {
	*rig
	at    *node  // where it is changed
	name  string // no other round has it
	round int
}

// say changes something at the round's node.
func (a *agreement) say(method, path string, body any) (map[string]any, error) {
	got, err := a.at.Root(method, path, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return got, nil
}

// prepareAgreement makes what some changes need.
func (r *rig) prepareAgreement() {
	r.t.Helper()
	r.root(http.MethodPost, "sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
	r.root(http.MethodPost, "sys/mounts/transit", map[string]any{"type": "transit"})
}

// agree changes the configuration at one node and asks the others at once: what one node has acknowledged holds on all of them.
func (r *rig) agree(round int) {
	r.t.Helper()
	for i, c := range changes {
		a := &agreement{rig: r, at: r.nodes[(round+i)%len(r.nodes)], name: fmt.Sprintf("agree-%d-%d", round, i), round: round}
		then, err := c.make(a)
		if err != nil {
			r.t.Errorf("%s: %v", c.name, err)
			continue
		}
		var asking sync.WaitGroup
		for _, n := range r.nodes {
			asking.Go(func() {
				if err := then(n); err != nil {
					r.t.Errorf("round %d: %s: a node does not know yet: %v", round, c.name, err)
				}
			})
		}
		asking.Wait()
		a.tidy()
	}
}

// tidy takes away what the next rounds would pay for: connections to the database, and audit devices that each request is written to.
func (a *agreement) tidy() {
	a.t.Helper()
	a.must(a.revokePrefix(a.nodes[0], a.name, true))
	for _, path := range []string{"sys/audit/", "database/roles/", "database/config/"} {
		a.root(http.MethodDelete, path+a.name, nil)
	}
}

// want checks an answer's status.
func want(code int, err error) error {
	if got := status(err); got != code {
		return fmt.Errorf("status %d, want %d: %v", got, code, err)
	}
	return nil
}

// field checks a value of an answer's data.
func field(got map[string]any, err error, path string, wanted any) error {
	if err != nil {
		return err
	}
	var value any = got
	for _, name := range strings.Split(path, ".") {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	if fmt.Sprint(value) != fmt.Sprint(wanted) {
		return fmt.Errorf("%s is %v, want %v", path, value, wanted)
	}
	return nil
}

// tokenOf makes a token with a policy that allows what rules say.
func (a *agreement) tokenOf(rules string) (string, error) {
	if _, err := a.say(http.MethodPut, "sys/policies/acl/"+a.name, map[string]any{"policy": rules}); err != nil {
		return "", err
	}
	got, err := a.say(http.MethodPost, "auth/token/create", map[string]any{"policies": []string{a.name}})
	if err != nil {
		return "", err
	}
	auth, _ := got["auth"].(map[string]any)
	text, _ := auth["client_token"].(string)
	return text, nil
}

var changes = []change{
	{"token revoked", func(a *agreement) (func(*node) error, error) {
		token, err := a.createToken(a.nodes[a.round%3], nil)
		if err != nil {
			return nil, err
		}
		_, err = a.say(http.MethodPost, "auth/token/revoke", map[string]any{"token": token.text})
		a.book.end(&token.own)
		return func(n *node) error {
			_, err := n.Call(http.MethodGet, "database/creds/app0", token.text, nil)
			return want(http.StatusForbidden, err)
		}, err
	}},
	{"parent revoked", func(a *agreement) (func(*node) error, error) {
		parent, err := a.createToken(a.at, nil)
		if err != nil {
			return nil, err
		}
		child, err := a.createToken(a.nodes[a.round%3], parent)
		if err != nil {
			return nil, err
		}
		_, err = a.say(http.MethodPost, "auth/token/revoke", map[string]any{"token": parent.text})
		a.book.end(&parent.own)
		return func(n *node) error {
			_, err := n.Call(http.MethodGet, "auth/token/lookup-self", child.text, nil)
			return want(http.StatusForbidden, err)
		}, err
	}},
	{"policy narrowed", func(a *agreement) (func(*node) error, error) {
		token, err := a.tokenOf(`path "sys/policies/acl/app" { capabilities = ["read"] }`)
		if err != nil {
			return nil, err
		}
		for _, n := range a.nodes {
			if _, err := n.Call(http.MethodGet, "sys/policies/acl/app", token, nil); err != nil {
				return nil, err
			}
		}
		_, err = a.say(http.MethodPut, "sys/policies/acl/"+a.name, map[string]any{"policy": `path "sys/policies/acl/app" { capabilities = ["deny"] }`})
		return func(n *node) error {
			_, err := n.Call(http.MethodGet, "sys/policies/acl/app", token, nil)
			return want(http.StatusForbidden, err)
		}, err
	}},
	{"policy deleted", func(a *agreement) (func(*node) error, error) {
		token, err := a.tokenOf(`path "sys/policies/acl/app" { capabilities = ["read"] }`)
		if err != nil {
			return nil, err
		}
		_, err = a.say(http.MethodDelete, "sys/policies/acl/"+a.name, nil)
		return func(n *node) error {
			_, err := n.Call(http.MethodGet, "sys/policies/acl/app", token, nil)
			return want(http.StatusForbidden, err)
		}, err
	}},
	{"mount enabled", func(a *agreement) (func(*node) error, error) {
		_, err := a.say(http.MethodPost, "sys/mounts/"+a.name, map[string]any{"type": "kv"})
		return func(n *node) error {
			_, err := n.Root(http.MethodPut, a.name+"/x", map[string]any{"a": "b"})
			return err
		}, err
	}},
	{"mount tuned", func(a *agreement) (func(*node) error, error) {
		_, err := a.say(http.MethodPost, "sys/mounts/database/tune", map[string]any{"max_lease_ttl": fmt.Sprint(2000+a.round, "s")})
		return func(n *node) error {
			c, err := a.issueTTL(n, "app0")
			return field(c, err, "lease_duration", 2000+a.round)
		}, err
	}},
	{"mount tuned back", func(a *agreement) (func(*node) error, error) {
		_, err := a.say(http.MethodPost, "sys/mounts/database/tune", map[string]any{"max_lease_ttl": "24h"})
		return func(n *node) error {
			c, err := a.issueTTL(n, "app0")
			return field(c, err, "lease_duration", 3600)
		}, err
	}},
	{"mount disabled", func(a *agreement) (func(*node) error, error) {
		if _, err := a.say(http.MethodPost, "sys/mounts/"+a.name, map[string]any{"type": "kv"}); err != nil {
			return nil, err
		}
		_, err := a.say(http.MethodDelete, "sys/mounts/"+a.name, nil)
		return func(n *node) error {
			_, err := n.Root(http.MethodPut, a.name+"/x", map[string]any{"a": "b"})
			return want(http.StatusNotFound, err)
		}, err
	}},
	{"mount moved", func(a *agreement) (func(*node) error, error) {
		if _, err := a.say(http.MethodPost, "sys/mounts/"+a.name, map[string]any{"type": "kv"}); err != nil {
			return nil, err
		}
		if _, err := a.say(http.MethodPut, a.name+"/x", map[string]any{"a": "b"}); err != nil {
			return nil, err
		}
		got, err := a.say(http.MethodPost, "sys/remount", map[string]any{"from": a.name, "to": a.name + "-moved"})
		if err != nil {
			return nil, err
		}
		data, _ := got["data"].(map[string]any)
		id, _ := data["migration_id"].(string)
		a.await(func() string { // the move is acknowledged before it is done
			got, err := a.at.Root(http.MethodGet, "sys/remount/status/"+id, nil)
			if err := field(got, err, "data.migration_info.status", "success"); err != nil {
				return err.Error()
			}
			return ""
		})
		return func(n *node) error {
			_, old := n.Root(http.MethodGet, a.name+"/x", nil)
			if err := want(http.StatusNotFound, old); err != nil {
				return err
			}
			got, err := n.Root(http.MethodGet, a.name+"-moved/x", nil)
			return field(got, err, "data.a", "b")
		}, err
	}},
	{"role written", func(a *agreement) (func(*node) error, error) {
		_, err := a.say(http.MethodPost, "database/roles/"+a.name, map[string]any{
			"db_name": "pg0", "default_ttl": fmt.Sprint(1000+a.round, "s"), "creation_statements": creation,
		})
		a.roles = append(a.roles, a.name)
		return func(n *node) error {
			c, err := a.issueTTL(n, a.name)
			return field(c, err, "lease_duration", 1000+a.round)
		}, err
	}},
	{"role deleted", func(a *agreement) (func(*node) error, error) {
		_, err := a.say(http.MethodPost, "database/roles/"+a.name, map[string]any{"db_name": "pg0", "creation_statements": creation})
		if err != nil {
			return nil, err
		}
		_, err = a.say(http.MethodDelete, "database/roles/"+a.name, nil)
		return func(n *node) error {
			_, err := n.Root(http.MethodGet, "database/creds/"+a.name, nil)
			return want(http.StatusBadRequest, err)
		}, err
	}},
	{"connection narrowed", func(a *agreement) (func(*node) error, error) {
		a.connect(a.name, a.targets[0], "broker")
		a.role(a.name, a.name)
		for _, n := range a.nodes {
			if _, err := a.issueTTL(n, a.name); err != nil {
				return nil, err
			}
		}
		_, err := a.say(http.MethodPost, "database/config/"+a.name, map[string]any{"allowed_roles": "another"})
		return func(n *node) error {
			_, err := n.Root(http.MethodGet, "database/creds/"+a.name, nil)
			return want(http.StatusInternalServerError, err)
		}, err
	}},
	{"connection deleted", func(a *agreement) (func(*node) error, error) {
		a.connect(a.name, a.targets[0], "broker")
		a.role(a.name, a.name)
		_, err := a.say(http.MethodDelete, "database/config/"+a.name, nil)
		return func(n *node) error {
			_, err := n.Root(http.MethodGet, "database/creds/"+a.name, nil)
			return want(http.StatusInternalServerError, err)
		}, err
	}},
	{"root rotated", func(a *agreement) (func(*node) error, error) {
		a.makeBroker(a.targets[0], a.name)
		a.connect(a.name, a.targets[0], a.name)
		a.role(a.name, a.name)
		for _, n := range a.nodes {
			if _, err := a.issueTTL(n, a.name); err != nil {
				return nil, err
			}
		}
		_, err := a.say(http.MethodPost, "database/rotate-root/"+a.name, nil)
		return func(n *node) error {
			_, err := a.issueTTL(n, a.name)
			return err
		}, err
	}},
	{"lease revoked", func(a *agreement) (func(*node) error, error) {
		c, err := a.issue(a.at, "app0", 0, nil)
		if err != nil {
			return nil, err
		}
		err = a.revoke(a.at, c, true)
		return func(n *node) error {
			_, err := n.Root(http.MethodPut, "sys/leases/lookup", map[string]any{"lease_id": c.lease})
			return want(http.StatusBadRequest, err)
		}, err
	}},
	{"audit device enabled", func(a *agreement) (func(*node) error, error) {
		file := filepath.Join(a.nodes[0].Dir, a.name+".log")
		_, err := a.say(http.MethodPut, "sys/audit/"+a.name, map[string]any{"type": "file", "options": map[string]any{"file_path": file}})
		return func(n *node) error { return a.audited(n, file, true) }, err
	}},
	{"audit device disabled", func(a *agreement) (func(*node) error, error) {
		file := filepath.Join(a.nodes[0].Dir, a.name+".log")
		_, err := a.say(http.MethodPut, "sys/audit/"+a.name, map[string]any{"type": "file", "options": map[string]any{"file_path": file}})
		if err != nil {
			return nil, err
		}
		for _, n := range a.nodes {
			if err := a.audited(n, file, true); err != nil {
				return nil, err
			}
		}
		_, err = a.say(http.MethodDelete, "sys/audit/"+a.name, nil)
		return func(n *node) error { return a.audited(n, file, false) }, err
	}},
	{"key rotated", func(a *agreement) (func(*node) error, error) {
		if _, err := a.say(http.MethodPut, "sys/rotate", nil); err != nil {
			return nil, err
		}
		got, err := a.say(http.MethodGet, "sys/key-status", nil)
		if err != nil {
			return nil, err
		}
		data, _ := got["data"].(map[string]any)
		return func(n *node) error {
			got, err := n.Root(http.MethodGet, "sys/key-status", nil)
			if err := field(got, err, "data.term", data["term"]); err != nil {
				return err
			}
			return a.sealsWith(n, data["term"])
		}, nil
	}},
	{"token role written", func(a *agreement) (func(*node) error, error) {
		_, err := a.say(http.MethodPost, "auth/token/roles/"+a.name, map[string]any{"allowed_policies": "app", "token_explicit_max_ttl": 777 + a.round})
		return func(n *node) error {
			got, err := n.Root(http.MethodPost, "auth/token/create/"+a.name, map[string]any{"policies": []string{"app"}})
			return field(got, err, "auth.lease_duration", 777+a.round)
		}, err
	}},
	{"token role deleted", func(a *agreement) (func(*node) error, error) {
		_, err := a.say(http.MethodPost, "auth/token/roles/"+a.name, map[string]any{"allowed_policies": "app"})
		if err != nil {
			return nil, err
		}
		_, err = a.say(http.MethodDelete, "auth/token/roles/"+a.name, nil)
		return func(n *node) error {
			_, err := n.Root(http.MethodPost, "auth/token/create/"+a.name, map[string]any{"policies": []string{"app"}})
			return want(http.StatusBadRequest, err)
		}, err
	}},
	{"token method tuned", func(a *agreement) (func(*node) error, error) {
		_, err := a.say(http.MethodPost, "sys/auth/token/tune", map[string]any{"default_lease_ttl": fmt.Sprint(5000+a.round, "s")})
		return func(n *node) error {
			got, err := n.Root(http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"app"}})
			return field(got, err, "auth.lease_duration", 5000+a.round)
		}, err
	}},
	{"origin allowed", func(a *agreement) (func(*node) error, error) {
		origin := "https://" + a.name
		_, err := a.say(http.MethodPost, "sys/config/cors", map[string]any{"allowed_origins": origin})
		return func(n *node) error { return a.preflight(n, origin, http.StatusOK) }, err
	}},
	{"origin forbidden", func(a *agreement) (func(*node) error, error) {
		origin := "https://" + a.name
		if _, err := a.say(http.MethodPost, "sys/config/cors", map[string]any{"allowed_origins": origin}); err != nil {
			return nil, err
		}
		_, err := a.say(http.MethodPost, "sys/config/cors", map[string]any{"allowed_origins": "https://another"})
		return func(n *node) error { return a.preflight(n, origin, http.StatusForbidden) }, err
	}},
	{"password policy written", func(a *agreement) (func(*node) error, error) {
		_, err := a.say(http.MethodPut, "sys/policies/password/"+a.name, map[string]any{"policy": `length = 17
			rule "charset" { charset = "xyz" }`})
		return func(n *node) error {
			got, err := n.Root(http.MethodGet, "sys/policies/password/"+a.name+"/generate", nil)
			data, _ := got["data"].(map[string]any)
			if password, _ := data["password"].(string); err == nil && len(password) != 17 {
				err = fmt.Errorf("a password of %d characters", len(password))
			}
			return err
		}, err
	}},
	{"value written", func(a *agreement) (func(*node) error, error) {
		_, err := a.say(http.MethodPost, "kv/data/value", map[string]any{"data": map[string]any{"round": a.round}})
		return func(n *node) error {
			got, err := n.Root(http.MethodGet, "kv/data/value", nil)
			return field(got, err, "data.data.round", a.round)
		}, err
	}},
	{"key/value config written", func(a *agreement) (func(*node) error, error) {
		_, err := a.say(http.MethodPost, "kv/config", map[string]any{"cas_required": a.round%2 == 0})
		return func(n *node) error {
			_, err := n.Root(http.MethodPost, "kv/data/"+n.Addr, map[string]any{"data": map[string]any{"a": "b"}})
			return want(map[bool]int{true: http.StatusBadRequest, false: http.StatusOK}[a.round%2 == 0], err)
		}, err
	}},
	{"key/value config written back", func(a *agreement) (func(*node) error, error) {
		_, err := a.say(http.MethodPost, "kv/config", map[string]any{"cas_required": false})
		return func(n *node) error {
			_, err := n.Root(http.MethodPost, "kv/data/"+n.Addr, map[string]any{"data": map[string]any{"a": "b"}})
			return err
		}, err
	}},
	{"transit key rotated", func(a *agreement) (func(*node) error, error) {
		if _, err := a.say(http.MethodPost, "transit/keys/"+a.name, nil); err != nil {
			return nil, err
		}
		for _, n := range a.nodes { // each has the key in its memory
			if err := a.encrypts(n, "vault:v1:"); err != nil {
				return nil, err
			}
		}
		_, err := a.say(http.MethodPost, "transit/keys/"+a.name+"/rotate", nil)
		return func(n *node) error { return a.encrypts(n, "vault:v2:") }, err
	}},
	{"transit key deleted", func(a *agreement) (func(*node) error, error) {
		if _, err := a.say(http.MethodPost, "transit/keys/"+a.name, nil); err != nil {
			return nil, err
		}
		got, err := a.say(http.MethodPost, "transit/encrypt/"+a.name, map[string]any{"plaintext": "YQ=="})
		if err != nil {
			return nil, err
		}
		data, _ := got["data"].(map[string]any)
		for _, n := range a.nodes {
			if _, err := n.Root(http.MethodPost, "transit/decrypt/"+a.name, data); err != nil {
				return nil, err
			}
		}
		if _, err := a.say(http.MethodPost, "transit/keys/"+a.name+"/config", map[string]any{"deletion_allowed": true}); err != nil {
			return nil, err
		}
		_, err = a.say(http.MethodDelete, "transit/keys/"+a.name, nil)
		return func(n *node) error {
			_, err := n.Root(http.MethodPost, "transit/decrypt/"+a.name, data)
			return want(http.StatusBadRequest, err)
		}, err
	}},
}

// issueTTL issues and returns the whole answer.
func (a *agreement) issueTTL(n *node, role string) (map[string]any, error) {
	begun := a.book.beginIssue(role)
	got, err := n.Root(http.MethodGet, "database/creds/"+role, nil)
	if err != nil {
		return nil, err
	}
	data, _ := got["data"].(map[string]any)
	c := &creds{role: role}
	c.lease, _ = got["lease_id"].(string)
	c.user, _ = data["username"].(string)
	c.password, _ = data["password"].(string)
	a.book.issued(c, begun)
	return got, nil
}

// audited asks a node something and looks whether the file tells of it.
func (a *agreement) audited(n *node, file string, wanted bool) error {
	path := "sys/policies/acl/" + rand.Text() // no other line has it
	if _, err := n.Root(http.MethodGet, path, nil); status(err) != http.StatusNotFound {
		return fmt.Errorf("a policy that is not there: %w", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if got := strings.Contains(string(text), path); got != wanted {
		return fmt.Errorf("the request is in the audit file: %v, want %v", got, wanted)
	}
	return nil
}

// sealsWith writes a value at a node and looks which key sealed it. Bytes 3 to 6 of a sealed value name the key.
func (a *agreement) sealsWith(n *node, term any) error {
	path := strings.ToLower(rand.Text())
	if _, err := n.Root(http.MethodPut, "sys/policies/acl/"+path, map[string]any{"policy": `path "x" { capabilities = ["read"] }`}); err != nil {
		return err
	}
	var sealed []byte
	if err := a.look.QueryRow(context.Background(), `SELECT sealed FROM policies WHERE name = $1`, path).Scan(&sealed); err != nil {
		return err
	}
	if got := fmt.Sprint(uint32(sealed[2])<<24 | uint32(sealed[3])<<16 | uint32(sealed[4])<<8 | uint32(sealed[5])); got != fmt.Sprint(term) {
		return fmt.Errorf("a value was sealed with key %s, the newest is %v", got, term)
	}
	return nil
}

// preflight asks as a browser does.
func (a *agreement) preflight(n *node, origin string, wanted int) error {
	req, err := http.NewRequest(http.MethodOptions, n.URL()+"/v1/kv/data/value", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Origin", origin)
	req.Header.Set("Access-Control-Request-Method", http.MethodGet)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != wanted {
		return fmt.Errorf("the preflight's status is %d, want %d", resp.StatusCode, wanted)
	}
	return nil
}

func (a *agreement) encrypts(n *node, prefix string) error {
	got, err := n.Root(http.MethodPost, "transit/encrypt/"+a.name, map[string]any{"plaintext": "YQ=="})
	if err != nil {
		return err
	}
	data, _ := got["data"].(map[string]any)
	if text, _ := data["ciphertext"].(string); !strings.HasPrefix(text, prefix) {
		return fmt.Errorf("a ciphertext that does not begin with %s", prefix)
	}
	return nil
}

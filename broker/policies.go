package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"leasehold/policy"
	"leasehold/store"
)

const (
	selectPolicyVersions = `select name, version from policies order by name`
	selectPolicy         = `select sealed from policies where name = $1`
	upsertPolicy         = `insert into policies (name, version, sealed)
		values ($1, (select value from broker_generation where id = 1) + 1, $2)
		on conflict (name) do update set version = excluded.version, sealed = excluded.sealed`
	deletePolicy = `delete from policies where name = $1`
)

// storedPolicy is one policy of a snapshot. Its version is the generation that wrote it, so it is parsed once however
// often snapshots are loaded.
type storedPolicy struct {
	version int64
	text    string
	parsed  *policy.Policy
}

// policySet is all policies of a generation, with the ACLs compiled from them so far. Generations that differ in
// something else share it.
type policySet struct {
	byName map[string]*storedPolicy

	mu   sync.RWMutex
	acls map[string]compiled // by the token's policies; guarded by mu
}

// compiled is an ACL and when one of its rules runs out (zero: never).
type compiled struct {
	acl  *policy.ACL
	ends time.Time
}

// fixed are the policies that no one can change.
var fixed = func() map[string]*policy.Policy {
	wrapping, err := policy.Parse(policy.ResponseWrappingName, policy.ResponseWrappingText)
	if err != nil {
		panic(err) // the text is a constant
	}
	return map[string]*policy.Policy{policy.RootName: policy.Root(), policy.ResponseWrappingName: wrapping}
}()

// maxACLs bounds the compiled ACLs. Installations have tens of combinations; one that makes thousands starts over.
const maxACLs = 4096

func newPolicySet(byName map[string]*storedPolicy) *policySet {
	return &policySet{byName: byName, acls: map[string]compiled{}}
}

// acl compiles the named policies, or finds them compiled. Names that do not exist allow nothing.
func (s *policySet) acl(names []string, now time.Time) *policy.ACL {
	key := setKey(names)
	s.mu.RLock()
	c, ok := s.acls[key]
	s.mu.RUnlock()
	if ok && (c.ends.IsZero() || now.Before(c.ends)) {
		return c.acl
	}
	c = compiled{}
	policies := make([]*policy.Policy, 0, len(names))
	for _, name := range names {
		if p := fixed[name]; p != nil {
			policies = append(policies, p)
			continue
		}
		stored := s.byName[name]
		if stored == nil {
			continue
		}
		p, next := stored.parsed.At(now)
		if !next.IsZero() && (c.ends.IsZero() || next.Before(c.ends)) {
			c.ends = next
		}
		policies = append(policies, p)
	}
	c.acl = policy.NewACL(policies, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.acls) >= maxACLs {
		clear(s.acls)
	}
	s.acls[key] = c
	return c.acl
}

// setKey is one text for a list of names. Names are clients' text: no separator is safe, so each has its length before it.
func setKey(names []string) string {
	size := 0
	for _, name := range names {
		size += len(name) + len("65535:")
	}
	key := make([]byte, 0, size)
	for _, name := range names {
		key = strconv.AppendInt(key, int64(len(name)), 10)
		key = append(key, ':')
		key = append(key, name...)
	}
	return string(key)
}

func policyCell(name string) store.Cell {
	return store.Cell{Table: "policies", Column: "sealed", Key: name}
}

// loadPolicies reads the policies, taking those that have not changed from before, and before itself when none has.
func loadPolicies(tx *store.Tx, before *policySet) (*policySet, error) {
	type row struct {
		name    string
		version int64
	}
	rows, err := collect(tx, func(scan func(...any) error) (row, error) {
		var r row
		err := scan(&r.name, &r.version)
		return r, err
	}, selectPolicyVersions)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]*storedPolicy, len(rows))
	same := before != nil && len(before.byName) == len(rows)
	for _, r := range rows {
		if before != nil {
			if p := before.byName[r.name]; p != nil && p.version == r.version {
				byName[r.name] = p
				continue
			}
		}
		same = false
		text, err := policyText(tx, r.name)
		if err != nil {
			return nil, err
		}
		parsed, err := policy.Parse(r.name, text)
		if err != nil {
			return nil, fmt.Errorf("parse policy %q: %w", r.name, err)
		}
		byName[r.name] = &storedPolicy{version: r.version, text: text, parsed: parsed}
	}
	if same {
		return before, nil
	}
	return newPolicySet(byName), nil
}

func policyText(tx *store.Tx, name string) (string, error) {
	var sealed []byte
	if err := tx.QueryRow(selectPolicy, name).Scan(&sealed); err != nil {
		return "", fmt.Errorf("read policy %q: %w", name, err)
	}
	plain, err := tx.Open(policyCell(name), sealed)
	if err != nil {
		return "", fmt.Errorf("open policy %q: %w", name, err)
	}
	return string(plain), nil
}

// PolicyNames are the names of all policies that clients see, sorted, root last.
func (b *Broker) PolicyNames() []string {
	names := slices.Sorted(maps.Keys(b.held().policies.byName))
	return append(names, policy.RootName)
}

// Policy is the text of a policy as it was written, and whether there is one of that canonical name. Root has none.
func (b *Broker) Policy(name string) (text string, found bool) {
	switch name {
	case policy.RootName:
		return "", true
	case policy.ResponseWrappingName:
		return policy.ResponseWrappingText, true
	}
	stored := b.held().policies.byName[name]
	if stored == nil {
		return "", false
	}
	return stored.text, true
}

// PutPolicy writes a policy under its canonical name; the text may come in base64. It is in force, on every node, when PutPolicy returns.
//
// Errors: Invalid (the text does not parse; the name is fixed).
func (b *Broker) PutPolicy(ctx context.Context, name, sent string) error {
	if err := policy.CheckUpdate(name); err != nil {
		return err
	}
	text := policy.DecodeText(sent)
	if _, err := policy.Parse(name, text); err != nil {
		return err
	}
	return b.store.Update(ctx, func(tx *store.Tx) error {
		if err := putPolicyTx(tx, name, text); err != nil {
			return err
		}
		return bump(tx)
	})
}

func putPolicyTx(tx *store.Tx, name, text string) error {
	sealed, err := tx.Seal(policyCell(name), []byte(text))
	if err != nil {
		return err
	}
	if _, err := tx.Exec(upsertPolicy, name, sealed); err != nil {
		return fmt.Errorf("write policy %q: %w", name, err)
	}
	return nil
}

// DeletePolicy removes a policy; one that is not there is no error. Tokens that name it keep the name.
//
// Errors: Invalid (the policy must exist).
func (b *Broker) DeletePolicy(ctx context.Context, name string) error {
	if err := policy.CheckDelete(name); err != nil {
		return err
	}
	return b.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(deletePolicy, name); err != nil {
			return fmt.Errorf("delete policy %q: %w", name, err)
		}
		return bump(tx)
	})
}

// Capabilities lists what a token with these policies may do at path.
func (b *Broker) Capabilities(policies []string, path string) []string {
	return b.acl(policies).Capabilities(path)
}

// Reaches reports whether a token with these policies may do anything at the mount or below.
func (b *Broker) Reaches(policies []string, m *Mount) bool {
	return b.acl(policies).HasAccessBelow(m.Path)
}

// ResultantACL is the whole of what a token with these policies may do, as consoles draw their menus from it.
func (b *Broker) ResultantACL(policies []string) map[string]any { return b.acl(policies).Resultant() }

func (b *Broker) acl(policies []string) *policy.ACL {
	return b.held().policies.acl(policies, b.clock.Now())
}

// PolicyExists reports whether there is a policy of that name, the fixed ones included.
func (b *Broker) PolicyExists(_ context.Context, name string) (bool, error) {
	_, found := b.Policy(name)
	return found, nil
}

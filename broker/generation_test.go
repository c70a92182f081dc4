package broker_test

import (
	"fmt"
	"sync"
	"testing"

	"leasehold/broker"
	"leasehold/broker/brokertest"
	"leasehold/engine"
	"leasehold/internal/errs"
)

// A change that one node has acknowledged holds on every other at its next request.
func TestChangesHoldOnEveryNodeAtOnce(t *testing.T) {
	t.Parallel()
	a := brokertest.New(t, broker.Settings{})
	b := a.Another()
	token := a.MustToken(`path "notes/*" { capabilities = ["read", "create"] }`, nil)
	policy := a.Must(engine.Update, "sys/capabilities", map[string]any{"token": token.Reveal(), "paths": "notes/x"})
	if fmt.Sprint(policy.Data["capabilities"]) != "[create read]" {
		t.Fatalf("capabilities %v", policy.Data)
	}

	_, err := b.Do(b.Root, engine.Read, "notes/x", nil)
	wantError(t, err, errs.NotFound, `no handler for route "notes/x". route entry not found.`)
	a.Must(engine.Update, "sys/mounts/notes", map[string]any{"type": "lab"})
	_, err = b.Do(b.Root, engine.Read, "notes/x", nil)
	wantError(t, err, errs.NotFound, "")
	b.Must(engine.Update, "sys/mounts/notes/tune", map[string]any{"default_lease_ttl": "5m"})
	if got := a.Must(engine.Read, "sys/mounts/notes/tune", nil).Data["default_lease_ttl"]; got != int64(300) {
		t.Errorf("default_lease_ttl %v", got)
	}

	name := b.Must(engine.Read, "sys/policies/acl", nil).Data["keys"].([]string)[1]
	if _, err := b.Do(token, engine.Update, "notes/x", nil); err != nil {
		t.Fatal(err)
	}
	a.Must(engine.Update, "sys/policies/acl/"+name, map[string]any{"policy": `path "notes/*" { capabilities = ["deny"] }`})
	_, err = b.Do(token, engine.Read, "notes/x", nil)
	wantError(t, err, errs.Denied, framedDenial)
	a.Must(engine.Delete, "sys/policies/acl/"+name, nil)
	a.Must(engine.Delete, "sys/mounts/notes", nil)
	_, err = b.Do(b.Root, engine.Read, "notes/x", nil)
	wantError(t, err, errs.NotFound, `no handler for route "notes/x". route entry not found.`)
}

// Requests run while mounts and policies change under them. What was acknowledged before a request began decides it.
func TestConcurrentChanges(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	other := n.Another()
	n.Must(engine.Update, "sys/mounts/notes", map[string]any{"type": "lab"})
	n.Must(engine.Update, "notes/a", map[string]any{"v": "1"})
	token := n.MustToken(`path "nothing" { capabilities = ["read"] }`, map[string]any{"policies": []any{"turn"}})
	const rounds = 40
	stop := make(chan struct{})
	var noise sync.WaitGroup
	for i := range 3 {
		noise.Go(func() {
			for j := 0; ; j++ {
				select {
				case <-stop:
					return
				default:
				}
				path := fmt.Sprintf("sys/mounts/m%d", i)
				if _, err := n.Do(n.Root, engine.Update, path, map[string]any{"type": "lab"}); err != nil {
					t.Errorf("enable: %v", err)
				}
				if _, err := other.Do(n.Root, engine.Read, fmt.Sprintf("m%d/x", i), nil); errs.From(err) == nil || errs.From(err).Text != "" {
					t.Errorf("read below a mount that was just enabled: %v", err)
				}
				if _, err := other.Do(n.Root, engine.Delete, path, nil); err != nil {
					t.Errorf("disable: %v", err)
				}
				if _, err := n.Do(n.Root, engine.Read, fmt.Sprintf("m%d/x", i), nil); errs.From(err) == nil || errs.From(err).Text == "" {
					t.Errorf("read below a mount that was just disabled: %v", err)
				}
			}
		})
	}
	for i := range rounds {
		text, allowed := `path "notes/a" { capabilities = ["read"] }`, true
		if i%2 == 1 {
			text, allowed = `path "notes/b" { capabilities = ["read"] }`, false
		}
		n.Must(engine.Update, "sys/policies/acl/turn", map[string]any{"policy": text})
		for _, node := range []*brokertest.Node{n, other} {
			if _, err := node.Do(token, engine.Read, "notes/a", nil); (err == nil) != allowed {
				t.Errorf("round %d: allowed should be %v, got %v", i, allowed, err)
			}
		}
	}
	close(stop)
	noise.Wait()
}

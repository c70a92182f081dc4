package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"leasehold/policy"
)

// rulesText has n rules for n teams: a third exact, a third prefixes, a third with "+".
func rulesText(n int) string {
	var b strings.Builder
	for i := range n {
		path := []string{"secret/data/team-%d/password", "database/creds/team-%d-*", "kv/+/team-%d/*"}[i%3]
		fmt.Fprintf(&b, "path %q { capabilities = [\"read\", \"update\"] }\n", fmt.Sprintf(path, i))
	}
	return b.String()
}

// What does the decision cost each request, and does it grow with the number of rules?
//
// On two shared cores (Go 1.26): exact 51 ns, prefix 66 ns, "+" 105 ns, no rule 34 ns, alike with 10 and with 1,000
// rules; nothing is allocated. The cost grows with the number of different lengths of the rules' literal beginnings.
func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{10, 1000} {
		acl := newACL(b, nil, policy.DefaultText, rulesText(n))
		last := n - n%3 - 3 // the last group of three
		for _, c := range []struct{ name, path string }{
			{"exact", fmt.Sprintf("secret/data/team-%d/password", last)},
			{"prefix", fmt.Sprintf("database/creds/team-%d-app", last+1)},
			{"segments", fmt.Sprintf("kv/data/team-%d/a", last+2)},
			{"none", "database/config/main"},
		} {
			b.Run(fmt.Sprintf("rules=%d/%s", n, c.name), func(b *testing.B) {
				b.ReportAllocs()
				r := policy.Request{Operation: "read", Path: c.path, Data: map[string]any{"k": "v"}}
				want := c.name != "none"
				for b.Loop() {
					if acl.Check(r).Allowed != want {
						b.Fatal("wrong verdict")
					}
				}
			})
		}
	}
}

// What does it cost to compile a token's policies, when its ACL is not kept? On two shared cores: 9 µs and 86
// allocations with the default policy and 10 rules, 450 µs with 1,000 rules.
func BenchmarkNewACL(b *testing.B) {
	for _, n := range []int{10, 1000} {
		policies := []*policy.Policy{mustParse(b, "default", policy.DefaultText), mustParse(b, "p", rulesText(n))}
		id := &policy.Identity{EntityID: "e", EntityName: "n"}
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				policy.NewACL(policies, id)
			}
		})
	}
}

package policy

import "math/bits"

// capability is a set of the things that a rule can grant.
type capability uint16

// In the order of their names, so that a walk from the lowest bit is sorted.
const (
	canCreate capability = 1 << iota
	canDelete
	denied
	canList
	canPatch
	canRead
	canRecover
	canScan
	canSubscribe
	sudo
	canUpdate
)

const everything = canCreate | canDelete | canList | canPatch | canRead | canRecover | canScan | canSubscribe | sudo | canUpdate

var capabilityNames = [...]string{
	"create", "delete", "deny", "list", "patch", "read", "recover", "scan", "subscribe", "sudo", "update",
}

var capabilityOf = func() map[string]capability {
	m := map[string]capability{}
	for i, name := range capabilityNames {
		m[name] = 1 << i
	}
	return m
}()

// shorthands are the words of the old "policy" key.
var shorthands = map[string]capability{
	"deny":  denied,
	"read":  canRead | canList,
	"write": canCreate | canRead | canUpdate | canDelete | canList,
	"sudo":  canCreate | canRead | canUpdate | canDelete | canList | sudo,
}

// needed is the capability that an operation asks for; zero for an operation that no rule can grant.
func needed(operation string) capability {
	switch operation {
	case "read", "header":
		return canRead
	case "list":
		return canList
	case "create":
		return canCreate
	case "update":
		return canUpdate
	case "delete":
		return canDelete
	case "patch":
		return canPatch
	case "scan":
		return canScan
	default:
		return 0
	}
}

// names lists the set as clients see it: sorted, and "deny" alone when nothing is granted.
func (c capability) names() []string {
	if c == 0 || c&denied != 0 {
		return []string{"deny"}
	}
	out := make([]string, 0, bits.OnesCount16(uint16(c)))
	for i, name := range capabilityNames {
		if c&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

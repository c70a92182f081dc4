package auth

import (
	"slices"
	"strings"
)

// SanitizePolicies trims and lower-cases names, drops empty and repeated ones, and sorts them. Root among them makes the
// others pointless: it stands alone. addDefault adds the default policy to any other set.
//
// Wire: tokens, "Create body", policies.
func SanitizePolicies(names []string, addDefault bool) []string {
	var clean []string
	for _, name := range names {
		switch name = strings.ToLower(strings.TrimSpace(name)); name {
		case "":
		case rootPolicy:
			return []string{rootPolicy}
		default:
			clean = append(clean, name)
		}
	}
	if addDefault {
		clean = append(clean, defaultPolicy)
	}
	slices.Sort(clean)
	return slices.Compact(clean)
}

package policy

import (
	"encoding/base64"

	"leasehold/internal/errs"
)

// Names of the policies that exist from the start.
const (
	RootName             = "root"              // everything; has no text
	DefaultName          = "default"           // given to every token unless it asks not to; its text may be changed
	ResponseWrappingName = "response-wrapping" // what a wrapping token may do; not listed
)

// DefaultText is the first text of the default policy: what a token may do with itself.
const DefaultText = `# What every token may do with itself.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
path "sys/capabilities-self" {
  capabilities = ["update"]
}
path "sys/internal/ui/resultant-acl" {
  capabilities = ["read"]
}

# The caller's own entity.
path "identity/entity/id/{{identity.entity.id}}" {
  capabilities = ["read"]
}
path "identity/entity/name/{{identity.entity.name}}" {
  capabilities = ["read"]
}

# Leases: whoever knows the id may ask and renew.
path "sys/renew" {
  capabilities = ["update"]
}
path "sys/leases/renew" {
  capabilities = ["update"]
}
path "sys/leases/lookup" {
  capabilities = ["update"]
}

# The store of this token alone, and wrapped answers.
path "cubbyhole/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}
path "sys/wrapping/wrap" {
  capabilities = ["update"]
}
path "sys/wrapping/lookup" {
  capabilities = ["update"]
}
path "sys/wrapping/unwrap" {
  capabilities = ["update"]
}

# Hashing needs no secrets of ours.
path "sys/tools/hash" {
  capabilities = ["update"]
}
path "sys/tools/hash/*" {
  capabilities = ["update"]
}

path "identity/oidc/provider/+/authorize" {
  capabilities = ["read", "update"]
}
`

// ResponseWrappingText is the text of the policy of wrapping tokens.
const ResponseWrappingText = `path "cubbyhole/response" {
  capabilities = ["create", "read"]
}
path "sys/wrapping/unwrap" {
  capabilities = ["update"]
}
`

// Root is the policy that allows everything.
func Root() *Policy { return &Policy{Name: RootName} }

// fixed reports whether the policy is neither written nor removed by clients.
func fixed(name string) bool { return name == RootName || name == ResponseWrappingName }

// CheckUpdate refuses a client's write to a policy that is not to be changed. Names are lower case. Error: Invalid.
func CheckUpdate(name string) error {
	if fixed(name) {
		return errs.New(errs.Invalid, "cannot update %q policy", name)
	}
	return nil
}

// CheckDelete refuses the removal of a policy that must exist. Error: Invalid.
func CheckDelete(name string) error {
	switch {
	case fixed(name):
		return errs.New(errs.Invalid, "cannot delete %q policy", name)
	case name == DefaultName:
		return errs.New(errs.Invalid, "cannot delete default policy")
	default:
		return nil
	}
}

// DecodeText is the policy's text as it is kept: clients may send it in standard base64. No policy with a rule is
// base64 by chance, because its quotes and braces are not in that alphabet.
func DecodeText(sent string) string {
	if plain, err := base64.StdEncoding.DecodeString(sent); err == nil && len(plain) > 0 {
		return string(plain)
	}
	return sent
}

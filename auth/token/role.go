package token

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"leasehold/auth"
	"leasehold/engine"
	"leasehold/internal/errs"
)

var roleFields = engine.Schema{
	"role_name": engine.Text, "allowed_policies": engine.CommaList, "allowed_policies_glob": engine.CommaList,
	"disallowed_policies": engine.CommaList, "disallowed_policies_glob": engine.CommaList, "allowed_entity_aliases": engine.CommaList,
	"orphan": engine.Bool, "renewable": engine.Bool, "path_suffix": engine.Text, "token_type": engine.Text,
	"token_period": engine.Duration, "period": engine.Duration,
	"token_explicit_max_ttl": engine.Duration, "explicit_max_ttl": engine.Duration,
	"token_bound_cidrs": engine.CommaList, "bound_cidrs": engine.CommaList,
	"token_num_uses": engine.Int, "token_no_default_policy": engine.Bool,
}

func (e *tokens) listRoles(ctx context.Context, _ *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	names, err := e.Tokens.Roles(ctx)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errs.New(errs.NotFound, "")
	}
	return &engine.Response{Data: map[string]any{"keys": names}}, nil
}

func (e *tokens) roleExists(ctx context.Context, _ *engine.Request, f *engine.Fields) (bool, error) {
	_, found, err := e.Tokens.Role(ctx, f.Text("role_name"))
	return found, err
}

func (e *tokens) readRole(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	role, found, err := e.Tokens.Role(ctx, f.Text("role_name"))
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errs.New(errs.NotFound, "")
	}
	data := map[string]any{
		"allowed_entity_aliases":   nil,
		"allowed_policies":         listed(role.AllowedPolicies),
		"allowed_policies_glob":    listed(role.AllowedPoliciesGlob),
		"disallowed_policies":      listed(role.DisallowedPolicies),
		"disallowed_policies_glob": listed(role.DisallowedPoliciesGlob),
		"explicit_max_ttl":         int64(0),
		"name":                     role.Name,
		"orphan":                   role.Orphan,
		"path_suffix":              role.PathSuffix,
		"period":                   int64(0),
		"renewable":                role.Renewable,
		"token_explicit_max_ttl":   seconds(role.ExplicitMaxTTL),
		"token_no_default_policy":  role.NoDefault,
		"token_period":             seconds(role.Period),
		"token_type":               role.TokenType,
	}
	if role.AllowedEntityAliases != nil {
		data["allowed_entity_aliases"] = role.AllowedEntityAliases
	}
	if role.OldPeriod {
		data["period"] = seconds(role.Period)
	}
	if role.OldExplicitMaxTTL {
		data["explicit_max_ttl"] = seconds(role.ExplicitMaxTTL)
	}
	if len(role.BoundCIDRs) > 0 {
		data["token_bound_cidrs"] = role.BoundCIDRs
		if role.OldBoundCIDRs {
			data["bound_cidrs"] = role.BoundCIDRs
		}
	}
	if role.NumUses > 0 {
		data["token_num_uses"] = role.NumUses
	}
	return &engine.Response{Data: data}, nil
}

func listed(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func (e *tokens) deleteRole(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return nil, e.Tokens.DeleteRole(ctx, f.Text("role_name"))
}

func (e *tokens) writeRole(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	var warnings []string
	err := e.Tokens.UpdateRole(ctx, f.Text("role_name"), func(role *auth.Role) (err error) {
		warnings, err = applyRole(role, f, r.Mount.MaxTTL)
		return err
	})
	if err != nil || len(warnings) == 0 {
		return nil, err
	}
	return &engine.Response{Warnings: warnings}, nil
}

// pathSuffix is found somewhere in every path suffix; the text of the refusal is the wire's.
var pathSuffix = regexp.MustCompile(`\w[\w.-]+\w`)

// applyRole changes a role to what the fields say; those that were not given stay. maxTTL is the mount's.
func applyRole(role *auth.Role, f *engine.Fields, maxTTL time.Duration) (warnings []string, err error) {
	if f.Has("allowed_policies") {
		role.AllowedPolicies = auth.SanitizePolicies(f.List("allowed_policies"), false)
	}
	if f.Has("disallowed_policies") {
		role.DisallowedPolicies = auth.SanitizePolicies(f.List("disallowed_policies"), false)
	}
	setList(f, "allowed_policies_glob", &role.AllowedPoliciesGlob)
	setList(f, "disallowed_policies_glob", &role.DisallowedPoliciesGlob)
	setList(f, "allowed_entity_aliases", &role.AllowedEntityAliases)
	role.Orphan = f.BoolOr("orphan", role.Orphan)
	role.Renewable = f.BoolOr("renewable", role.Renewable)
	role.NoDefault = f.BoolOr("token_no_default_policy", role.NoDefault)
	if f.Has("path_suffix") {
		role.PathSuffix = f.Text("path_suffix")
		if role.PathSuffix != "" && !pathSuffix.MatchString(role.PathSuffix) {
			return nil, invalid(`given role path suffix contains invalid characters; must match \w[\w-.]+\w`)
		}
		if strings.Contains(role.PathSuffix, "..") {
			return nil, invalid("error registering path suffix: path cannot contain parent references")
		}
	}
	if f.Has("token_type") {
		role.TokenType = f.Text("token_type")
		if !slices.Contains([]string{auth.Service, auth.Batch, "default-service", "default-batch"}, role.TokenType) {
			return nil, invalid("invalid 'token_type' value %q", role.TokenType)
		}
	}
	if f.Has("token_num_uses") {
		if role.NumUses = f.Int("token_num_uses"); role.NumUses < 0 {
			return nil, invalid("'token_num_uses' cannot be negative")
		}
	}

	// Each of these has an old name, which counts when the new one is not given.
	name, warning := eitherName(f, "token_period", "period", &role.OldPeriod)
	if name != "" {
		role.Period = f.Duration(name)
	}
	warnings = append(warnings, warning...)
	name, warning = eitherName(f, "token_explicit_max_ttl", "explicit_max_ttl", &role.OldExplicitMaxTTL)
	if name != "" {
		role.ExplicitMaxTTL = f.Duration(name)
	}
	warnings = append(warnings, warning...)
	name, warning = eitherName(f, "token_bound_cidrs", "bound_cidrs", &role.OldBoundCIDRs)
	if name != "" {
		if role.BoundCIDRs, err = auth.ParseCIDRs(f.List(name)); err != nil {
			return nil, err
		}
	}
	warnings = append(warnings, warning...)

	if role.ExplicitMaxTTL > maxTTL {
		warnings = append(warnings, tooLong(role.ExplicitMaxTTL, maxTTL))
	}
	return warnings, checkBatch(role)
}

// setList sets a list whose items are names or globs.
func setList(f *engine.Fields, name string, list *[]string) {
	if !f.Has(name) {
		return
	}
	out := []string{}
	for _, item := range f.List(name) {
		if item = strings.ToLower(item); item != "" {
			out = append(out, item)
		}
	}
	slices.Sort(out)
	*list = slices.Compact(out)
}

// eitherName says under which name a field was given, and notes whether that is the old one; empty: under neither.
func eitherName(f *engine.Fields, name, old string, byOld *bool) (given string, warnings []string) {
	switch {
	case f.Has(name):
		*byOld = false
		if f.Has(old) {
			warnings = []string{fmt.Sprintf("Both '%s' and deprecated '%s' value supplied, ignoring the deprecated value", name, old)}
		}
		return name, warnings
	case f.Has(old):
		*byOld = true
		return old, nil
	}
	return "", nil
}

func tooLong(given, allowed time.Duration) string {
	return fmt.Sprintf("Given explicit max TTL of %d is greater than system/mount allowed value of %d seconds; "+
		"until this is fixed attempting to create tokens against this role will result in an error", seconds(given), seconds(allowed))
}

// checkBatch refuses a role that makes batch tokens and promises what they cannot have.
func checkBatch(role *auth.Role) error {
	if role.TokenType != auth.Batch {
		return nil
	}
	what := ""
	switch {
	case !role.Orphan:
		what = "non-orphan tokens"
	case role.Period != 0:
		what = "periodic tokens"
	case role.Renewable:
		what = "renewable tokens"
	case role.ExplicitMaxTTL != 0:
		what = "tokens with an explicit max TTL"
	case role.NumUses != 0:
		what = "tokens with limited use count"
	default:
		return nil
	}
	return invalid("'token_type' cannot be 'batch' when role is set to generate %s", what)
}

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
	"leasehold/internal/secret"
	"leasehold/internal/ttl"
)

// createFields are the fields of a creation. The durations are read by hand: their complaints are worded differently.
var createFields = engine.Schema{
	"role_name": engine.Text, "id": engine.Text, "policies": engine.TextList, "no_default_policy": engine.Bool,
	"ttl": engine.Any, "lease": engine.Any, "explicit_max_ttl": engine.Any, "period": engine.Any,
	"renewable": engine.Bool, "num_uses": engine.Int, "type": engine.Text, "display_name": engine.Text,
	"meta": engine.TextMap, "no_parent": engine.Bool, "entity_alias": engine.Text,
}

// customIDWarning is what a client is told that chose its token's text.
//
// Compat: tokens recording, token-sudo-create. A text of one's own is as well hashed here as any other; it is only
// easier to guess.
const customIDWarning = "Supplying a custom ID for the token uses the weaker SHA1 hashing instead of the more secure SHA2-256 HMAC " +
	"for token obfuscation. SHA1 hashed tokens on the wire leads to less secure lookups."

func (e *tokens) createChild(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return e.create(ctx, r, f, false, nil)
}

func (e *tokens) createOrphan(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return e.create(ctx, r, f, true, nil)
}

func (e *tokens) createByRole(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	name := f.Text("role_name")
	role, found, err := e.Tokens.Role(ctx, name)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errs.New(errs.Invalid, "unknown role %s", name)
	}
	return e.create(ctx, r, f, role.Orphan, &role)
}

// creation is one request for a token, on its way to a specification. Each method applies some of the rules.
type creation struct {
	e      *tokens
	r      *engine.Request
	f      *engine.Fields
	parent auth.Token
	sudo   bool       // root, or sudo on the path
	role   *auth.Role // nil: none

	spec        auth.Spec
	explicitMax time.Duration // the request's or the role's, whichever is less
	period      time.Duration // the same
	warnings    []string
}

// create makes a token for the caller. The order of the steps is the order in which a client hears complaints and
// warnings.
func (e *tokens) create(ctx context.Context, r *engine.Request, f *engine.Fields, orphan bool, role *auth.Role) (*engine.Response, error) {
	parent, err := e.caller(ctx, r)
	if err != nil {
		return nil, err
	}
	c := &creation{e: e, r: r, f: f, parent: parent, sudo: r.Caller.Sudo, role: role}
	steps := []func() error{
		c.checkParent,
		c.start,
		c.kind,
		c.customID,
		c.policies,
		func() error { return c.place(orphan) },
		c.readDurations,
		c.lifetime,
		func() error { return c.entityAlias(ctx) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if !c.spec.ID.Empty() {
		c.warn("%s", customIDWarning)
	}
	for _, name := range c.spec.Policies {
		exists, err := e.PolicyExists(ctx, name)
		if err != nil {
			return nil, err
		}
		if !exists {
			c.warn("Policy %q does not exist", name)
		}
	}
	t, text, err := e.Tokens.Create(ctx, c.spec)
	if err != nil {
		return nil, err
	}
	return &engine.Response{Auth: t.Auth(text), Warnings: c.warnings}, nil
}

func (c *creation) warn(format string, args ...any) {
	c.warnings = append(c.warnings, fmt.Sprintf(format, args...))
}

func invalid(format string, args ...any) error { return errs.New(errs.Invalid, format, args...) }

func (c *creation) checkParent() error {
	switch {
	case c.parent.Type == auth.Batch:
		return invalid("batch tokens cannot create more tokens")
	case c.parent.NumUses != 0:
		return invalid("restricted use token cannot generate child tokens")
	}
	return nil
}

var notInDisplayName = regexp.MustCompile(`[^A-Za-z0-9-]`)

func (c *creation) start() error {
	c.spec.Path = c.r.FullPath()
	c.spec.Meta = c.f.Map("meta")
	c.spec.NumUses = c.f.Int("num_uses")
	c.spec.Renewable = c.f.BoolOr("renewable", true)
	c.spec.NoDefault = c.f.Bool("no_default_policy")
	c.spec.DisplayName = "token"
	if name := c.f.Text("display_name"); name != "" {
		c.spec.DisplayName = strings.TrimSuffix(notInDisplayName.ReplaceAllString("token-"+name, "-"), "-")
	}
	if c.spec.NumUses < 0 {
		return invalid("number of uses cannot be negative")
	}
	if c.role == nil {
		return nil
	}
	c.spec.Role = c.role.Name
	c.spec.Renewable = c.spec.Renewable && c.role.Renewable
	c.spec.NoDefault = c.spec.NoDefault || c.role.NoDefault
	if limit := c.role.NumUses; limit > 0 && (c.spec.NumUses == 0 || limit < c.spec.NumUses) {
		c.spec.NumUses = limit
	}
	if c.role.PathSuffix != "" {
		c.spec.Path += "/" + c.role.PathSuffix
	}
	return nil
}

// kind decides between service and batch, and refuses what a batch token cannot have.
func (c *creation) kind() error {
	wanted := c.f.Text("type")
	if wanted != "" && wanted != auth.Service && wanted != auth.Batch {
		return invalid("invalid 'token_type' value")
	}
	if c.role != nil {
		if kind, open := strings.CutPrefix(c.role.TokenType, "default-"); !open || wanted == "" {
			wanted = kind
		}
	}
	if wanted != auth.Batch {
		return nil
	}
	c.spec.Type = auth.Batch
	c.spec.Renewable = false
	refuse := func(field string) error { return invalid("batch tokens cannot have %q set", field) }
	for _, field := range []string{"explicit_max_ttl", "period"} {
		d, err := c.duration(field)
		if err != nil {
			return err
		}
		if d != 0 {
			return refuse(field)
		}
	}
	switch {
	case c.spec.NumUses != 0:
		return refuse("num_uses")
	case c.f.Text("id") != "":
		return refuse("id")
	}
	return nil
}

func (c *creation) customID() error {
	id := c.f.Text("id")
	if id == "" {
		return nil
	}
	if !c.sudo {
		return invalid("root or sudo privileges required to specify token id")
	}
	c.spec.ID = secret.NewText(id)
	return auth.CheckCustomID(id)
}

// policies decides what the token may do, and that the caller may give it that.
func (c *creation) policies() error {
	asked := c.f.List("policies")
	var err error
	switch {
	case c.role != nil && restricts(c.role):
		if asked, err = c.rolePolicies(asked); err != nil {
			return err
		}
	case len(asked) == 0:
		asked = slices.Clone(c.parent.Policies)
	case c.sudo:
		asked = auth.SanitizePolicies(asked, !c.spec.NoDefault)
	default:
		asked = auth.SanitizePolicies(asked, false)
		for _, name := range asked {
			if !slices.Contains(c.parent.Policies, name) {
				return invalid("child policies must be subset of parent")
			}
		}
		asked = auth.SanitizePolicies(asked, !c.spec.NoDefault && slices.Contains(c.parent.Policies, "default"))
	}
	if c.spec.NoDefault {
		asked = slices.DeleteFunc(asked, func(name string) bool { return name == "default" })
	}
	if slices.Contains(asked, "response-wrapping") {
		return invalid("cannot assign policy %q", "response-wrapping")
	}
	// These look at the final set: a role may have put root into it.
	if slices.Contains(asked, "root") {
		if !c.parent.Root() {
			return invalid("root tokens may not be created without parent token being root")
		}
		if c.spec.Type == auth.Batch {
			return invalid("batch tokens cannot be root tokens")
		}
	}
	c.spec.Policies = asked
	return nil
}

func restricts(role *auth.Role) bool {
	return len(role.AllowedPolicies)+len(role.AllowedPoliciesGlob)+len(role.DisallowedPolicies)+len(role.DisallowedPoliciesGlob) > 0
}

// rolePolicies applies a role's lists, which stand in place of the subset rule: a role may give more than its caller has.
func (c *creation) rolePolicies(asked []string) ([]string, error) {
	role := c.role
	addDefault := !c.spec.NoDefault && !slices.Contains(role.DisallowedPolicies, "default") &&
		!matchesAny(role.DisallowedPoliciesGlob, "default")
	if len(asked) > 0 {
		asked = auth.SanitizePolicies(asked, addDefault)
	}
	switch {
	case len(role.AllowedPolicies)+len(role.AllowedPoliciesGlob) > 0:
		allowed := auth.SanitizePolicies(role.AllowedPolicies, addDefault)
		if len(asked) == 0 {
			asked = allowed
			break
		}
		for _, name := range asked {
			if !slices.Contains(allowed, name) && !matchesAny(role.AllowedPoliciesGlob, name) {
				return nil, invalid("token policies (%q) must be subset of the role's allowed policies (%q) or glob policies (%q)",
					asked, allowed, role.AllowedPoliciesGlob)
			}
		}
	case len(asked) == 0:
		asked = auth.SanitizePolicies(c.parent.Policies, addDefault)
	}
	for _, name := range asked {
		if slices.Contains(role.DisallowedPolicies, name) || matchesAny(role.DisallowedPoliciesGlob, name) {
			return nil, invalid("token policy %q is disallowed by this role", name)
		}
	}
	return slices.Clone(asked), nil
}

// place decides what the token ends with, whose entity it has, and where it may be used from.
func (c *creation) place(orphan bool) error {
	switch {
	case c.role != nil:
		c.spec.BoundCIDRs = c.role.BoundCIDRs
	case c.f.Bool("no_parent"):
		if !c.sudo {
			return invalid("root or sudo privileges required to create orphan token")
		}
		orphan = true
	}
	if orphan {
		return nil
	}
	c.spec.Parent, c.spec.EntityID = c.parent.Seq, c.parent.EntityID
	if c.role == nil { // with a role the role decides
		c.spec.BoundCIDRs = c.parent.BoundCIDRs
	}
	return nil
}

// duration reads one of the duration fields.
func (c *creation) duration(field string) (time.Duration, error) {
	d, err := engine.ParseSignedDuration(c.f.Raw(field))
	if err != nil {
		return 0, invalid("%s", err)
	}
	if d < 0 {
		return 0, invalid("%s must be positive", field)
	}
	return d, nil
}

// readDurations reads what was asked for, and cuts it to what the role says.
func (c *creation) readDurations() (err error) {
	if c.spec.ExplicitMaxTTL, err = c.duration("explicit_max_ttl"); err != nil {
		return err
	}
	if c.spec.Period, err = c.duration("period"); err != nil {
		return err
	}
	if c.spec.Period > 0 && !c.sudo {
		return invalid("root or sudo privileges required to create periodic token")
	}
	field := "ttl"
	if !c.f.Has(field) {
		field = "lease"
	}
	if c.spec.TTL, err = c.duration(field); err != nil {
		return err
	}
	c.explicitMax, c.period = c.spec.ExplicitMaxTTL, c.spec.Period
	if c.role == nil {
		return nil
	}
	c.explicitMax = c.lesser("Explicit max TTL", c.explicitMax, c.role.ExplicitMaxTTL)
	if c.spec.Type != auth.Batch { // it is never renewed; a period would make its life longer than the ttl asked for
		c.period = c.lesser("Period", c.period, c.role.Period)
	}
	return nil
}

func (c *creation) lesser(what string, asked, role time.Duration) time.Duration {
	switch {
	case role == 0:
		return asked
	case asked == 0:
		return role
	}
	least := min(asked, role)
	c.warn("%s specified both during creation call and in role; using the lesser value of %d seconds", what, seconds(least))
	return least
}

// lifetime resolves how long the token lives. Only a root token may live for ever.
func (c *creation) lifetime() error {
	isRoot := slices.Contains(c.spec.Policies, "root")
	if c.period > 0 || c.spec.TTL > 0 || !isRoot {
		var warnings []string
		c.spec.TTL, warnings = ttl.Resolve(ttl.Limits{
			Default: c.spec.TTL, Period: c.period, ExplicitMax: c.explicitMax,
			MountTTL: c.r.Mount.DefaultTTL, MountMax: c.r.Mount.MaxTTL,
		})
		c.warnings = append(c.warnings, warnings...)
		if c.spec.TTL <= 0 { // or it would never end
			return fmt.Errorf("the maximum of %s at %s leaves a token no lifetime", c.r.Mount.MaxTTL, c.r.Mount.Path)
		}
	} else {
		c.spec.TTL = c.explicitMax
	}
	if c.spec.TTL == 0 {
		if !c.parent.ExpiresAt.IsZero() {
			return invalid("expiring root tokens cannot create non-expiring root tokens")
		}
		c.spec.Renewable = false
	}
	return nil
}

// entityAlias gives the token an entity of its own, in place of its parent's. It comes last: it may make the entity.
func (c *creation) entityAlias(ctx context.Context) (err error) {
	alias := strings.ToLower(c.f.Text("entity_alias"))
	switch {
	case alias == "":
		return nil
	case c.role == nil:
		return invalid("'entity_alias' is only allowed in combination with token role")
	case c.e.Entity == nil, !matchesAny(c.role.AllowedEntityAliases, alias):
		return invalid("invalid 'entity_alias' value")
	}
	c.spec.EntityID, err = c.e.Entity(ctx, c.r.Mount, alias)
	return err
}

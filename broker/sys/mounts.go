package sys

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"leasehold/broker"
	"leasehold/engine"
	"leasehold/internal/errs"
)

type mountTable interface {
	Mounts(kind broker.Kind) []*broker.Mount
	Mount(path string) *broker.Mount
	TTLs(m *broker.Mount) (def, max time.Duration)
	Enable(ctx context.Context, m *broker.Mount) error
	Tune(ctx context.Context, path string, change func(*broker.Mount) error) error
	Disable(ctx context.Context, kind broker.Kind, path string) error
	Remount(ctx context.Context, source, target string) (string, error)
	Migration(ctx context.Context, id string) (*broker.Migration, error)
}

// mountAPI is sys/mounts or sys/auth: the same, but for the family of the mounts.
type mountAPI struct {
	*system
	kind broker.Kind
}

func (s *system) mountPaths() []*engine.Path {
	secrets, methods := mountAPI{s, broker.Secret}, mountAPI{s, broker.Auth}
	enable := engine.Schema{
		"path": engine.Text, "type": engine.Text, "description": engine.Text, "config": engine.Object, "options": engine.TextMap,
		"local": engine.Bool, "seal_wrap": engine.Bool, "external_entropy_access": engine.Bool,
		"plugin_name": engine.Text, "plugin_version": engine.Text,
	}
	tune := engine.Schema{
		"path": engine.Text, "default_lease_ttl": engine.Any, "max_lease_ttl": engine.Any, "description": engine.Text,
		"audit_non_hmac_request_keys": engine.CommaList, "audit_non_hmac_response_keys": engine.CommaList,
		"listing_visibility": engine.Text, "passthrough_request_headers": engine.CommaList, "allowed_response_headers": engine.CommaList,
		"token_type": engine.Text, "options": engine.TextMap, "plugin_version": engine.Text, "user_lockout_config": engine.Object,
	}
	return []*engine.Path{
		{Pattern: "mounts", Help: "List the secrets engines.", Ops: engine.Ops{engine.Read: secrets.list}},
		{Pattern: "mounts/*path/tune", Fields: tune, Help: "Read or change the configuration of a mount.",
			Ops: engine.Ops{engine.Read: secrets.readTuning, engine.Update: secrets.tune}},
		{Pattern: "mounts/*path", Fields: enable, Help: "Enable, read or disable a secrets engine.",
			Ops: engine.Ops{engine.Read: secrets.read, engine.Update: secrets.enable, engine.Delete: secrets.disable}},
		{Pattern: "auth", Help: "List the auth methods.", Ops: engine.Ops{engine.Read: methods.list}},
		{Pattern: "auth/*path/tune", Fields: tune, Sudo: true, Help: "Read or change the configuration of an auth method.",
			Ops: engine.Ops{engine.Read: methods.readTuning, engine.Update: methods.tune}},
		{Pattern: "auth/*path", Fields: enable, Sudo: true, Help: "Enable, read or disable an auth method.",
			Ops: engine.Ops{engine.Read: methods.read, engine.Update: methods.enable, engine.Delete: methods.disable}},
	}
}

// path is the mount that the request names. sys/mounts/auth/X/tune reaches auth methods, too.
func (a mountAPI) path(f *engine.Fields) string { return a.kind.Prefix() + folder(f.Text("path")) }

func (a mountAPI) list(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	all := map[string]any{}
	for _, m := range a.b.Mounts(a.kind) {
		all[m.Name()] = entry(m)
	}
	return both(all), nil
}

func (a mountAPI) read(_ context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	m := a.b.Mount(a.path(f))
	if m == nil || m.Kind != a.kind {
		if a.kind == broker.Auth {
			return nil, errs.New(errs.Invalid, "No auth engine at %s", folder(f.Text("path")))
		}
		return nil, errs.New(errs.Invalid, "No secret engine mount at %s", a.path(f))
	}
	return both(entry(m)), nil
}

// entry is a mount as lists show it.
func entry(m *broker.Mount) map[string]any {
	config := map[string]any{
		"default_lease_ttl": seconds(m.Config.DefaultTTL),
		"max_lease_ttl":     seconds(m.Config.MaxTTL),
		"force_no_cache":    m.Config.ForceNoCache,
	}
	addLists(config, m)
	if l := m.Config.Lockout; l != nil {
		config["user_lockout_config"] = map[string]any{
			"lockout_threshold":              l.Threshold,
			"lockout_duration":               seconds(l.Duration),
			"lockout_counter_reset_duration": seconds(l.CounterReset),
			"lockout_disable":                l.Disabled,
		}
	}
	var options any // null when there are none, which is not the same as an empty set
	if m.Options != nil {
		options = m.Options
	}
	return map[string]any{
		"type": m.Type, "description": m.Description, "accessor": m.Accessor, "uuid": m.UUID, "local": m.Local,
		"seal_wrap": m.SealWrap, "external_entropy_access": m.Entropy, "options": options, "config": config,
		"plugin_version": "", "running_plugin_version": "", "running_sha256": "", "deprecation_status": "supported",
	}
}

// addLists shows what is only shown when it is set.
func addLists(out map[string]any, m *broker.Mount) {
	for name, list := range map[string][]string{
		"audit_non_hmac_request_keys":  m.Config.AuditRequest,
		"audit_non_hmac_response_keys": m.Config.AuditResponse,
		"passthrough_request_headers":  m.Config.RequestHeaders,
		"allowed_response_headers":     m.Config.ResponseHeaders,
	} {
		if len(list) > 0 {
			out[name] = list
		}
	}
	if m.Config.Visibility != "" {
		out["listing_visibility"] = m.Config.Visibility
	}
	if m.Config.TokenType != "" {
		out["token_type"] = m.Config.TokenType
	}
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// configSchema is the config object of an enabling request.
var configSchema = engine.Schema{
	"default_lease_ttl": engine.Any, "max_lease_ttl": engine.Any, "force_no_cache": engine.Bool, "plugin_name": engine.Text,
	"audit_non_hmac_request_keys": engine.CommaList, "audit_non_hmac_response_keys": engine.CommaList,
	"listing_visibility": engine.Text, "passthrough_request_headers": engine.CommaList, "allowed_response_headers": engine.CommaList,
	"token_type": engine.Text, "user_lockout_config": engine.Object,
}

func (a mountAPI) enable(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	c, err := engine.Convert(configSchema, f.Object("config"))
	if err != nil {
		return nil, err
	}
	m := &broker.Mount{
		Path: a.path(f), Kind: a.kind, Type: f.Text("type"), Description: f.Text("description"),
		Local: f.Bool("local"), SealWrap: f.Bool("seal_wrap"), Entropy: f.Bool("external_entropy_access"), Options: f.Map("options"),
	}
	if a.kind == broker.Auth && m.Options == nil {
		m.Options = map[string]string{}
	}
	if m.Type == "" {
		return nil, errs.New(errs.Invalid, "backend type must be specified as a string")
	}
	if m.Type == "plugin" {
		if m.Type = f.Text("plugin_name"); m.Type == "" {
			m.Type = c.Text("plugin_name")
		}
		if m.Type == "" {
			return nil, errs.New(errs.Invalid, "plugin_name must be provided for plugin backend")
		}
	}
	if a.kind == broker.Secret && slices.Contains([]string{"cubbyhole", "identity", "system"}, m.Type) {
		return nil, errs.New(errs.Invalid, "mount type of %q is not mountable", m.Type) // there is one, from the start
	}
	if err := setVersion(m); err != nil {
		return nil, err
	}
	if err := a.setConfig(m, c); err != nil {
		return nil, err
	}
	return nil, a.b.Enable(ctx, m)
}

// setVersion reads the types that stand for a version of kv, and keeps versions away from other engines.
func setVersion(m *broker.Mount) error {
	if m.Kind == broker.Auth {
		return nil
	}
	alias, isAlias := map[string]string{"kv-v1": "1", "kv-v2": "2"}[m.Type]
	version := m.Options["version"]
	switch {
	case isAlias:
		m.Type = "kv"
		if m.Options == nil {
			m.Options = map[string]string{}
		}
		m.Options["version"] = alias
	case m.Type != "kv" && version != "":
		return errs.New(errs.Invalid, "secrets engine %q does not allow setting a version", m.Type)
	case m.Type == "kv":
		return checkVersion(version)
	}
	return nil
}

func checkVersion(version string) error {
	if version != "" && version != "1" && version != "2" {
		return errs.New(errs.Invalid, "invalid version provided: %s", version)
	}
	return nil
}

// setConfig reads the config object of an enabling request.
func (a mountAPI) setConfig(m *broker.Mount, c *engine.Fields) error {
	var err error
	if m.Config.DefaultTTL, err = ttl(c.Raw("default_lease_ttl")); err != nil {
		return errs.New(errs.Invalid, "unable to parse default TTL of %v: %s", c.Raw("default_lease_ttl"), err)
	}
	if m.Config.MaxTTL, err = ttl(c.Raw("max_lease_ttl")); err != nil {
		return errs.New(errs.Invalid, "unable to parse max TTL of %v: %s", c.Raw("max_lease_ttl"), err)
	}
	_, systemMax := a.b.TTLs(&broker.Mount{})
	switch def, max := m.Config.DefaultTTL, m.Config.MaxTTL; {
	case max > 0 && def > max:
		return errs.New(errs.Invalid, "given default lease TTL greater than given max lease TTL")
	case max == 0 && def > systemMax:
		return errs.New(errs.Invalid, "given default lease TTL greater than system max lease TTL of %d", seconds(systemMax))
	}
	m.Config.ForceNoCache = c.Bool("force_no_cache")
	if a.kind == broker.Auth {
		m.Config.TokenType = "default-service"
	}
	return setCommon(m, c)
}

// ttl reads a lifetime: a duration, or "system" for the system's.
func ttl(v any) (time.Duration, error) {
	if v == "system" {
		return 0, nil
	}
	return engine.ParseDuration(v)
}

// setCommon sets what enabling and tuning have in common; only what was given changes.
func setCommon(m *broker.Mount, f *engine.Fields) error {
	for name, list := range map[string]*[]string{
		"audit_non_hmac_request_keys":  &m.Config.AuditRequest,
		"audit_non_hmac_response_keys": &m.Config.AuditResponse,
		"passthrough_request_headers":  &m.Config.RequestHeaders,
		"allowed_response_headers":     &m.Config.ResponseHeaders,
	} {
		if f.Has(name) {
			*list = f.List(name)
		}
	}
	if f.Has("listing_visibility") {
		visibility := f.Text("listing_visibility")
		if !slices.Contains([]string{"", "hidden", "unauth"}, visibility) {
			return errs.New(errs.Invalid, "invalid listing_visibility %s", visibility)
		}
		m.Config.Visibility = visibility
	}
	if f.Has("token_type") {
		if err := setTokenType(m, f.Text("token_type")); err != nil {
			return err
		}
	}
	if f.Has("user_lockout_config") {
		return setLockout(m, f.Object("user_lockout_config"))
	}
	return nil
}

func setTokenType(m *broker.Mount, kind string) error {
	switch {
	case m.Kind != broker.Auth:
		return errs.New(errs.Invalid, "'token_type' can only be modified on auth mounts")
	case m.Type == "token":
		return errs.New(errs.Invalid, "'token_type' cannot be set for 'token' or 'ns_token' auth mounts")
	case !slices.Contains([]string{"", "default-service", "default-batch", "service", "batch"}, kind):
		return errs.New(errs.Invalid, "invalid value for 'token_type'")
	case kind == "":
		kind = "default-service"
	}
	m.Config.TokenType = kind
	return nil
}

func setLockout(m *broker.Mount, config map[string]any) error {
	if m.Kind != broker.Auth {
		return errs.New(errs.Invalid, "'user_lockout_config' can only be modified on auth mounts")
	}
	f, err := engine.Convert(engine.Schema{
		"lockout_threshold": engine.Int, "lockout_duration": engine.Duration, "lockout_counter_reset_duration": engine.Duration,
		"lockout_disable": engine.Bool,
	}, config)
	if err != nil {
		return err
	}
	if m.Config.Lockout == nil {
		m.Config.Lockout = &broker.Lockout{}
	}
	l := m.Config.Lockout
	if f.Has("lockout_threshold") {
		l.Threshold = f.Int("lockout_threshold")
	}
	if f.Has("lockout_duration") {
		l.Duration = f.Duration("lockout_duration")
	}
	if f.Has("lockout_counter_reset_duration") {
		l.CounterReset = f.Duration("lockout_counter_reset_duration")
	}
	l.Disabled = f.BoolOr("lockout_disable", l.Disabled)
	return nil
}

func (a mountAPI) disable(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return nil, a.b.Disable(ctx, a.kind, a.path(f))
}

func (a mountAPI) readTuning(_ context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	m := a.b.Mount(a.path(f))
	if m == nil {
		return nil, errs.New(errs.Invalid, "cannot fetch sysview for path %q", a.path(f))
	}
	def, max := a.b.TTLs(m)
	out := map[string]any{
		"default_lease_ttl": seconds(def), "max_lease_ttl": seconds(max), "description": m.Description,
		"force_no_cache": m.Config.ForceNoCache,
	}
	if len(m.Options) > 0 {
		out["options"] = m.Options
	}
	addLists(out, m)
	if l := m.Config.Lockout; l != nil {
		out["user_lockout_threshold"] = l.Threshold
		out["user_lockout_duration"] = seconds(l.Duration)
		out["user_lockout_counter_reset_duration"] = seconds(l.CounterReset)
		out["user_lockout_disable"] = l.Disabled
	}
	return both(out), nil
}

func (a mountAPI) tune(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	path, upgraded := a.path(f), false
	err := a.b.Tune(ctx, path, func(m *broker.Mount) (err error) {
		upgraded, err = tuned(m, f)
		return err
	})
	switch {
	case errs.CodeOf(err) == errs.NotFound:
		return nil, errs.New(errs.Invalid, "tune of path %q failed: no mount entry found", path)
	case err != nil || !upgraded:
		return nil, err
	}
	resp := &engine.Response{}
	resp.Warn(fmt.Sprintf("Upgrading mount %q from version 1 to version 2; reads and writes wait until it is done.", path))
	return resp, nil
}

// tuned changes the mount as a tune request asks, and reports whether kv goes from version 1 to 2.
func tuned(m *broker.Mount, f *engine.Fields) (upgraded bool, err error) {
	if m.Path == "sys/" || m.Path == "cubbyhole/" {
		for _, name := range givenNames(f) {
			if !strings.HasPrefix(name, "audit_non_hmac_") {
				return false, errs.New(errs.Invalid, "cannot tune parameter %s of %s", name, m.Path)
			}
		}
	}
	def, max := m.Config.DefaultTTL, m.Config.MaxTTL
	for name, limit := range map[string]*time.Duration{"default_lease_ttl": &def, "max_lease_ttl": &max} {
		if f.Has(name) {
			if *limit, err = ttl(f.Raw(name)); err != nil {
				return false, errs.New(errs.Invalid, "%s", err)
			}
		}
	}
	if max > 0 && def > max {
		return false, errs.New(errs.Invalid, "backend max lease TTL of %d would be less than backend default lease TTL of %d", seconds(max), seconds(def))
	}
	m.Config.DefaultTTL, m.Config.MaxTTL = def, max
	if f.Has("description") {
		m.Description = f.Text("description")
	}
	if err := setCommon(m, f); err != nil {
		return false, err
	}
	return setOptions(m, f.Map("options"))
}

// givenNames are the fields of the body, sorted.
func givenNames(f *engine.Fields) []string {
	var names []string
	for name := range f.All() {
		if name != "path" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func setOptions(m *broker.Mount, options map[string]string) (upgraded bool, err error) {
	if len(options) == 0 {
		return false, nil
	}
	if version, given := options["version"]; given {
		switch before := m.Options["version"]; {
		case m.Type != "kv":
			return false, errs.New(errs.Invalid, "secrets engine %q does not allow setting a version", m.Type)
		case checkVersion(version) != nil:
			return false, checkVersion(version)
		case before == "2" && version != "2":
			return false, errs.New(errs.Invalid, "cannot downgrade mount from version 2")
		default:
			upgraded = before != "2" && version == "2"
		}
	}
	if m.Options == nil {
		m.Options = map[string]string{}
	}
	for name, value := range options {
		m.Options[name] = value
	}
	return upgraded, nil
}

package broker

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"leasehold/engine"
)

// Kind is the family of a mount.
type Kind string

// Secrets engines are mounted anywhere, auth methods below "auth/".
const (
	Secret Kind = "secret"
	Auth   Kind = "auth"
)

// Prefix is what the paths of the family's mounts begin with.
func (k Kind) Prefix() string {
	if k == Auth {
		return "auth/"
	}
	return ""
}

// Mount is one entry of the mount table. It is never changed once it is in a snapshot; a change makes another.
type Mount struct {
	UUID        string // chosen once; the key of the engine's rows
	Path        string // with a trailing slash; auth methods begin with "auth/"
	Kind        Kind
	Type        string // what [Config.Engines] or [Config.AuthMethods] knows the engine by
	Accessor    string // TYPE_ and 8 hex digits; auth methods auth_TYPE_
	Description string
	Local       bool // kept and shown; without replication it changes nothing
	SealWrap    bool // kept and shown; every value is sealed in any case
	Entropy     bool // external_entropy_access: kept and shown
	Options     map[string]string
	Config      MountConfig

	state    string // stateLive and so on
	targetAt string // the path a moving mount goes to
}

// MountConfig is what sys/mounts/PATH/tune changes. A zero TTL is the system's.
type MountConfig struct {
	DefaultTTL      time.Duration `json:",omitempty"`
	MaxTTL          time.Duration `json:",omitempty"`
	ForceNoCache    bool          `json:",omitempty"` // kept and shown
	Visibility      string        `json:",omitempty"` // listing_visibility: "", "hidden", "unauth"
	AuditRequest    []string      `json:",omitempty"` // keys of request data that audit entries show
	AuditResponse   []string      `json:",omitempty"` // the same of response data
	RequestHeaders  []string      `json:",omitempty"` // passthrough_request_headers
	ResponseHeaders []string      `json:",omitempty"` // allowed_response_headers
	TokenType       string        `json:",omitempty"` // auth methods only
	Lockout         *Lockout      `json:",omitempty"` // auth methods only
}

// Lockout is an auth method's user_lockout_config.
type Lockout struct {
	Threshold    int
	Duration     time.Duration
	CounterReset time.Duration
	Disabled     bool
}

// The states of a mount. One that is not live answers no requests; its path is still taken.
const (
	stateLive     = "live"
	stateRetiring = "retiring" // being disabled: leases, then rows, then the entry go
	stateMoving   = "moving"   // being moved: leases go, then the path changes
)

// details is the sealed part of a mount's row.
type details struct {
	Description string            `json:",omitempty"`
	Local       bool              `json:",omitempty"`
	SealWrap    bool              `json:",omitempty"`
	Entropy     bool              `json:",omitempty"`
	Options     map[string]string `json:",omitempty"`
	HasOptions  bool              `json:",omitempty"` // an empty set of options is not the same as none
	Config      MountConfig
}

func (m *Mount) encode() ([]byte, error) {
	return json.Marshal(details{m.Description, m.Local, m.SealWrap, m.Entropy, m.Options, m.Options != nil, m.Config})
}

func (m *Mount) decode(plain []byte) error {
	var d details
	if err := json.Unmarshal(plain, &d); err != nil {
		return err
	}
	m.Description, m.Local, m.SealWrap, m.Entropy, m.Options, m.Config = d.Description, d.Local, d.SealWrap, d.Entropy, d.Options, d.Config
	if d.HasOptions && m.Options == nil {
		m.Options = map[string]string{}
	}
	return nil
}

// clone is a deep copy that may be changed.
func (m *Mount) clone() *Mount {
	c := *m
	c.Options = maps.Clone(m.Options)
	c.Config.AuditRequest = slices.Clone(m.Config.AuditRequest)
	c.Config.AuditResponse = slices.Clone(m.Config.AuditResponse)
	c.Config.RequestHeaders = slices.Clone(m.Config.RequestHeaders)
	c.Config.ResponseHeaders = slices.Clone(m.Config.ResponseHeaders)
	if m.Config.Lockout != nil {
		lockout := *m.Config.Lockout
		c.Config.Lockout = &lockout
	}
	return &c
}

// Name is the path as the API of its family shows it: without "auth/".
func (m *Mount) Name() string { return strings.TrimPrefix(m.Path, m.Kind.Prefix()) }

// TTLs are the effective default and maximum lifetime of what the mount issues: the system's where it has none.
func (b *Broker) TTLs(m *Mount) (def, max time.Duration) {
	def, max = m.Config.DefaultTTL, m.Config.MaxTTL
	if def == 0 {
		def = b.cfg.DefaultTTL
	}
	if max == 0 {
		max = b.cfg.MaxTTL
	}
	return min(def, max), max
}

// view is the mount as engines see it.
func (b *Broker) view(m *Mount) engine.Mount {
	def, max := b.TTLs(m)
	return engine.Mount{
		UUID: m.UUID, Path: m.Path, Type: m.Type, Accessor: m.Accessor, Options: m.Options,
		DefaultTTL: def, MaxTTL: max, TokenType: m.Config.TokenType,
	}
}

// overlaps reports whether two mount paths are the same, or one is above the other.
func overlaps(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }

// routes finds mounts by path. Since mounts never lie inside one another, the first one met from the left is the only
// one, and so the longest.
type routes map[string]*Mount

// find returns the mount that holds path, and the rest of path below it. A path that lacks only the mount's trailing
// slash is the mount itself.
func (t routes) find(path string) (*Mount, string) {
	for end := 0; ; {
		slash := strings.IndexByte(path[end:], '/')
		if slash < 0 {
			break
		}
		end += slash + 1
		if m := t[path[:end]]; m != nil {
			return m, path[end:]
		}
	}
	if path != "" && !strings.HasSuffix(path, "/") {
		return t[path+"/"], ""
	}
	return nil, ""
}

package broker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"leasehold/audit"
	"leasehold/auth"
	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/lease"
	"leasehold/store"
	"leasehold/store/seal"
)

// defaultTTL is the system's default and maximum lifetime of leases and tokens where the configuration names none.
const defaultTTL = 768 * time.Hour

// Settings are choices of the server's configuration that change what the API allows.
type Settings struct {
	APIAudit                    bool // audit devices may be enabled through the API
	AuditPrefix                 bool // audit devices may have a prefix
	UnauthenticatedRekey        bool // sys/rekey/* needs no token
	UnauthenticatedGenerateRoot bool // sys/generate-root/* needs no token
}

// Config makes a Broker. Everything is required but what says otherwise.
type Config struct {
	Store   *store.Store
	Barrier *seal.Barrier
	Tokens  *auth.Store
	Leases  *lease.Manager

	// Engines and AuthMethods are the engines by type of mount. Cubbyhole and identity are mounted from the start, and
	// answer "unsupported path" while they have no engine here; token must be there.
	Engines     map[string]engine.Engine
	AuthMethods map[string]engine.Engine
	// Cubbyhole keeps wrapped answers with their tokens: the engine that Engines has for the type of that name.
	Cubbyhole Cubbyhole
	// System makes the engine behind sys/*, which asks the broker for what it does.
	System func(*Broker) engine.Engine

	DefaultTTL  time.Duration  // of leases and tokens; 0: 768 h
	MaxTTL      time.Duration  // 0: 768 h
	ClusterName string         // of a store that is initialised; empty: made of the cluster's id
	APIAddr     string         // the URL that clients use for this node; may be empty
	ClusterAddr string         // shown beside it; may be empty
	Version     string         // the program's
	Sanitized   map[string]any // what sys/config/state/sanitized shows; may be nil
	Settings    Settings
	Clock       clock.Clock

	// Nodes are the processes that serve the store. Nil: this one is the only one that is known.
	Nodes func(ctx context.Context) ([]Node, error)

	Observer Observer
	Log      *slog.Logger // nil: nothing is logged
}

// Broker runs requests. Safe for concurrent use.
type Broker struct {
	cfg     Config
	store   *store.Store
	barrier *seal.Barrier
	tokens  *auth.Store
	leases  *lease.Manager
	clock   clock.Clock
	log     *slog.Logger
	system  engine.Engine

	snapshot atomic.Pointer[snapshot]
	opening  chan struct{} // holds an item while someone has the seal open the store

	audit     *audit.Broker
	audited   atomic.Int64      // the generation that the audit devices are of
	auditTurn chan struct{}     // holds an item while someone exchanges the devices
	devices   map[string]string // open devices: path to id; for who has the turn

	emptying sync.WaitGroup // hidden mounts that Reap took up

	mu           sync.Mutex
	rekey        *rekey      // guarded by mu; nil: none under way
	root         *generation // guarded by mu; nil: none under way
	rotationSeen time.Time   // guarded by mu: when the age of the data key was last looked at
}

// New checks the configuration and makes a Broker. It reads nothing from the store.
func New(cfg Config) (*Broker, error) {
	switch {
	case cfg.Store == nil, cfg.Barrier == nil, cfg.Tokens == nil, cfg.Leases == nil, cfg.Cubbyhole == nil, cfg.System == nil,
		cfg.Clock == nil:
		return nil, errors.New("broker: Store, Barrier, Tokens, Leases, Cubbyhole, System and Clock are required")
	case cfg.AuthMethods["token"] == nil:
		return nil, errors.New("broker: AuthMethods has no engine for \"token\"")
	}
	if cfg.DefaultTTL == 0 {
		cfg.DefaultTTL = defaultTTL
	}
	if cfg.MaxTTL == 0 {
		cfg.MaxTTL = defaultTTL
	}
	if cfg.DefaultTTL > cfg.MaxTTL {
		return nil, errors.New("broker: DefaultTTL is greater than MaxTTL")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	b := &Broker{
		cfg: cfg, store: cfg.Store, barrier: cfg.Barrier, tokens: cfg.Tokens, leases: cfg.Leases, clock: cfg.Clock, log: cfg.Log,
		audit: audit.NewBroker(cfg.Log.With("logger", "audit")), auditTurn: make(chan struct{}, 1), opening: make(chan struct{}, 1),
		devices: map[string]string{},
	}
	b.system = cfg.System(b)
	return b, nil
}

// Settings are those of the configuration.
func (b *Broker) Settings() Settings { return b.cfg.Settings }

// Sanitized are the server's settings as clients may see them. Do not change the map.
func (b *Broker) Sanitized() map[string]any { return b.cfg.Sanitized }

// Now is the clock's time.
func (b *Broker) Now() time.Time { return b.clock.Now() }

// engineOf is the engine that serves the mount; nil when this program has none.
func (b *Broker) engineOf(m *Mount) engine.Engine {
	switch {
	case m.Kind == Auth:
		return b.cfg.AuthMethods[m.Type]
	case m.Type == "system":
		return b.system
	default:
		return b.cfg.Engines[m.Type]
	}
}

// Mounts are the live mounts of a family, by path.
func (b *Broker) Mounts(kind Kind) []*Mount {
	var out []*Mount
	for _, m := range b.held().mounts {
		if m.Kind == kind && m.state == stateLive {
			out = append(out, m)
		}
	}
	return out
}

// Mount is the live mount at path, or nil.
func (b *Broker) Mount(path string) *Mount { return b.held().routes[path] }

// MountAt is the live mount that holds path, or nil.
func (b *Broker) MountAt(path string) *Mount {
	m, _ := b.held().routes.find(path)
	return m
}

// MountTTL is the default and maximum lifetime of what a mount issues, as this node last saw it.
func (b *Broker) MountTTL(mountUUID string) (def, max time.Duration) {
	if m := b.held().byUUID[mountUUID]; m != nil {
		return b.TTLs(m)
	}
	return b.cfg.DefaultTTL, b.cfg.MaxTTL
}

// TokenPolicies are the policies of a token, and whether it is alive.
func (b *Broker) TokenPolicies(ctx context.Context, token secret.Text) (policies []string, found bool, err error) {
	t, found, err := b.tokens.Lookup(ctx, token)
	return t.Policies, found, err
}

// AccessorPolicies are the policies of the token with an accessor, and whether it is alive.
func (b *Broker) AccessorPolicies(ctx context.Context, accessor string) (policies []string, found bool, err error) {
	t, found, err := b.tokens.LookupAccessor(ctx, accessor)
	return t.Policies, found, err
}

// CountTokens is how many service tokens there are.
func (b *Broker) CountTokens(ctx context.Context) (int64, error) { return b.tokens.Count(ctx) }

// RenewLogin asks the auth method below which path lies whether a login may go on, and returns its mount. The method may
// change l to what its role says now.
//
// Errors: Invalid (the method is gone, or refuses).
func (b *Broker) RenewLogin(ctx context.Context, path string, l *engine.Login) (engine.Mount, error) {
	m := b.MountAt(path)
	if m == nil || m.Kind != Auth {
		return engine.Mount{}, errs.New(errs.Invalid, "the auth method of this token is gone")
	}
	view := b.view(m)
	if renewer, ok := b.engineOf(m).(engine.LoginRenewer); ok {
		return view, renewer.RenewLogin(ctx, view, l)
	}
	return view, nil
}

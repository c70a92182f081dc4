package broker

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"leasehold/auth"
	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/policy"
	"leasehold/store"
	"leasehold/store/seal"
)

// errSealed answers everything that needs the store's keys while there are none.
var errSealed = errs.New(errs.Sealed, "leasehold is sealed")

// Status is what anyone may know about the server. The cluster's name and id are empty while it is sealed.
type Status struct {
	seal.Status
	ClusterName string
	ClusterID   string
}

// Initialize makes a new store's keys, root token, mounts and default policy in one transaction, and leaves it sealed. The
// shares are those of the unseal key; where the configured seal opens the store by itself, of the recovery key.
//
// Errors: Invalid (the parameters, the store is initialised already), Unavailable (the configured seal).
func (b *Broker) Initialize(ctx context.Context, p seal.Params) (shares []secret.Bytes, root secret.Text, err error) {
	return b.initialize(ctx, p, auth.Root())
}

// InitializeDev is Initialize for a server that is there to be tried out: one share, a root token of the given text
// (empty: a random one) that looks as if it had been created through the API, and the store is open afterwards.
func (b *Broker) InitializeDev(ctx context.Context, rootID secret.Text) (share secret.Bytes, root secret.Text, err error) {
	spec := auth.Root()
	spec.ID, spec.Path, spec.DisplayName = rootID, "auth/token/create", "token"
	shares, root, err := b.initialize(ctx, seal.Params{Shares: 1, Threshold: 1}, spec)
	if err != nil {
		return secret.Bytes{}, secret.Text{}, err
	}
	_, err = b.Unseal(ctx, shares[0].Reveal())
	return shares[0], root, err
}

func (b *Broker) initialize(ctx context.Context, p seal.Params, spec auth.Spec) (shares []secret.Bytes, root secret.Text, err error) {
	if err := p.Validate(); err != nil {
		what := "seal"
		if b.barrier.Alone() {
			what = "recovery"
		}
		return nil, secret.Text{}, errs.New(errs.Invalid, "invalid %s configuration: %s", what, err)
	}
	shares, err = b.barrier.Initialize(ctx, p, func(tx *store.Tx) error {
		root, err = b.seed(tx, spec)
		return err
	})
	if err != nil {
		return nil, secret.Text{}, fmt.Errorf("initialize: %w", err)
	}
	return shares, root, nil
}

// seed writes what a new store begins with.
func (b *Broker) seed(tx *store.Tx, spec auth.Spec) (root secret.Text, err error) {
	if _, err := tx.Exec(insertGeneration); err != nil {
		return secret.Text{}, fmt.Errorf("begin the generations: %w", err)
	}
	for _, m := range builtin() {
		m.UUID, m.Accessor = uuid.NewString(), newAccessor(m)
		if err := insertMountTx(tx, m); err != nil {
			return secret.Text{}, fmt.Errorf("mount %q: %w", m.Path, err)
		}
	}
	if err := putPolicyTx(tx, policy.DefaultName, policy.DefaultText); err != nil {
		return secret.Text{}, err
	}
	id := uuid.NewString()
	name := b.cfg.ClusterName
	if name == "" {
		name = "leasehold-cluster-" + id[:8]
	}
	if err := putSettingTx(tx, settingCluster, "", cluster{ID: id, Name: name}); err != nil {
		return secret.Text{}, err
	}
	_, root, err = b.tokens.CreateTx(tx, spec)
	return root, err
}

// Sealed reports whether the store has no keys. It reads nothing.
func (b *Broker) Sealed() bool { return !b.store.Unlocked() }

// SealStatus says how the server stands. It needs no token.
func (b *Broker) SealStatus(ctx context.Context) (Status, error) {
	s, err := b.barrier.Status(ctx)
	return b.status(s), err
}

func (b *Broker) status(s seal.Status) Status {
	if s.Sealed {
		return Status{Status: s}
	}
	c := b.held().cluster
	return Status{s, c.Name, c.ID}
}

// DecodeShare reads an unseal share: hex when it is that and of a possible length, else base64.
//
// Errors: Invalid. Wire: sys/unseal, sys/rekey/update, sys/generate-root/update.
func DecodeShare(text string) ([]byte, error) {
	const shortest, longest = 16, 33
	if share, err := hex.DecodeString(text); err == nil && len(share) >= shortest && len(share) <= longest {
		return share, nil
	}
	share, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errs.New(errs.Invalid, "'key' must be a valid hex or base64 string")
	}
	return share, nil
}

// Unseal takes one share; at the threshold the store opens. It needs no token.
//
// Errors: Invalid (the shares do not make the key, which resets progress; not initialised; a change of the seal is waited
// for), Unavailable (a seal that opens by itself, and was asked to after the recovery shares).
func (b *Broker) Unseal(ctx context.Context, share []byte) (Status, error) {
	return b.unseal(ctx, share, b.barrier.Unseal)
}

// MigrateSeal is Unseal for a store that has another seal than the configured one, and puts that in force.
//
// Errors: those of Unseal; Invalid (there is no other seal to change from), Conflict (another node was faster).
func (b *Broker) MigrateSeal(ctx context.Context, share []byte) (Status, error) {
	return b.unseal(ctx, share, b.barrier.Migrate)
}

func (b *Broker) unseal(ctx context.Context, share []byte, take func(context.Context, []byte) (seal.Status, error)) (Status, error) {
	wasOpen := b.store.Unlocked()
	s, err := take(ctx, share)
	if errors.Is(err, seal.ErrInvalidKey) {
		b.barrier.ResetUnseal() // also after a share that cannot be one: whoever has the others begins anew
	}
	if err != nil {
		return Status{}, err
	}
	if !s.Sealed && !wasOpen {
		if err := b.opened(ctx); err != nil {
			return Status{}, err
		}
	}
	return b.status(s), nil
}

const (
	insertVersion  = `insert into versions (version, installed_at) values ($1, $2) on conflict (version) do nothing`
	selectVersions = `select version, installed_at from versions order by installed_at, version`
)

// opened reads the configuration of a store that has just been unsealed. When that fails it is sealed again: nothing is
// served from a store whose configuration cannot be read.
func (b *Broker) opened(ctx context.Context) error {
	err := b.store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(insertVersion, b.cfg.Version, store.Micros(tx.Now()))
		return err
	})
	if err == nil {
		err = b.refresh(ctx)
	}
	if err != nil {
		b.SealNow()
		return fmt.Errorf("open the configuration: %w", err)
	}
	return nil
}

// refresh loads the configuration when there is a newer one.
func (b *Broker) refresh(ctx context.Context) error {
	var s *snapshot
	err := b.store.View(ctx, func(tx *store.Tx) (err error) {
		s, err = b.current(tx)
		return err
	})
	if err != nil {
		return err
	}
	return b.openDevices(ctx, s)
}

// Version is a version of the program that has opened the store.
type Version struct {
	Name        string
	InstalledAt time.Time // when it first did
}

// Versions are those that have opened the store, oldest first.
func (b *Broker) Versions(ctx context.Context) (all []Version, err error) {
	err = b.store.View(ctx, func(tx *store.Tx) error {
		all, err = collect(tx, func(scan func(...any) error) (Version, error) {
			var v Version
			var at int64
			err := scan(&v.Name, &at)
			v.InstalledAt = store.Time(at)
			return v, err
		}, selectVersions)
		return err
	})
	return all, err
}

// ResetUnseal forgets the shares given so far. It needs no token.
//
// Errors: Invalid (the store is open).
func (b *Broker) ResetUnseal(ctx context.Context) (Status, error) {
	if b.store.Unlocked() {
		return Status{}, errs.New(errs.Invalid, "vault is unsealed")
	}
	b.barrier.ResetUnseal()
	return b.SealStatus(ctx)
}

// SealNow takes the keys from memory without asking anybody. For the end of the process, and for faults: a seal that opens
// by itself may open the store again.
func (b *Broker) SealNow() {
	b.barrier.Seal()
	b.forget()
}

// hold is SealNow by an operator: the store stays sealed until shares open it, or the process is started again.
func (b *Broker) hold() {
	b.barrier.Hold()
	b.forget()
}

// forget drops what is in memory of an open store.
func (b *Broker) forget() {
	b.snapshot.Store(nil)
	for _, e := range b.cfg.Engines {
		if f, ok := e.(engine.Forgetter); ok {
			f.Forget()
		}
	}
	b.closeDevices()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rekey, b.root = nil, nil
}

// KeyStatus is the number of the newest data key, when it was added, and how many values this process has sealed since
// it was unsealed.
func (b *Broker) KeyStatus(ctx context.Context) (term int, installed time.Time, encryptions int64, err error) {
	return b.barrier.KeyStatus(ctx)
}

// RotateKey adds a data key, which seals from now on, on every node.
func (b *Broker) RotateKey(ctx context.Context) error {
	if err := b.barrier.Rotate(ctx); err != nil {
		return err
	}
	// Crash: the key is there; the other nodes take it over when they meet it, or with the next change of the configuration.
	if err := b.store.Update(ctx, bump); err != nil {
		return fmt.Errorf("tell the other nodes of the new data key: %w", err)
	}
	return nil
}

// rotationPause is how often the age of the data key is looked at.
const rotationPause = time.Minute

// rotateDue adds a data key when sys/rotate/config asks for it. Two nodes that do so at once add two: that does no harm.
func (b *Broker) rotateDue(ctx context.Context) error {
	now := b.clock.Now()
	b.mu.Lock()
	seen := b.rotationSeen
	if now.Sub(seen) >= rotationPause {
		b.rotationSeen = now
	}
	b.mu.Unlock()
	if now.Sub(seen) < rotationPause {
		return nil
	}
	var r Rotation
	found, err := b.Setting(ctx, SettingRotation, "", &r)
	if err != nil || !found || !r.Enabled || r.Interval == 0 {
		return err
	}
	_, installed, _, err := b.KeyStatus(ctx)
	if err != nil || now.Sub(installed) < r.Interval {
		return err
	}
	return b.RotateKey(ctx)
}

// Reap starts what is due: leases, tokens, mounts left half-way, the data key. It is to be called often, such as once a
// second, and at once when leases or tokens wake the caller. Work at targets goes on behind it until ctx is done; [Broker.Wait]
// returns after that. It does nothing while the store is sealed.
func (b *Broker) Reap(ctx context.Context) error {
	if !b.store.Unlocked() {
		return nil
	}
	err := errors.Join(
		b.refresh(ctx),        // so that idle nodes follow the others, too
		b.tokens.RunOnce(ctx), // before leases: dead tokens make them due
		b.leases.Reap(ctx),
		b.finishDue(ctx),
		b.rotateDue(ctx),
		b.dutiesDue(ctx),
	)
	if errors.Is(err, store.ErrSealed) {
		return nil // sealed meanwhile; what was claimed is due again
	}
	return err
}

// dutiesDue lets the engines do what they have to do by themselves.
func (b *Broker) dutiesDue(ctx context.Context) error {
	var failed []error
	for _, e := range b.cfg.Engines {
		if duty, ok := e.(engine.Duty); ok {
			failed = append(failed, duty.RunOnce(ctx))
		}
	}
	return errors.Join(failed...)
}

// Wait returns when nothing that Reap started is going on.
func (b *Broker) Wait() {
	b.leases.Wait()
	b.emptying.Wait()
}

// NextDue is when Reap has something to do, as far as rows tell; false: nothing is known to come.
func (b *Broker) NextDue(ctx context.Context) (at time.Time, ok bool, err error) {
	if !b.store.Unlocked() {
		return time.Time{}, false, nil
	}
	at, ok, err = b.leases.NextDue(ctx)
	if err != nil {
		return time.Time{}, false, err
	}
	tokens, due, err := b.tokens.NextDue(ctx)
	if due && (!ok || tokens.Before(at)) {
		at, ok = tokens, true
	}
	return at, ok, err
}

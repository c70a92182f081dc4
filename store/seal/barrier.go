package seal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"leasehold/internal/secret"
	"leasehold/store"
	"leasehold/store/keyring"
)

// Barrier seals and unseals one store. Safe for concurrent use.
type Barrier struct {
	store *store.Store
	log   *slog.Logger
	seals Seals // does not change once the barrier is used

	beforeOpen func(context.Context) error // nil: nothing is to be done; does not change once the barrier is used

	mu        sync.Mutex
	given     parts     // guarded by mu: shares towards unsealing
	nonce     string    // guarded by mu: names the present unsealing
	root      *rootKey  // guarded by mu: nil while sealed
	threshold int       // guarded by mu: as last read
	openedAt  time.Time // guarded by mu
	held      bool      // guarded by mu: sealed by hand, and not to be opened without shares
	former    bool      // guarded by mu: a former Wrapper opened the store
}

type rootKey = [keyring.KeySize]byte

// New makes the barrier of a store, with Shamir's seal. It reads nothing.
func New(st *store.Store, log *slog.Logger) *Barrier {
	b := &Barrier{store: st, log: log}
	st.OnUnknownKey(b.reload)
	return b
}

// Use sets the seals of the configuration. Call it before anything else.
func (b *Barrier) Use(seals Seals) { b.seals = seals }

// Alone says that the configured seal opens the store without people.
func (b *Barrier) Alone() bool { return b.seals.Current != nil }

// Status says how the seal stands.
func (b *Barrier) Status(ctx context.Context) (Status, error) {
	r, err := b.read(ctx)
	if errors.Is(err, ErrNotInitialized) {
		return Status{Type: b.seals.kind(), Sealed: true, Recovery: b.Alone()}, nil
	}
	if err != nil {
		return Status{}, err
	}
	return b.status(r), nil
}

func (b *Barrier) status(r *row) Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Status{
		Type:        r.kind,
		Initialized: true,
		Sealed:      !b.store.Unlocked(),
		Threshold:   r.Threshold,
		Shares:      r.Shares,
		Progress:    len(b.given),
		Nonce:       b.nonce,
	}
	if s.Sealed && b.moving(r) {
		s.Type, s.Migration = b.seals.kind(), true
	}
	s.Recovery = s.Type != Shamir
	return s
}

// Initialize makes the keys of a new store and returns the shares of its unseal key, or, where the configured seal opens the
// store by itself, of its recovery key. seed writes what a new store begins with; it can seal and open cells though the store
// itself stays locked. All is one transaction.
//
// Errors: ErrInitialized, those of Params.Validate and of the Wrapper, and seed's.
//
// Crash: after the commit the shares are lost with the process, and the new, useless store is to be made anew.
func (b *Barrier) Initialize(ctx context.Context, p Params, seed func(tx *store.Tx) error) ([]secret.Bytes, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	root := new(rootKey)
	defer clear(root[:])
	_, _ = rand.Read(root[:]) // never fails: the runtime ends the process when the system has no randomness
	key, shares, err := newSharedKey(p)
	if err != nil {
		return nil, err
	}
	defer key.wipe()
	r := &row{kind: b.seals.kind(), Params: p}
	if err = b.fill(ctx, r, root, key); err == nil {
		err = b.store.Update(ctx, func(tx *store.Tx) error {
			if err := r.insert(tx); err != nil {
				return err
			}
			k := keyring.New(tx.Now())
			defer k.Wipe()
			if err := b.saveKeyring(tx, root, k); err != nil {
				return err
			}
			tx.UseKeyring(k)
			return seed(tx)
		})
	}
	if err != nil {
		wipeShares(shares)
		return nil, err
	}
	return shares, nil
}

func wipeShares(shares []secret.Bytes) {
	for _, share := range shares {
		share.Wipe()
	}
}

// Unseal takes one share. A share given twice counts once. At the threshold the shares are combined and forgotten: the
// store is open, or the error is ErrInvalidKey and progress starts over. A share of an impossible size is ErrInvalidKey
// too, and leaves progress as it is. An open store stays as it is.
//
// Where a Wrapper opens the store the shares are those of the recovery key: they open it again after it was sealed by hand,
// with the Wrapper's help.
//
// Errors: ErrInvalidKey, ErrNotInitialized, ErrMoving, those of the Wrapper.
func (b *Barrier) Unseal(ctx context.Context, share []byte) (Status, error) {
	return b.take(ctx, share, false)
}

// Migrate is Unseal for a store that has another seal than the configured one. At the threshold the configured seal takes
// the former one's place, and the store is open.
//
// Errors: ErrInvalidKey, ErrNotInitialized, ErrNotMoving, ErrChanged, those of both Wrappers.
func (b *Barrier) Migrate(ctx context.Context, share []byte) (Status, error) {
	return b.take(ctx, share, true)
}

func (b *Barrier) take(ctx context.Context, share []byte, migrate bool) (Status, error) {
	r, err := b.read(ctx)
	if err != nil {
		return Status{}, err
	}
	if b.store.Unlocked() {
		return b.status(r), nil
	}
	switch moving := b.moving(r); {
	case migrate && !moving:
		return Status{}, ErrNotMoving
	case moving && !migrate:
		return Status{}, ErrMoving
	case len(share) != r.shareSize():
		return Status{}, ErrInvalidKey
	}
	given := b.give(share, r.Threshold)
	defer given.wipe()
	if len(given) < r.Threshold {
		return b.status(r), nil
	}
	key, err := combine(r.Params, given)
	if err != nil {
		return Status{}, err
	}
	defer key.wipe()
	root, former, err := b.rootOf(ctx, r, key)
	if err != nil {
		return Status{}, err
	}
	if migrate {
		former = false
		if r, err = b.move(ctx, r, root, key); err != nil {
			clear(root[:])
			return Status{}, err
		}
	}
	if err := b.open(ctx, root, opening{former: former}); err != nil {
		return Status{}, err
	}
	return b.status(r), nil
}

// give adds a share. Once there are threshold of them it takes them all out and returns them.
func (b *Barrier) give(share []byte, threshold int) parts {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.given.add(share)
	if len(b.given) < threshold {
		if b.nonce == "" {
			b.nonce = uuid.NewString()
		}
		return nil
	}
	given := b.given
	b.given, b.nonce = nil, ""
	return given
}

// opening is how the root key was got at.
type opening struct {
	alone  bool // without people
	former bool // by a former Wrapper
}

// open loads the keyring and unlocks the store. It owns root.
func (b *Barrier) open(ctx context.Context, root *rootKey, how opening) error {
	if b.beforeOpen != nil && !b.store.Unlocked() {
		if err := b.beforeOpen(ctx); err != nil {
			clear(root[:])
			return fmt.Errorf("before the store is opened: %w", err)
		}
	}
	var k *keyring.Keyring
	err := b.store.View(ctx, func(tx *store.Tx) error {
		var err error
		k, err = b.loadKeyring(tx, root)
		return err
	})
	if err != nil {
		clear(root[:])
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.root != nil || how.alone && b.held { // another caller was faster, with opening or with sealing
		clear(root[:])
		k.Wipe()
		return nil
	}
	b.root, b.openedAt, b.former, b.held = root, b.store.Clock().Now(), how.former, false
	b.store.Unlock(k)
	b.log.Info("unsealed")
	return nil
}

// BeforeOpen sets what is to be done each time before the store's keys are there, and thus before anything is served or reaped.
// Its error leaves the store sealed. Call it before the barrier is used.
func (b *Barrier) BeforeOpen(do func(context.Context) error) { b.beforeOpen = do }

// OpenedAt is when the store was opened; before that, when it was the last time.
func (b *Barrier) OpenedAt() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.openedAt
}

// ResetUnseal forgets the shares given so far.
func (b *Barrier) ResetUnseal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgetLocked()
}

func (b *Barrier) forgetLocked() {
	b.given.wipe()
	b.nonce = ""
}

// Seal locks the store and wipes the keys. A sealed store stays as it is.
func (b *Barrier) Seal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sealLocked()
}

// Hold is Seal by hand: the store stays sealed until shares open it, or the process is started again.
func (b *Barrier) Hold() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = true
	b.sealLocked()
}

func (b *Barrier) heldClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held
}

func (b *Barrier) sealLocked() {
	b.forgetLocked()
	b.store.Lock()
	if b.root != nil {
		clear(b.root[:])
		b.root = nil
		b.log.Info("sealed")
	}
}

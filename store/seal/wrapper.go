package seal

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"

	"leasehold/internal/errs"
	"leasehold/internal/failpoint"
	"leasehold/store/keyring"
)

// Wrapper keeps a key for the store by wrapping it with one that the store never sees: it opens the store without people.
// Packages static and transit have some. Safe for concurrent use.
//
// The key that is wrapped is a random one, made for this. It opens the root key's envelope, which is bound to the store; so a
// Wrapper alone, or what it made in another store, opens nothing.
type Wrapper interface {
	// Type is the word of the configuration, such as "static". It is what the store remembers.
	Type() string
	// Wrap makes what Unwrap takes.
	Wrap(ctx context.Context, key []byte) (wrapped []byte, err error)
	// Unwrap gives back a wrapped key, for the caller to wipe. Errors tell the operator why, and hold no secret.
	Unwrap(ctx context.Context, wrapped []byte) (key []byte, err error)
	// Stale says that the key would now be wrapped by a newer key than it is.
	Stale(ctx context.Context, wrapped []byte) (bool, error)
}

// Seals are the seals of the configuration. The zero value is Shamir's.
type Seals struct {
	Current Wrapper   // the one that is to be in force; nil: Shamir's
	Former  []Wrapper // those that the store may be moved away from
}

// kind is the kind of seal that is to be in force.
func (s Seals) kind() string {
	if s.Current == nil {
		return Shamir
	}
	return s.Current.Type()
}

// of are the seals of a kind, the current one first.
func (s Seals) of(kind string) []Wrapper {
	var all []Wrapper
	if s.Current != nil && s.Current.Type() == kind {
		all = append(all, s.Current)
	}
	for _, w := range s.Former {
		if w.Type() == kind {
			all = append(all, w)
		}
	}
	return all
}

// wrapRoot puts the root key under a new key, and that under w.
//
// It is not called inside a transaction: w may be another system. Crash: nothing is changed, and what w made is lost.
func (b *Barrier) wrapRoot(ctx context.Context, w Wrapper, root *rootKey) (under, wrapping []byte, err error) {
	key := new([keyring.KeySize]byte)
	defer clear(key[:])
	_, _ = rand.Read(key[:]) // never fails: the runtime ends the process when the system has no randomness
	if wrapping, err = w.Wrap(ctx, key[:]); err != nil {
		return nil, nil, atFault(w, err)
	}
	// What cannot be unwrapped, such as by a token that may encrypt alone, must not take the place of what can.
	back, err := w.Unwrap(ctx, wrapping)
	if err != nil {
		return nil, nil, atFault(w, fmt.Errorf("what it has wrapped cannot be unwrapped: %w", err))
	}
	defer clear(back)
	if subtle.ConstantTimeCompare(back, key[:]) != 1 {
		return nil, nil, atFault(w, errors.New("what it has wrapped unwraps to something else"))
	}
	return keyring.Wrap(key, b.rootPlace(), root[:]), wrapping, nil
}

// unwrapRoot gets the root key of a row that a Wrapper opens. former says that it was not the current one that did.
func (b *Barrier) unwrapRoot(ctx context.Context, r *row) (root *rootKey, former bool, err error) {
	seals := b.seals.of(r.kind)
	if len(seals) == 0 {
		return nil, false, errs.New(errs.Invalid, "the store is sealed by seal %q, which is not in the configuration: add its block, "+
			"with disabled = \"true\" to move away from it", r.kind)
	}
	var failed []error
	for _, w := range seals {
		if root, err = b.unwrapRootBy(ctx, w, r); err == nil {
			return root, w != b.seals.Current, nil
		}
		failed = append(failed, err)
	}
	return nil, false, errors.Join(failed...)
}

func (b *Barrier) unwrapRootBy(ctx context.Context, w Wrapper, r *row) (*rootKey, error) {
	plain, err := w.Unwrap(ctx, r.wrapping)
	if err != nil {
		return nil, atFault(w, err)
	}
	defer clear(plain)
	if len(plain) != keyring.KeySize {
		return nil, atFault(w, fmt.Errorf("it gave a key of %d bytes", len(plain)))
	}
	key := new([keyring.KeySize]byte)
	defer clear(key[:])
	copy(key[:], plain)
	root, err := b.openRoot(key, r.root)
	if err != nil {
		return nil, atFault(w, fmt.Errorf("the key that it gave does not open the root key: %w", err))
	}
	return root, nil
}

// atFault is the error of a Wrapper: clients learn that it is at fault, and the log why.
func atFault(w Wrapper, err error) error {
	return errs.New(errs.Unavailable, "seal %q did not do its part: the server's log says why", w.Type()).Because(err)
}

// openRoot opens the root key's envelope. Errors: keyring.ErrTampered.
func (b *Barrier) openRoot(key *[keyring.KeySize]byte, under []byte) (*rootKey, error) {
	plain, err := keyring.Unwrap(key, b.rootPlace(), under)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	if len(plain) != keyring.KeySize {
		return nil, keyring.ErrTampered
	}
	root := new(rootKey)
	copy(root[:], plain)
	return root, nil
}

// OpenAlone opens the store by its Wrapper, without anybody. It does nothing when the store is open, or was sealed by hand.
//
// Errors: ErrNotInitialized, ErrNeedsShares (Shamir's seal), ErrMoving (a change of the seal waits for its shares), and those of
// the Wrapper.
func (b *Barrier) OpenAlone(ctx context.Context) error {
	if b.store.Unlocked() || b.heldClosed() {
		return nil
	}
	r, err := b.read(ctx)
	switch {
	case err != nil:
		return err
	case b.moving(r):
		return ErrMoving
	case !r.auto():
		return ErrNeedsShares
	}
	root, former, err := b.unwrapRoot(ctx, r)
	if err != nil {
		return err
	}
	return b.open(ctx, root, opening{alone: true, former: former})
}

// Renew wraps the root key anew where the Wrapper has a newer key than it was wrapped with, or a former Wrapper of the same
// type opened it. Call it after the store was opened. Two nodes that do so at once: one does it, and the other's is void.
func (b *Barrier) Renew(ctx context.Context) error {
	w := b.seals.Current
	if w == nil {
		return nil
	}
	r, err := b.read(ctx)
	if err != nil || r.kind != w.Type() {
		return err
	}
	b.mu.Lock()
	stale := b.former
	b.mu.Unlock()
	if !stale {
		if stale, err = w.Stale(ctx, r.wrapping); err != nil || !stale {
			return err
		}
	}
	root, err := b.copyRoot()
	if err != nil {
		return err
	}
	defer clear(root[:])
	next := *r
	if next.root, next.wrapping, err = b.wrapRoot(ctx, w, root); err != nil {
		return err
	}
	failpoint.Hit("seal/renew/after-wrap")
	switch err := b.replace(ctx, &next); {
	case errors.Is(err, ErrChanged):
		return nil // by another node, which has wrapped the key anew or knows a reason to do something else
	case err != nil:
		return err
	}
	failpoint.Hit("seal/renew/after-commit")
	b.mu.Lock()
	b.former = false
	b.mu.Unlock()
	b.log.Info("the root key was wrapped anew", "seal", w.Type())
	return nil
}

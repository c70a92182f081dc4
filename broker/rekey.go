package broker

import (
	"context"
	"errors"
	"fmt"

	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/store/seal"
)

// SharedKey is which of the keys that people hold shares of is meant. A store has the one or the other.
type SharedKey int

const (
	UnsealKey   SharedKey = iota // opens the store
	RecoveryKey                  // stands for consent, where the seal opens the store by itself
)

func (k SharedKey) String() string {
	if k == RecoveryKey {
		return "recovery"
	}
	return "barrier"
}

// RekeyParams are what a rekey makes.
type RekeyParams struct {
	Key       SharedKey
	Shares    int
	Threshold int
	Verify    bool // the new shares count only once Threshold of them were given back
}

// Rekey is the progress of a change of the key that people hold shares of.
type Rekey struct {
	Nonce                string // names the operation; empty: none is under way
	Started              bool
	Shares, Threshold    int // of the new key; in a verification, too
	Progress             int // shares given
	Required             int // shares needed of the key in force
	VerificationRequired bool
	VerificationNonce    string // the new shares are being verified
	Complete             bool   // the new shares are in force
}

// rekey is the operation that is under way. Like the shares it collects it lives in this process alone. Its fields do
// not change; each step puts another value in its place.
type rekey struct {
	params RekeyParams
	given  *seal.Collector // shares in force
	staged *seal.Staged    // nil until enough were given
	check  *seal.Collector // new shares
}

func (o *rekey) state(required int) Rekey {
	r := Rekey{
		Nonce: o.given.Nonce(), Started: true, Shares: o.params.Shares, Threshold: o.params.Threshold, Progress: o.given.Progress(),
		Required: required, VerificationRequired: o.params.Verify,
	}
	if o.check != nil {
		r.VerificationNonce, r.Progress = o.check.Nonce(), o.check.Progress()
	}
	return r
}

func (b *Broker) rekeyUnderWay() *rekey {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rekey
}

// advance puts the next step in the place of this one, unless the operation was cancelled or another caller was faster.
func (b *Broker) advance(from, to *rekey) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rekey != from {
		return false
	}
	b.rekey = to
	return true
}

// required is how many shares in force are needed.
func (b *Broker) required(ctx context.Context) (int, error) {
	s, err := b.barrier.Status(ctx)
	return s.Threshold, err
}

// requiredOf is required for a store whose people hold shares of key. Errors: Invalid (they hold shares of the other one).
func (b *Broker) requiredOf(ctx context.Context, key SharedKey) (int, error) {
	s, err := b.barrier.Status(ctx)
	switch {
	case err != nil:
		return 0, err
	case key == RecoveryKey && !s.Recovery:
		return 0, errs.New(errs.Invalid, "recovery rekeying not supported: this store has unseal keys")
	case key == UnsealKey && s.Recovery:
		return 0, errs.New(errs.Invalid, "rekeying of unseal keys not supported: this store opens by itself and has recovery keys")
	}
	return s.Threshold, nil
}

// RekeyStatus is the progress so far. Errors: Invalid (the store has no such key).
func (b *Broker) RekeyStatus(ctx context.Context, key SharedKey) (Rekey, error) {
	required, err := b.requiredOf(ctx, key)
	if err != nil {
		return Rekey{}, err
	}
	if o := b.rekeyUnderWay(); o != nil {
		return o.state(required), nil
	}
	return Rekey{Required: required}, nil
}

// StartRekey begins to collect shares. Errors: Invalid (one is under way, the store has no such key), Fault (the parameters; the
// wire's own status).
func (b *Broker) StartRekey(ctx context.Context, p RekeyParams) (Rekey, error) {
	if _, err := b.requiredOf(ctx, p.Key); err != nil {
		return Rekey{}, err
	}
	if err := (seal.Params{Shares: p.Shares, Threshold: p.Threshold}).Validate(); err != nil {
		return Rekey{}, errs.New(errs.Fault, "invalid rekey seal configuration: %s", err)
	}
	if !b.advance(nil, &rekey{params: p, given: b.barrier.NewCollector()}) {
		return Rekey{}, errs.New(errs.Invalid, "rekey already in progress")
	}
	return b.RekeyStatus(ctx, p.Key)
}

// CancelRekey forgets the operation. New shares that were not verified are void.
func (b *Broker) CancelRekey() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rekey = nil
}

func errNoRekey(key SharedKey) error { return errs.New(errs.Invalid, "no %s rekey in progress", key) }

// GiveRekeyShare takes a share of the key in force. With the last one needed it returns the new shares, for the caller
// to wipe; they count at once, or after their verification.
//
// Errors: Invalid (none under way, another nonce, the shares do not make the key), Conflict (another node has changed the
// seal).
func (b *Broker) GiveRekeyShare(ctx context.Context, key SharedKey, nonce string, share []byte) (Rekey, []secret.Bytes, error) {
	o := b.rekeyUnderWay()
	switch {
	case o == nil, o.params.Key != key, o.staged != nil:
		return Rekey{}, nil, errNoRekey(key)
	case nonce != o.given.Nonce():
		return Rekey{}, nil, errs.New(errs.Invalid, "incorrect nonce supplied; nonce for this rekey operation is %q", o.given.Nonce())
	}
	required, err := b.requiredOf(ctx, key)
	if err != nil {
		return Rekey{}, nil, err
	}
	_, complete, err := o.given.Add(ctx, share)
	if err != nil {
		return Rekey{}, nil, err
	}
	if !complete {
		return o.state(required), nil, nil
	}
	shares, staged, err := b.barrier.StageRekey(ctx, seal.Params{Shares: o.params.Shares, Threshold: o.params.Threshold})
	if err != nil {
		return Rekey{}, nil, fmt.Errorf("make a new key: %w", err)
	}
	if o.params.Verify {
		next := &rekey{params: o.params, given: o.given, staged: staged, check: staged.NewCollector()}
		if !b.advance(o, next) {
			return Rekey{}, nil, errNoRekey(key)
		}
		return next.state(required), shares, nil
	}
	if !b.advance(o, nil) {
		return Rekey{}, nil, errNoRekey(key)
	}
	// Crash: once the new key is in force nobody has its shares but this process. Verification is for who cannot have that.
	if err := b.barrier.CommitRekey(ctx, staged); err != nil {
		return Rekey{}, nil, err
	}
	b.log.Info("the shares have changed", "key", key.String())
	done := o.state(required)
	done.Complete = true
	return done, shares, nil
}

func errNoVerification() error {
	return errs.New(errs.Invalid, "no rekey verification in progress")
}

func (b *Broker) verifying(key SharedKey) (*rekey, error) {
	o := b.rekeyUnderWay()
	if o == nil || o.params.Key != key || o.check == nil {
		return nil, errNoVerification()
	}
	return o, nil
}

// RekeyVerification is how many of the new shares were given back. Errors: Invalid (there are none to verify).
func (b *Broker) RekeyVerification(key SharedKey) (Rekey, error) {
	o, err := b.verifying(key)
	if err != nil {
		return Rekey{}, err
	}
	return o.state(0), nil
}

// GiveVerificationShare takes a new share. With the last one needed the new key is in force.
//
// Errors: Invalid (nothing to verify, another nonce, the shares do not make the new key).
func (b *Broker) GiveVerificationShare(ctx context.Context, key SharedKey, nonce string, share []byte) (Rekey, error) {
	o, err := b.verifying(key)
	if err != nil {
		return Rekey{}, err
	}
	if nonce != o.check.Nonce() {
		return Rekey{}, errs.New(errs.Invalid, "incorrect nonce supplied; nonce for this verify operation is %q", o.check.Nonce())
	}
	_, complete, err := o.check.Add(ctx, share)
	if err != nil {
		return Rekey{}, err
	}
	r := o.state(0)
	if !complete {
		return r, nil
	}
	if !b.advance(o, nil) {
		return Rekey{}, errNoVerification()
	}
	switch err := b.barrier.CommitRekey(ctx, o.staged); {
	case errors.Is(err, seal.ErrChanged): // for good: the key was made for a seal that is gone
		return Rekey{}, err
	case err != nil:
		return Rekey{}, errors.Join(err, b.restore(o))
	}
	b.log.Info("the shares have changed", "key", o.params.Key.String())
	r.Complete = true
	return r, nil
}

// restore puts back a verification whose key could not be put in force, so that it can be given again.
func (b *Broker) restore(o *rekey) error {
	if !b.advance(nil, o) {
		return errors.New("another rekey has begun")
	}
	return nil
}

// RestartVerification forgets the new shares given back so far, and begins anew under another nonce.
//
// Errors: Invalid (there are none to verify).
func (b *Broker) RestartVerification(key SharedKey) (Rekey, error) {
	o, err := b.verifying(key)
	if err != nil {
		return Rekey{}, err
	}
	next := &rekey{params: o.params, given: o.given, staged: o.staged, check: o.staged.NewCollector()}
	if !b.advance(o, next) {
		return Rekey{}, errNoVerification()
	}
	return next.state(0), nil
}

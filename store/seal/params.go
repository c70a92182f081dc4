package seal

import (
	"errors"

	"leasehold/internal/errs"
)

var (
	// ErrInvalidKey says that shares do not make the key they are shares of, or that a share has a size that none has.
	ErrInvalidKey = errs.New(errs.Invalid, "invalid key: the shares do not make the key")
	// ErrInitialized says that the store has its keys already.
	ErrInitialized = errs.New(errs.Invalid, "leasehold is already initialized")
	// ErrNotInitialized says that the store has no keys yet.
	ErrNotInitialized = errs.New(errs.Invalid, "leasehold is not initialized")
	// ErrNeedsShares says that the store is opened by people, with shares of the unseal key.
	ErrNeedsShares = errs.New(errs.Invalid, "the store is sealed by shares of the unseal key: give them with operator unseal")
	// ErrMoving says that the configuration names another seal than the store has: its shares have to be given for the change.
	ErrMoving = errs.New(errs.Invalid, "migrate option not provided and seal migration is pending: give the shares of the present seal with "+
		"operator unseal -migrate")
	// ErrNotMoving says that there is no change of the seal to give shares for.
	ErrNotMoving = errs.New(errs.Invalid, "can't perform a seal migration, no migration seal found: the store has the configured seal, "+
		"or the configuration lacks the one it has")
	// ErrChanged says that another node has changed the seal meanwhile.
	ErrChanged = errs.New(errs.Conflict, "the seal was changed meanwhile, by this node or another: look at its status and begin again")
)

// Params is how a key is shared out among people. Threshold of the Shares make it.
type Params struct{ Shares, Threshold int }

// Validate says what is wrong, in the words of the wire.
//
// Wire: PUT /v1/sys/init answers them after "invalid seal configuration: ".
func (p Params) Validate() error {
	switch {
	case p.Shares < 1:
		return errors.New("shares must be at least one")
	case p.Threshold < 1:
		return errors.New("threshold must be at least one")
	case p.Shares > 255:
		return errors.New("shares must be less than 256")
	case p.Threshold > p.Shares:
		return errors.New("threshold cannot be larger than shares")
	case p.Shares > 1 && p.Threshold == 1:
		return errors.New("threshold must be greater than one for multiple shares")
	}
	return nil
}

// Status is what anyone may know about the seal.
type Status struct {
	Type              string // [Shamir], or the type of the Wrapper; in a migration, of the seal that is to come
	Initialized       bool
	Sealed            bool
	Threshold, Shares int    // of the unseal key, or of the recovery key; 0 before the store is initialised
	Progress          int    // shares given so far towards unsealing
	Nonce             string // names the unsealing that is under way; empty when none is
	Recovery          bool   // the store opens by itself, and the shares are of a recovery key
	Migration         bool   // the configuration names another seal than the store has, and its shares are waited for
}

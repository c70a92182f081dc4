package seal

import (
	"errors"

	"leasehold/internal/errs"
)

var (
	// ErrInvalidKey says that shares do not make the unseal key, or that a share has a size that none has.
	ErrInvalidKey = errs.New(errs.Invalid, "invalid key: the shares do not make the unseal key")
	// ErrInitialized says that the store has its keys already.
	ErrInitialized = errs.New(errs.Invalid, "leasehold is already initialized")
	// ErrNotInitialized says that the store has no keys yet.
	ErrNotInitialized = errs.New(errs.Invalid, "leasehold is not initialized")
)

// Params is how the unseal key is shared out. Threshold of the Shares make it.
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
	Type              string // "shamir"
	Initialized       bool
	Sealed            bool
	Threshold, Shares int    // 0 before the store is initialised
	Progress          int    // shares given so far towards unsealing
	Nonce             string // names the unsealing that is under way; empty when none is
}

package broker

import (
	"context"
	"crypto/subtle"
	"encoding/base64"

	"leasehold/auth"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/store/seal"
)

// OTPLength is the length of a root token, and of the one-time password that hides it on its way.
const OTPLength = len("hvs.") + 24

// RootGeneration is the progress of making a root token from unseal shares, or recovery shares where the store opens by itself.
type RootGeneration struct {
	Nonce    string // names the operation; empty: none is under way
	Started  bool
	Progress int
	Required int
	Complete bool
	Encoded  string // the token XOR the one-time password, base64 without padding; once complete
	OTP      string // the one-time password, told once: by the start that made it
}

// generation is the operation that is under way. Like the shares it collects it lives in this process alone.
type generation struct {
	given *seal.Collector
	otp   secret.Text
}

func (b *Broker) generationUnderWay() *generation {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.root
}

// RootGeneration is the progress so far.
func (b *Broker) RootGeneration(ctx context.Context) (RootGeneration, error) {
	required, err := b.required(ctx)
	if err != nil {
		return RootGeneration{}, err
	}
	g := RootGeneration{Required: required}
	if o := b.generationUnderWay(); o != nil {
		g.Nonce, g.Started, g.Progress = o.given.Nonce(), true, o.given.Progress()
	}
	return g, nil
}

// StartRootGeneration begins to collect shares. Without a one-time password it makes one and tells it.
//
// Errors: Invalid (the password's length, one is under way).
func (b *Broker) StartRootGeneration(ctx context.Context, otp string) (RootGeneration, error) {
	if otp != "" && len(otp) != OTPLength {
		return RootGeneration{}, errs.New(errs.Invalid, "OTP string has incorrect length")
	}
	o := &generation{given: b.barrier.NewCollector(), otp: secret.NewText(otp)}
	made := ""
	if otp == "" {
		o.otp = secret.Random(secret.Base62, OTPLength)
		made = o.otp.Reveal()
	}
	b.mu.Lock()
	busy := b.root != nil
	if !busy {
		b.root = o
	}
	b.mu.Unlock()
	if busy {
		return RootGeneration{}, errs.New(errs.Invalid, "root generation already in progress")
	}
	g, err := b.RootGeneration(ctx)
	g.OTP = made
	return g, err
}

// CancelRootGeneration forgets the operation.
func (b *Broker) CancelRootGeneration() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.root = nil
}

// GiveRootShare takes a share in force. With the last one needed it makes the token.
//
// Errors: Invalid (none under way, another nonce, the shares do not make the key).
func (b *Broker) GiveRootShare(ctx context.Context, nonce string, share []byte) (RootGeneration, error) {
	o := b.generationUnderWay()
	if o == nil {
		return RootGeneration{}, errs.New(errs.Invalid, "no root generation in progress")
	}
	if nonce != o.given.Nonce() {
		return RootGeneration{}, errs.New(errs.Invalid, "incorrect nonce supplied; nonce for this root generation operation is %q", o.given.Nonce())
	}
	progress, complete, err := o.given.Add(ctx, share)
	if err != nil {
		return RootGeneration{}, err
	}
	required, err := b.required(ctx)
	if err != nil {
		return RootGeneration{}, err
	}
	g := RootGeneration{Nonce: nonce, Started: true, Progress: progress, Required: required}
	if !complete {
		return g, nil
	}
	b.mu.Lock()
	mine := b.root == o
	if mine {
		b.root = nil
	}
	b.mu.Unlock()
	if !mine {
		return RootGeneration{}, errs.New(errs.Invalid, "no root generation in progress")
	}
	_, root, err := b.tokens.Create(ctx, auth.Root())
	if err != nil {
		return RootGeneration{}, err
	}
	b.log.Info("a root token was made from shares")
	hidden := make([]byte, OTPLength)
	subtle.XORBytes(hidden, []byte(root.Reveal()), []byte(o.otp.Reveal()))
	g.Complete, g.Encoded = true, base64.RawStdEncoding.EncodeToString(hidden)
	return g, nil
}

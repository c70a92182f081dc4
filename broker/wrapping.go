package broker

import (
	"context"
	"fmt"
	"time"

	"leasehold/auth"
	"leasehold/engine"
	"leasehold/engine/envelope"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/store"
)

// Cubbyhole keeps values that belong to one service token and end with it.
type Cubbyhole interface {
	PutTx(tx *store.Tx, tokenSeq int64, path string, value map[string]any) error
	GetTx(tx *store.Tx, tokenSeq int64, path string) (map[string]any, error) // nil: there is none
}

// wrappedPath is where in its cubbyhole a wrapping token has the answer, and the name of the field.
const wrappedPath = "response"

// The paths whose requests name a wrapping token.
const (
	lookupWrapping = "sys/wrapping/lookup"
	unwrap         = "sys/wrapping/unwrap"
	rewrap         = "sys/wrapping/rewrap"
)

// errNoWrapping is the one answer to a token that stands for nothing (any more), whatever the reason.
func errNoWrapping() error {
	return errs.New(errs.Invalid, "wrapping token is not valid or does not exist")
}

// wrap keeps an answer for whoever will have its wrapping token, and makes the answer that tells of the token. Refusals and
// answers without a body are what they are without wrapping, and so is what everybody may have in clear.
//
// The answer is durable, with its token and in the same transaction, before anybody is told. When it cannot be kept, it is
// withheld.
//
// Crash: before the commit the answer is lost, as any that does not arrive: what it lends ends with its lease. After it there
// is a wrapping token that nobody knows; it expires, and the answer with it.
func (c *call) wrap(ctx context.Context, resp *engine.Response) (*engine.Response, error) {
	switch {
	case c.WrapTTL == 0 || resp == nil || resp.Wrap != nil:
		return resp, nil
	case resp.Raw != nil && !c.facts.Unauthenticated:
		// In clear it is not what was asked for, nor what a policy that demands wrapping allows.
		return nil, errs.New(errs.Invalid, "this answer has no envelope and cannot be wrapped: ask without X-Vault-Wrap-TTL")
	case resp.Raw != nil || resp.Status != 0 || resp.Empty():
		return resp, nil
	}
	var w engine.Wrap
	kept, err := envelope.Append(nil, c.ID, resp, "")
	if err == nil {
		err = c.b.store.Update(ctx, func(tx *store.Tx) (err error) {
			w, err = c.b.keepTx(tx, c.Path, c.WrapTTL, string(kept[:len(kept)-1])) // without the end of the line
			return err
		})
	}
	if err != nil {
		c.withhold(ctx, resp)
		return nil, fmt.Errorf("wrap the answer: %w", err)
	}
	w.WrappedAccessor = c.accessorIn(resp)
	c.wrapped = resp
	return &engine.Response{Wrap: &w}, nil
}

// accessorIn is the accessor of what an answer lets a client log in with: a token, or the secret id of an AppRole.
func (c *call) accessorIn(resp *engine.Response) string {
	if resp.Auth != nil {
		return resp.Auth.Accessor
	}
	if c.mount.Type == "approle" {
		accessor, _ := resp.Data["secret_id_accessor"].(string)
		return accessor
	}
	return ""
}

// keepTx makes a wrapping token for the answer to a request for path.
func (b *Broker) keepTx(tx *store.Tx, path string, ttl time.Duration, answer string) (engine.Wrap, error) {
	t, text, err := b.tokens.CreateTx(tx, auth.Wrapping(path, ttl))
	if err != nil {
		return engine.Wrap{}, err
	}
	if err := b.cfg.Cubbyhole.PutTx(tx, t.Seq, wrappedPath, map[string]any{wrappedPath: answer}); err != nil {
		return engine.Wrap{}, err
	}
	return engine.Wrap{TTL: ttl, Token: text, Accessor: t.Accessor, CreatedAt: t.CreatedAt, CreationPath: path}, nil
}

// keptTx is the answer that a wrapping token stands for.
func (b *Broker) keptTx(tx *store.Tx, tokenSeq int64) (string, error) {
	value, err := b.cfg.Cubbyhole.GetTx(tx, tokenSeq, wrappedPath)
	if err != nil {
		return "", err
	}
	answer, ok := value[wrappedPath].(string)
	if !ok {
		return "", errNoWrapping()
	}
	return answer, nil
}

// takeTx ends a wrapping token and returns it with the answer that it stood for.
func (b *Broker) takeTx(tx *store.Tx, text secret.Text) (auth.Token, string, error) {
	t, found, err := b.tokens.FindWrappingTx(tx, text)
	if err != nil {
		return auth.Token{}, "", err
	}
	if found {
		found, err = b.tokens.SpendTx(tx, t)
	}
	if err != nil {
		return auth.Token{}, "", err
	}
	if !found {
		return auth.Token{}, "", errNoWrapping()
	}
	answer, err := b.keptTx(tx, t.Seq)
	return t, answer, err
}

// checkWrapping refuses a request that should name a wrapping token and names none that is good. This is asked before anything
// else: also by a client that has no other token. A refusal uses nothing up.
func (b *Broker) checkWrapping(tx *store.Tx, r *Request) (refused, err error) {
	if r.Path != lookupWrapping && r.Path != unwrap && r.Path != rewrap {
		return nil, nil
	}
	text := r.Token
	if given, named := r.Data["token"]; named {
		name, isText := given.(string)
		if !isText {
			return errs.New(errs.Denied, "error validating wrapping token: could not decode token in request body"), nil
		}
		if name == "" {
			return errs.New(errs.Denied, "error validating wrapping token: empty token in request body"), nil
		}
		text = secret.NewText(name)
	}
	if text.Empty() {
		return errs.New(errs.Denied, "error validating wrapping token: token is empty"), nil
	}
	_, found, err := b.tokens.FindWrappingTx(tx, text)
	if err != nil || found {
		return nil, err
	}
	return errNoWrapping(), nil
}

// LookupWrapping tells when and for what a wrapping token was made. Its own token and accessor are not in the answer.
//
// Errors: Invalid (it is not one, or not any more).
func (b *Broker) LookupWrapping(ctx context.Context, text secret.Text) (engine.Wrap, error) {
	var w engine.Wrap
	err := b.store.View(ctx, func(tx *store.Tx) error {
		t, found, err := b.tokens.FindWrappingTx(tx, text)
		if err != nil {
			return err
		}
		if !found {
			return errNoWrapping()
		}
		w = engine.Wrap{TTL: t.CreationTTL, CreatedAt: t.CreatedAt, CreationPath: t.Path}
		return nil
	})
	return w, err
}

// Unwrap returns the answer that a wrapping token stands for, and ends the token: of all who ask, on any node, one gets it.
// With no text the token is the caller's own, which this request has used up.
//
// Errors: Invalid (it is not a wrapping token, or not any more; it is sent both ways).
//
// Crash: once the token has ended nobody gets the answer, told or not. What it lends ends with its lease.
func (b *Broker) Unwrap(ctx context.Context, caller *engine.Caller, text secret.Text) (*engine.Response, error) {
	var answer string
	var err error
	switch {
	case text.Empty():
		err = b.store.View(ctx, func(tx *store.Tx) (err error) {
			answer, err = b.keptTx(tx, caller.TokenSeq)
			return err
		})
	case text.Equal(caller.Token): // the request used it up for itself
		return nil, errs.Framed(errs.Invalid, "error decrementing wrapping token's use-count: invalid token entry provided for use count decrementing")
	default:
		err = b.store.Update(ctx, func(tx *store.Tx) (err error) {
			_, answer, err = b.takeTx(tx, text)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("unwrap: %w", err)
	}
	return envelope.Parse([]byte(answer))
}

// Rewrap moves an answer from one wrapping token to a new one with the same lifetime, which begins anew.
//
// Errors: Invalid (it is not a wrapping token, or not any more).
func (b *Broker) Rewrap(ctx context.Context, text secret.Text) (*engine.Wrap, error) {
	var w engine.Wrap
	err := b.store.Update(ctx, func(tx *store.Tx) error {
		t, answer, err := b.takeTx(tx, text)
		if err != nil {
			return err
		}
		w, err = b.keepTx(tx, t.Path, t.CreationTTL, answer)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("rewrap: %w", err)
	}
	return &w, nil
}

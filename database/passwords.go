package database

import (
	"context"
	"fmt"
	"strings"

	"leasehold/internal/errs"
	"leasehold/internal/secret"
)

// The default password: source is the wire contract, "creds/:role". Its 20 characters hold about 118 random bits, and
// none of them needs quoting in SQL or escaping in a URL.
const (
	lower          = "abcdefghijklmnopqrstuvwxyz"
	upper          = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits         = "0123456789"
	dash           = "-"
	passwordLength = 20
)

// defaultPassword draws until each kind of character is there, about four times: every acceptable password is then as
// likely as any other.
func defaultPassword() secret.Text {
	for {
		password := secret.Random(lower+upper+digits+dash, passwordLength)
		complete := true
		for _, kind := range []string{lower, upper, digits, dash} {
			complete = complete && strings.ContainsAny(password.Reveal(), kind)
		}
		if complete {
			return password
		}
	}
}

// password makes a password by the first of the policies that has a name; none has: the default one.
//
// Errors: Unavailable (the policy is not there or cannot be fulfilled).
func (e *Engine) password(ctx context.Context, policies ...string) (secret.Text, error) {
	for _, policy := range policies {
		if policy == "" {
			continue
		}
		password, err := e.byPolicy(ctx, policy)
		if err == nil {
			return password, nil
		}
		text := fmt.Sprintf("password policy %q cannot be used", policy)
		if shown := errs.From(err); shown != nil {
			text = shown.Text
		}
		return secret.Text{}, errs.Framed(errs.Unavailable, "failed to generate password: %s", text).Because(err)
	}
	return defaultPassword(), nil
}

func (e *Engine) byPolicy(ctx context.Context, policy string) (secret.Text, error) {
	if e.passwordPolicy == nil {
		return secret.Text{}, fmt.Errorf("no password policies on this server")
	}
	generate, err := e.passwordPolicy(ctx, policy)
	if err != nil {
		return secret.Text{}, fmt.Errorf("read password policy: %w", err)
	}
	return generate()
}

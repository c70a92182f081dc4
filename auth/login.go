package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/internal/ttl"
)

// CreateLogin makes the token of a login: an orphan with the login's policies and the default one. mount is the auth
// method's, path the whole login path. The returned texts are warnings for the client.
//
// Errors: Invalid (what the method asks for cannot be).
func (s *Store) CreateLogin(ctx context.Context, mount engine.Mount, path string, l *engine.Login) (Token, secret.Text, []string, error) {
	spec := Spec{
		Type: loginType(mount.TokenType, l.TokenType), Path: path, DisplayName: loginName(mount.Path, l.DisplayName),
		Policies: SanitizePolicies(l.Policies, !l.NoDefault), Meta: l.Metadata,
		ExplicitMaxTTL: l.ExplicitMax, Period: l.Period, NumUses: l.NumUses, Renewable: l.Renewable, NoDefault: l.NoDefault,
	}
	for _, name := range spec.Policies {
		if name == rootPolicy {
			return Token{}, secret.Text{}, nil, errs.New(errs.Invalid, "auth methods cannot create root tokens")
		}
	}
	var err error
	if spec.BoundCIDRs, err = ParseCIDRs(l.BoundCIDRs); err != nil {
		return Token{}, secret.Text{}, nil, err
	}
	var warnings []string
	spec.TTL, warnings = ttl.Resolve(ttl.Limits{
		Default: l.TTL, Max: l.MaxTTL, Period: l.Period, ExplicitMax: l.ExplicitMax, MountTTL: mount.DefaultTTL, MountMax: mount.MaxTTL,
	})
	if spec.TTL <= 0 { // or it would never end
		return Token{}, secret.Text{}, nil, fmt.Errorf("the maximum of %s at %s leaves a token no lifetime", mount.MaxTTL, mount.Path)
	}
	if spec.Type == Batch {
		if l.NumUses != 0 {
			return Token{}, secret.Text{}, nil, errs.New(errs.Invalid, "batch tokens cannot have %q set", "num_uses")
		}
		spec.Renewable, spec.Period, spec.ExplicitMaxTTL = false, 0, 0
	} else if spec.login, err = json.Marshal(l); err != nil { // a batch token is never renewed
		return Token{}, secret.Text{}, nil, fmt.Errorf("encode a login: %w", err)
	}
	t, text, err := s.Create(ctx, spec)
	return t, text, warnings, err
}

// loginType is the kind of a login's token. What the mount is tuned to be wins over the role; what it is tuned to
// default to counts where the role has no opinion.
//
// Wire: auth methods, "Shared token fields".
func loginType(mount, role string) string {
	for _, kind := range []string{mount, role} {
		if kind == Service || kind == Batch {
			return kind
		}
	}
	if mount == "default-batch" {
		return Batch
	}
	return Service
}

// loginName is MOUNT or MOUNT-NAME, with dashes for the slashes in the mount's path.
func loginName(mountPath, name string) string {
	mount := strings.TrimSuffix(strings.TrimPrefix(mountPath, "auth/"), "/")
	return strings.TrimSuffix(strings.ReplaceAll(mount, "/", "-")+"-"+name, "-")
}

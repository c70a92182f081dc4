package transit

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/store"
	"leasehold/transit/keywrap"
)

const wrappingBits = 4096

// oaepHash is the hash in a field. Errors: Invalid.
func oaepHash(name string) (crypto.Hash, error) {
	h, known := keywrap.Hash(name)
	if !known {
		return 0, errs.New(errs.Invalid, "unknown hash function: %s", name)
	}
	return h, nil
}

// unwrap opens the wrapped form of a key, base64. Errors: Fault. Source: recording transit-import.
func unwrap(pair *rsa.PrivateKey, h crypto.Hash, text string) (secret.Bytes, error) {
	wrapped, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return secret.Bytes{}, errs.Framed(errs.Fault, "%s", err) // it tells the place alone
	}
	key, err := keywrap.Unwrap(pair, h, wrapped)
	switch {
	case errors.Is(err, keywrap.ErrShort):
		err = errs.Framed(errs.Fault, "provided ciphertext is too short")
	case errors.Is(err, keywrap.ErrEphemeral):
		err = errs.Framed(errs.Fault, "%s", err)
	case err != nil:
		err = errs.Framed(errs.Fault, "the key inside the ciphertext cannot be unwrapped with AES-KWP")
	}
	return key, err
}

func wrappingCell(mount string) store.Cell {
	return store.Cell{Table: "transit_mounts", Column: "wrapping", Key: mount}
}

// storedWrapping reads the encoded wrapping key of the mount; empty: there is none yet.
func (s shelf) storedWrapping() (secret.Bytes, error) {
	var sealed []byte
	err := s.QueryRow(`SELECT wrapping FROM transit_mounts WHERE mount = $1`, s.mount).Scan(&sealed)
	if errors.Is(err, store.ErrNoRow) || err == nil && sealed == nil {
		return secret.Bytes{}, nil
	}
	if err != nil {
		return secret.Bytes{}, err
	}
	encoded, err := s.Open(wrappingCell(s.mount), sealed)
	return secret.NewBytes(encoded), err
}

// wrappingPair is the pair that keys are wrapped for. It is made when somebody first asks, and is the mount's for good.
func (e *Engine) wrappingPair(ctx context.Context, m engine.Mount) (*rsa.PrivateKey, error) {
	var encoded secret.Bytes
	err := e.view(ctx, m, func(s shelf) (err error) {
		encoded, err = s.storedWrapping()
		return err
	})
	if err == nil && len(encoded.Reveal()) == 0 {
		encoded, err = e.makeWrappingPair(ctx, m)
	}
	if err != nil {
		return nil, fmt.Errorf("read the wrapping key: %w", err)
	}
	parsed, _, err := parsePair(encoded)
	if err != nil {
		return nil, err
	}
	pair, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, errPair
	}
	return pair, nil
}

// makeWrappingPair generates the wrapping key, unless another request was faster.
func (e *Engine) makeWrappingPair(ctx context.Context, m engine.Mount) (encoded secret.Bytes, err error) {
	pair, err := rsa.GenerateKey(rand.Reader, wrappingBits)
	if err != nil {
		return encoded, err
	}
	made, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		return encoded, err
	}
	return e.keepWrappingPair(ctx, m, secret.NewBytes(made))
}

// keepWrappingPair stores the mount's wrapping key, unless there is one, and returns the one that is there then.
func (e *Engine) keepWrappingPair(ctx context.Context, m engine.Mount, made secret.Bytes) (encoded secret.Bytes, err error) {
	err = e.update(ctx, m, func(s shelf) (err error) {
		if encoded, err = s.storedWrapping(); err != nil || len(encoded.Reveal()) > 0 {
			return err
		}
		encoded = made
		sealed, err := s.Seal(wrappingCell(s.mount), made.Reveal())
		if err != nil {
			return err
		}
		_, err = s.Exec(`INSERT INTO transit_mounts (mount, wrapping) VALUES ($1, $2)
			ON CONFLICT (mount) DO UPDATE SET wrapping = excluded.wrapping`, s.mount, sealed)
		return err
	})
	return encoded, err
}

func (e *Engine) readWrappingKey(ctx context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	pair, err := e.wrappingPair(ctx, r.Mount)
	if err != nil {
		return nil, err
	}
	encoded, err := encodePublicKey(&pair.PublicKey)
	if err != nil {
		return nil, err
	}
	return &engine.Response{Data: map[string]any{"public_key": armour("PUBLIC KEY", encoded)}}, nil
}

// exportWrapped wraps versions of one key for import elsewhere, under the public key of another.
//
// Source: recording transit-csr.
func (e *Engine) exportWrapped(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	h, err := oaepHash(f.Text("hash"))
	if err != nil {
		return nil, err
	}
	var source *key
	var versions []*version
	var public *rsa.PublicKey
	err = e.view(ctx, r.Mount, func(s shelf) error {
		destination, err := s.find(f.Text("destination"))
		if err == nil {
			source, err = s.find(f.Text("source"))
		}
		switch {
		case err != nil:
			return err
		case destination == nil:
			return errs.Framed(errs.Fault, "no such destination key to export to")
		case source == nil:
			return errs.Framed(errs.Fault, "no such source key for export")
		case destination.SoftDeleted || source.SoftDeleted:
			return errSoftDeleted
		case !source.Exportable:
			return errs.New(errs.Invalid, "private key material is not exportable")
		}
		if versions, err = s.choose(source, f.Text("version")); err != nil {
			return err
		}
		newest, found, err := s.version(destination, destination.Latest)
		if err != nil {
			return err
		}
		if found {
			public, _ = newest.public.(*rsa.PublicKey)
		}
		if public == nil {
			return errs.New(errs.Invalid, "the destination key is of type %s; only RSA keys can wrap", destination.Type)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the keys: %w", err)
	}
	keys := map[string]any{}
	for _, v := range versions {
		if len(v.secret.Reveal()) == 0 {
			return nil, errs.New(errs.Invalid, "version %d of the key has no private part", v.number)
		}
		wrapped, err := keywrap.Wrap(public, h, v.secret)
		if err != nil {
			return nil, err
		}
		keys[fmt.Sprint(v.number)] = base64.StdEncoding.EncodeToString(wrapped)
	}
	return &engine.Response{Data: map[string]any{"name": source.name, "type": source.Type, "keys": keys}}, nil
}

package transit

import (
	"context"
	"crypto/ecdsa"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
)

// agree makes a symmetric key of an ECDSA key here and the public key of a peer, by ECDH: the peer can make the same.
//
// The new key is the shared secret itself where that has its size, as other servers make it, and else HKDF-SHA-256 of it
// with the type's name as information.
func (e *Engine) agree(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	if name := f.Text("key_derivation_algorithm"); name != "" && name != "ecdh" {
		return nil, errs.New(errs.Invalid, "key derivation algorithm %s not supported", name)
	}
	k := &key{name: f.Text("name"), settings: settings{Type: f.Text("derived_key_type"), Imported: true}}
	if k.Type == "" {
		k.Type = defaultAlgorithm
	}
	a := k.algorithm()
	if a == nil || a.newAEAD == nil {
		return nil, errs.New(errs.Invalid, "unknown key type %s", k.Type)
	}
	peer, err := readPeer(f.Text("peer_public_key"))
	if err != nil {
		return nil, err
	}
	number := f.Int("base_key_version")
	base, err := e.lend(ctx, r, f.Text("base_key_name"), errs.New(errs.Invalid, "specified base key not found"), func(k *key) ([]int, error) {
		if k.algorithm().curve == nil {
			return nil, errs.New(errs.Invalid, "base key type %s does not support key agreement", k.Type)
		}
		number, err = k.certifiedVersion(number)
		return []int{number}, err
	})
	if err != nil {
		return nil, err
	}
	v, err := base.version(number)
	if err != nil {
		return nil, err
	}
	shared, err := v.agree(peer)
	if err != nil {
		return nil, err
	}
	if len(shared) != a.keyBytes {
		if shared, err = hkdf.Key(sha256.New, shared, nil, k.Type, a.keyBytes); err != nil {
			return nil, fmt.Errorf("derive a key: %w", err)
		}
	}
	m := a.wrap(secret.NewBytes(shared))
	err = e.update(ctx, r.Mount, func(s shelf) error {
		old, err := s.find(k.name)
		switch {
		case err != nil:
			return err
		case old != nil:
			return errs.New(errs.Invalid, "there is a key named %s already", k.name)
		}
		made := *k
		return s.insert(&made, m)
	})
	if err != nil {
		return nil, fmt.Errorf("store a derived key: %w", err)
	}
	return nil, nil
}

func readPeer(text string) (*ecdsa.PublicKey, error) {
	if text == "" {
		return nil, errs.New(errs.Invalid, "peer public key not provided")
	}
	if block, _ := pem.Decode([]byte(text)); block != nil {
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if peer, ok := public.(*ecdsa.PublicKey); ok && err == nil {
			return peer, nil
		}
	}
	return nil, errs.New(errs.Invalid, "peer public key is not a PEM encoded EC public key")
}

// agree is the shared secret of a version and a peer. Errors: Invalid (not on the same curve).
func (v *version) agree(peer *ecdsa.PublicKey) ([]byte, error) {
	pair, ok := v.pair.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errs.New(errs.Invalid, "version %d of the base key has no private part", v.number)
	}
	mine, err := pair.ECDH()
	if err != nil {
		return nil, fmt.Errorf("use a key for agreement: %w", err)
	}
	theirs, err := peer.ECDH()
	if err == nil {
		var shared []byte
		if shared, err = mine.ECDH(theirs); err == nil {
			return shared, nil
		}
	}
	return nil, errs.New(errs.Invalid, "peer public key is not on the curve of the base key")
}

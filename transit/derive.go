package transit

import (
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"

	"leasehold/internal/errs"
)

var errNoContext = errs.New(errs.Invalid, "missing 'context' for key derivation; the key was created using a derived key, which "+
	"means additional, per-request information must be included in order to perform operations with the key")

var errNotEd25519 = errors.New("a derived key with a pair is not of type ed25519")

// derive makes n bytes of a version's secret for a context. A longer result begins with the shorter ones.
//
// Source: the sheet on transit, "Formats".
func derive(secret, context []byte, n int) ([]byte, error) {
	if len(context) == 0 {
		return nil, errNoContext
	}
	return hkdf.Key(sha256.New, secret, nil, string(context), n)
}

// derivePair is the Ed25519 pair of a context.
func (v *version) derivePair(context []byte) (ed25519.PrivateKey, error) {
	pair, ok := v.pair.(ed25519.PrivateKey)
	if !ok {
		return nil, errNotEd25519
	}
	seed, err := derive(pair, context, ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// Of a convergent key, the bytes after the cipher's key are two keys for nonces.
const nonceKeyBytes = 32

// derived is the cipher of a context, with the keys that nonces are made by.
type derived struct {
	cipher.AEAD
	plain, bound []byte // keys for messages without and with associated data
}

func (k *key) deriveCipher(v *version, context []byte) (derived, error) {
	a := k.algorithm()
	n := a.keyBytes
	bytes, err := derive(v.secret.Reveal(), context, n+2*nonceKeyBytes)
	if err != nil {
		return derived{}, err
	}
	aead, err := a.newAEAD(bytes[:n])
	return derived{aead, bytes[n : n+nonceKeyBytes], bytes[n+nonceKeyBytes:]}, err
}

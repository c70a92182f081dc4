// Package keywrap carries a key from one place to another under an RSA public key.
//
// The wrapped form is that of Vault's import: a fresh AES-256 key under RSA-OAEP, without a label, and behind it the key
// under that one with AES-KWP (RFC 5649). Of symmetric types the key is its bytes, of all others its PKCS #8 form.
//
// Source: the wire contract's sheets on transit and on extra checks.
package keywrap

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"errors"
	"fmt"

	kwp "github.com/tink-crypto/tink-go/v2/kwp/subtle"

	"leasehold/internal/secret"
)

// DefaultHash is the name of the hash that is meant when none is said.
const DefaultHash = "SHA256"

// hashes are those of RSA-OAEP, also of its mask, by their names on the wire.
var hashes = map[string]crypto.Hash{
	"SHA1": crypto.SHA1, "SHA224": crypto.SHA224, DefaultHash: crypto.SHA256, "SHA384": crypto.SHA384, "SHA512": crypto.SHA512,
}

// Hash is the hash of that name; the empty one is DefaultHash.
func Hash(name string) (h crypto.Hash, known bool) {
	if name == "" {
		name = DefaultHash
	}
	h, known = hashes[name]
	return h, known
}

// Sizes of what can be wrapped, in bytes.
const (
	MinKey = kwp.MinWrapSize
	MaxKey = kwp.MaxWrapSize
)

const ephemeralBytes = 32

// Wrap makes the wrapped form of a key of MinKey to MaxKey bytes.
func Wrap(public *rsa.PublicKey, h crypto.Hash, key secret.Bytes) ([]byte, error) {
	ephemeral := make([]byte, ephemeralBytes)
	defer clear(ephemeral)
	_, _ = rand.Read(ephemeral) // never fails
	head, err := rsa.EncryptOAEP(h.New(), rand.Reader, public, ephemeral, nil)
	if err != nil {
		return nil, fmt.Errorf("wrap the ephemeral key: %w", err)
	}
	wrapper, err := kwp.NewKWP(ephemeral)
	if err != nil {
		return nil, fmt.Errorf("wrap a key: %w", err)
	}
	tail, err := wrapper.Wrap(key.Reveal())
	if err != nil {
		return nil, fmt.Errorf("wrap a key: %w", err)
	}
	return append(head, tail...), nil
}

// Why a key cannot be unwrapped. Neither tells more of what is inside than that it is not right.
var (
	ErrShort     = errors.New("the wrapped key is too short")
	ErrEphemeral = rsa.ErrDecryption // for another public key, or with another hash
	ErrKey       = errors.New("the key inside is damaged")
)

// Unwrap opens what Wrap has made for the pair. Errors: ErrShort, ErrEphemeral, ErrKey.
func Unwrap(pair *rsa.PrivateKey, h crypto.Hash, wrapped []byte) (secret.Bytes, error) {
	if len(wrapped) <= pair.Size() {
		return secret.Bytes{}, ErrShort
	}
	ephemeral, err := rsa.DecryptOAEP(h.New(), nil, pair, wrapped[:pair.Size()], nil)
	if err != nil {
		return secret.Bytes{}, ErrEphemeral
	}
	defer clear(ephemeral)
	wrapper, err := kwp.NewKWP(ephemeral)
	if err != nil {
		return secret.Bytes{}, ErrKey
	}
	key, err := wrapper.Unwrap(wrapped[pair.Size():])
	if err != nil {
		return secret.Bytes{}, ErrKey
	}
	return secret.NewBytes(key), nil
}

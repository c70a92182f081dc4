package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/secretsharing"

	"leasehold/internal/secret"
	"leasehold/store/keyring"
)

const scalarSize = 32

// shareSize is the size of a share, in bytes.
func (p Params) shareSize() int {
	if p.Shares == 1 {
		return scalarSize
	}
	return scalarSize + 1
}

// newUnsealKey draws an unseal key and shares it out. It returns the key derived from it, which wraps the root key.
func newUnsealKey(storeID string, p Params) (wrapping *[keyring.KeySize]byte, shares []secret.Bytes, err error) {
	scalar := group.Ristretto255.RandomNonZeroScalar(rand.Reader)
	defer scalar.SetUint64(0)
	if wrapping, err = derive(storeID, scalar); err != nil {
		return nil, nil, err
	}
	if p.Shares == 1 {
		only, err := scalar.MarshalBinary()
		if err != nil {
			return nil, nil, fmt.Errorf("encode the unseal key: %w", err)
		}
		return wrapping, []secret.Bytes{secret.NewBytes(only)}, nil
	}
	// circl counts the shares that tell nothing; one more makes the secret.
	for _, share := range secretsharing.New(rand.Reader, uint(p.Threshold-1), scalar).Share(uint(p.Shares)) {
		value, err := share.Value.MarshalBinary()
		if err != nil {
			return nil, nil, fmt.Errorf("encode a share: %w", err)
		}
		shares = append(shares, secret.NewBytes(append(value, byte(len(shares)+1))))
	}
	return wrapping, shares, nil
}

// combine makes the wrapping key from threshold shares, which may be anything that somebody sent. Every fault is
// ErrInvalidKey; wrong shares may also make a key that opens nothing.
func combine(storeID string, p Params, parts [][]byte) (*[keyring.KeySize]byte, error) {
	if len(parts) != p.Threshold {
		return nil, ErrInvalidKey
	}
	shares := make([]secretsharing.Share, 0, len(parts))
	seen := map[byte]bool{}
	for _, part := range parts {
		if len(part) != p.shareSize() {
			return nil, ErrInvalidKey
		}
		value := group.Ristretto255.NewScalar()
		if err := value.UnmarshalBinary(part[:scalarSize]); err != nil {
			return nil, ErrInvalidKey
		}
		defer value.SetUint64(0)
		if p.Shares == 1 {
			return derive(storeID, value)
		}
		point := part[scalarSize]
		if point == 0 || seen[point] { // circl panics when a point occurs twice
			return nil, ErrInvalidKey
		}
		seen[point] = true
		shares = append(shares, secretsharing.Share{ID: group.Ristretto255.NewScalar().SetUint64(uint64(point)), Value: value})
	}
	scalar, err := secretsharing.Recover(uint(p.Threshold-1), shares)
	if err != nil {
		return nil, ErrInvalidKey
	}
	defer scalar.SetUint64(0)
	return derive(storeID, scalar)
}

// derive makes the wrapping key from the shared scalar.
func derive(storeID string, scalar group.Scalar) (*[keyring.KeySize]byte, error) {
	raw, err := scalar.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("encode the unseal key: %w", err)
	}
	defer clear(raw)
	derived, err := hkdf.Key(sha256.New, raw, []byte(storeID), "leasehold unseal key", keyring.KeySize)
	if err != nil {
		return nil, fmt.Errorf("derive the wrapping key: %w", err)
	}
	defer clear(derived)
	key := new([keyring.KeySize]byte)
	copy(key[:], derived)
	return key, nil
}

// parts are shares given so far, each one once.
type parts [][]byte

// add keeps a copy of share unless it is there already. It compares in constant time: anyone may send guesses.
func (p *parts) add(share []byte) {
	for _, have := range *p {
		if subtle.ConstantTimeCompare(have, share) == 1 {
			return
		}
	}
	*p = append(*p, bytes.Clone(share))
}

// wipe forgets all shares.
func (p *parts) wipe() {
	for _, share := range *p {
		clear(share)
	}
	*p = nil
}

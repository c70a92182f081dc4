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

// sharedKey is what shares make: an unseal key or a recovery key. Both are used through keys derived from them alone.
type sharedKey [scalarSize]byte

func (k *sharedKey) wipe() { clear(k[:]) }

// newSharedKey draws a key and shares it out.
func newSharedKey(p Params) (key *sharedKey, shares []secret.Bytes, err error) {
	scalar := group.Ristretto255.RandomNonZeroScalar(rand.Reader)
	defer scalar.SetUint64(0)
	if key, err = encodeKey(scalar); err != nil {
		return nil, nil, err
	}
	if p.Shares == 1 {
		return key, []secret.Bytes{secret.NewBytes(bytes.Clone(key[:]))}, nil
	}
	// circl counts the shares that tell nothing; one more makes the secret.
	for _, share := range secretsharing.New(rand.Reader, uint(p.Threshold-1), scalar).Share(uint(p.Shares)) {
		value, err := share.Value.MarshalBinary()
		if err != nil {
			return nil, nil, fmt.Errorf("encode a share: %w", err)
		}
		shares = append(shares, secret.NewBytes(append(value, byte(len(shares)+1))))
	}
	return key, shares, nil
}

// combine makes the key of threshold shares, which may be anything that somebody sent. Every fault is ErrInvalidKey; wrong
// shares may also make a key that opens nothing.
func combine(p Params, parts [][]byte) (*sharedKey, error) {
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
			return encodeKey(value)
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
	return encodeKey(scalar)
}

func encodeKey(scalar group.Scalar) (*sharedKey, error) {
	raw, err := scalar.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("encode a shared key: %w", err)
	}
	defer clear(raw)
	key := new(sharedKey)
	copy(key[:], raw)
	return key, nil
}

// wrapping is the key that the root key is under when k is an unseal key. The caller wipes it.
func (k *sharedKey) wrapping(storeID string) (*[keyring.KeySize]byte, error) {
	return k.derive(storeID, "leasehold unseal key")
}

// proof is what the store keeps of k when it is a recovery key. It does not give the wrapping key. The caller wipes it.
func (k *sharedKey) proof(storeID string) (*[keyring.KeySize]byte, error) {
	return k.derive(storeID, "leasehold recovery key")
}

func (k *sharedKey) derive(storeID, purpose string) (*[keyring.KeySize]byte, error) {
	derived, err := hkdf.Key(sha256.New, k[:], []byte(storeID), purpose, keyring.KeySize)
	if err != nil {
		return nil, fmt.Errorf("derive from a shared key: %w", err)
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

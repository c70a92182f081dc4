package transit

import (
	"crypto"
	"crypto/cipher"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"leasehold/internal/secret"
	"leasehold/store"
)

// material is what is stored of a version; sealed in its row.
type material struct {
	created time.Time
	secret  secret.Bytes // see algorithm; empty: only the public key is known
	public  []byte       // PKIX; of types with a pair
	hmac    secret.Bytes // the key of HMACs, for types whose secret is not that key
	chain   string       // certificates, PEM
}

// storedMaterial is the JSON form of material.
type storedMaterial struct {
	CreatedAt int64  `json:"created_at"`
	Secret    []byte `json:"secret,omitempty"`
	Public    []byte `json:"public,omitempty"`
	HMAC      []byte `json:"hmac,omitempty"`
	Chain     string `json:"chain,omitempty"`
}

func (m material) stored() storedMaterial {
	return storedMaterial{
		CreatedAt: store.Micros(m.created), Secret: m.secret.Reveal(), Public: m.public, HMAC: m.hmac.Reveal(), Chain: m.chain,
	}
}

func (s storedMaterial) material() material {
	return material{
		created: store.Time(s.CreatedAt), secret: secret.NewBytes(s.Secret), public: s.Public, hmac: secret.NewBytes(s.HMAC), chain: s.Chain,
	}
}

func (m material) encode() ([]byte, error) { return json.Marshal(m.stored()) }

func decodeMaterial(encoded []byte) (material, error) {
	var s storedMaterial
	if json.Unmarshal(encoded, &s) != nil {
		return material{}, errors.New("stored key material is not JSON") // the decoder's error could quote it
	}
	return s.material(), nil
}

// version is one version of a key, ready for use. It never changes.
type version struct {
	material
	number int

	aead   cipher.AEAD       // types that encrypt with one, unless the key is derived
	pair   crypto.PrivateKey // types with a pair; nil: only the public key is known
	public crypto.PublicKey  // types with a pair
}

// open prepares a version for use.
func (k *key) open(number int, m material) (*version, error) {
	v := &version{material: m, number: number}
	a := k.algorithm()
	var err error
	switch {
	case a.newAEAD != nil && !k.Derived:
		v.aead, err = a.newAEAD(m.secret.Reveal())
	case a.symmetric():
	case len(m.secret.Reveal()) == 0:
		v.public, err = parsePublicKey(m.public)
	default:
		v.pair, v.public, err = parsePair(m.secret)
	}
	if err != nil {
		return nil, fmt.Errorf("open version %d of a key of type %s: %w", number, a.name, err)
	}
	return v, nil
}

var errPair = errors.New("the stored key pair cannot be read") // the parser's error could quote it

// parsePair reads the PKCS #8 form of a key pair of any type.
func parsePair(encoded secret.Bytes) (crypto.PrivateKey, crypto.PublicKey, error) {
	pair, err := parseLatticePair(encoded.Reveal())
	if err != nil {
		return nil, nil, errPair
	}
	if pair != nil {
		return pair, &pair.latticePublic, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(encoded.Reveal())
	if err != nil {
		return nil, nil, errPair
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, nil, errPair
	}
	return signer, signer.Public(), nil
}

// encodePair is the PKCS #8 form of a key pair of any type.
func encodePair(pair crypto.PrivateKey) ([]byte, error) {
	var encoded []byte
	var err error
	if p, ok := pair.(*latticePair); ok {
		encoded, err = p.encode()
	} else {
		encoded, err = x509.MarshalPKCS8PrivateKey(pair)
	}
	if err != nil {
		return nil, fmt.Errorf("encode a key pair: %w", err)
	}
	return encoded, nil
}

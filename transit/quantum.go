package transit

import (
	"bytes"
	"crypto"
	"crypto/hpke"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/cloudflare/circl/sign"
	"github.com/cloudflare/circl/sign/mldsa/mldsa44"
	"github.com/cloudflare/circl/sign/mldsa/mldsa65"
	"github.com/cloudflare/circl/sign/mldsa/mldsa87"
)

// lattice is what the post-quantum types have beside the others: one of scheme and kem. A key pair is made of a seed.
//
// Source: FIPS 203 and 204; RFC 9881 and 9935 for the encodings; RFC 9180 with ML-KEM for encryption.
type lattice struct {
	oid    asn1.ObjectIdentifier
	scheme sign.Scheme // ML-DSA
	kem    hpke.KEM    // ML-KEM
	seed   int         // bytes
	head   int         // bytes of an encapsulated key: ML-KEM
}

// nistAlgorithm is an identifier in the arc of the two standards.
func nistAlgorithm(family, number int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, family, number}
}

var (
	mlDSA44   = &lattice{oid: nistAlgorithm(3, 17), scheme: mldsa44.Scheme(), seed: mldsa44.SeedSize}
	mlDSA65   = &lattice{oid: nistAlgorithm(3, 18), scheme: mldsa65.Scheme(), seed: mldsa65.SeedSize}
	mlDSA87   = &lattice{oid: nistAlgorithm(3, 19), scheme: mldsa87.Scheme(), seed: mldsa87.SeedSize}
	mlKEM768  = &lattice{oid: nistAlgorithm(4, 2), kem: hpke.MLKEM768(), seed: mlkem.SeedSize, head: mlkem.CiphertextSize768}
	mlKEM1024 = &lattice{oid: nistAlgorithm(4, 3), kem: hpke.MLKEM1024(), seed: mlkem.SeedSize, head: mlkem.CiphertextSize1024}
	lattices  = []*lattice{mlDSA44, mlDSA65, mlDSA87, mlKEM768, mlKEM1024}
)

// latticePair is a key pair of a post-quantum type.
type latticePair struct {
	latticePublic
	signer   sign.PrivateKey // ML-DSA
	receiver hpke.PrivateKey // ML-KEM
	seed     []byte
}

// latticePublic is the public key of one.
type latticePublic struct {
	*lattice
	verifier sign.PublicKey
	sender   hpke.PublicKey
}

var errSeed = errors.New("not a seed of this type")

// pair makes the key pair of a seed.
func (l *lattice) pair(seed []byte) (*latticePair, error) {
	if len(seed) != l.seed {
		return nil, errSeed
	}
	p := &latticePair{latticePublic: latticePublic{lattice: l}, seed: seed}
	if l.scheme != nil {
		p.verifier, p.signer = l.scheme.DeriveKey(seed)
		return p, nil
	}
	var err error
	if p.receiver, err = l.kem.NewPrivateKey(seed); err != nil {
		return nil, errSeed
	}
	p.sender = p.receiver.PublicKey()
	return p, nil
}

func (l *lattice) generate() (*latticePair, error) {
	seed := make([]byte, l.seed)
	_, _ = rand.Read(seed) // never fails
	return l.pair(seed)
}

func (l *lattice) public(raw []byte) (*latticePublic, error) {
	p := &latticePublic{lattice: l}
	var err error
	if l.scheme != nil {
		p.verifier, err = l.scheme.UnmarshalBinaryPublicKey(raw)
	} else {
		p.sender, err = l.kem.NewPublicKey(raw)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// sign signs a message, with the context left empty.
func (p *latticePair) sign(message []byte) []byte {
	return p.scheme.Sign(p.signer, message, nil)
}

// Encryption with ML-KEM is HPKE in its base mode: the encapsulated key, and behind it the message under AES-256-GCM.
var (
	hpkeKDF  = hpke.HKDFSHA256()
	hpkeAEAD = hpke.AES256GCM()
)

func (p *latticePublic) encrypt(plaintext, associated []byte) ([]byte, error) {
	head, sender, err := hpke.NewSender(p.sender, hpkeKDF, hpkeAEAD, nil)
	if err != nil {
		return nil, fmt.Errorf("encapsulate a key: %w", err)
	}
	tail, err := sender.Seal(associated, plaintext)
	if err != nil {
		return nil, fmt.Errorf("encrypt under an encapsulated key: %w", err)
	}
	return append(head, tail...), nil
}

// decrypt opens what encrypt has made. Errors: Invalid.
func (p *latticePair) decrypt(sealed, associated []byte) ([]byte, error) {
	if len(sealed) < p.head {
		return nil, errLength
	}
	receiver, err := hpke.NewRecipient(sealed[:p.head], p.receiver, hpkeKDF, hpkeAEAD, nil)
	if err != nil {
		return nil, errTampered
	}
	plaintext, err := receiver.Open(associated, sealed[p.head:])
	if err != nil {
		return nil, errTampered
	}
	return plaintext, nil
}

// The encodings of keys, as crypto/x509 has them for the types that it knows.
type (
	pkcs8 struct {
		Version    int
		Algorithm  pkix.AlgorithmIdentifier
		PrivateKey []byte
	}
	pkixKey struct {
		Algorithm pkix.AlgorithmIdentifier
		PublicKey asn1.BitString
	}
	// seedAndKey is the form of private keys that holds the expanded key beside the seed that it is made of.
	seedAndKey struct{ Seed, Expanded []byte }
)

// seedTag marks a private key that is the seed alone.
const seedTag = 0

// latticeOf is the type with that identifier, or nil. The identifiers have no parameters.
func latticeOf(id pkix.AlgorithmIdentifier) *lattice {
	for _, l := range lattices {
		if l.oid.Equal(id.Algorithm) && len(id.Parameters.FullBytes) == 0 {
			return l
		}
	}
	return nil
}

func (p *latticePair) encode() ([]byte, error) {
	seed, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: seedTag, Bytes: p.seed})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(pkcs8{Algorithm: pkix.AlgorithmIdentifier{Algorithm: p.oid}, PrivateKey: seed})
}

func (p *latticePublic) encode() ([]byte, error) {
	raw := []byte(nil)
	if p.scheme != nil {
		var err error
		if raw, err = p.verifier.MarshalBinary(); err != nil {
			return nil, err
		}
	} else {
		raw = p.sender.Bytes()
	}
	return asn1.Marshal(pkixKey{
		Algorithm: pkix.AlgorithmIdentifier{Algorithm: p.oid}, PublicKey: asn1.BitString{Bytes: raw, BitLength: 8 * len(raw)},
	})
}

// parseLatticePair reads the PKCS #8 form of a pair; nil: it is not one of a post-quantum type.
func parseLatticePair(encoded []byte) (*latticePair, error) {
	var outer pkcs8
	if rest, err := asn1.Unmarshal(encoded, &outer); err != nil || len(rest) > 0 {
		return nil, nil
	}
	l := latticeOf(outer.Algorithm)
	if l == nil {
		return nil, nil
	}
	var bare asn1.RawValue
	if rest, err := asn1.Unmarshal(outer.PrivateKey, &bare); err != nil || len(rest) > 0 {
		return nil, errSeed
	}
	if bare.Class == asn1.ClassContextSpecific && bare.Tag == seedTag && !bare.IsCompound {
		return l.pair(bare.Bytes)
	}
	var both seedAndKey
	if rest, err := asn1.Unmarshal(outer.PrivateKey, &both); err != nil || len(rest) > 0 {
		return nil, errSeed // also where there is no seed: a key that was expanded does not go back
	}
	p, err := l.pair(both.Seed)
	if err != nil || l.scheme == nil {
		return p, err
	}
	if expanded, err := p.signer.MarshalBinary(); err != nil || !bytes.Equal(expanded, both.Expanded) {
		return nil, errSeed
	}
	return p, nil
}

// parsePublicKey reads the PKIX form of a public key of any type.
func parsePublicKey(encoded []byte) (crypto.PublicKey, error) {
	var outer pkixKey
	if rest, err := asn1.Unmarshal(encoded, &outer); err == nil && len(rest) == 0 {
		if l := latticeOf(outer.Algorithm); l != nil {
			return l.public(outer.PublicKey.RightAlign())
		}
	}
	return x509.ParsePKIXPublicKey(encoded)
}

// encodePublicKey is the PKIX form of a public key of any type.
func encodePublicKey(public crypto.PublicKey) ([]byte, error) {
	var encoded []byte
	var err error
	if p, ok := public.(*latticePublic); ok {
		encoded, err = p.encode()
	} else {
		encoded, err = x509.MarshalPKIXPublicKey(public)
	}
	if err != nil {
		return nil, fmt.Errorf("encode a public key: %w", err)
	}
	return encoded, nil
}

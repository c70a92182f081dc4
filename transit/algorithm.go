package transit

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"

	"leasehold/internal/secret"
)

// algorithm is a type of key. Two kinds differ in what is stored as their secret: symmetric types have newAEAD or are
// bytes for HMAC, and their secret is those bytes; all others have a key pair, and their secret is its PKCS #8 form.
type algorithm struct {
	name  string // on the wire
	set   string // parameter_set on the wire; empty: the type has none
	label string // of a version's public key, on the wire; empty: there is none

	encrypts bool
	derives  bool // can be made with derived = true
	signs    bool

	keyBytes int // of a symmetric key; 0: the key says, or it has a pair
	newAEAD  func(key []byte) (cipher.AEAD, error)
	curve    elliptic.Curve
	bits     int // of an RSA modulus
	lattice  *lattice
}

func aesGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

const (
	defaultAlgorithm = "aes256-gcm96"
	hmacAlgorithm    = "hmac"
	ed25519Algorithm = "ed25519"
)

// algorithms are the types that keys can have, by name and parameter set. Source: the wire contract's sheet on transit.
var algorithms = byName(
	&algorithm{name: "aes128-gcm96", encrypts: true, derives: true, keyBytes: 16, newAEAD: aesGCM},
	&algorithm{name: defaultAlgorithm, encrypts: true, derives: true, keyBytes: 32, newAEAD: aesGCM},
	&algorithm{name: "chacha20-poly1305", encrypts: true, derives: true, keyBytes: 32, newAEAD: chacha20poly1305.New},
	&algorithm{name: "xchacha20-poly1305", encrypts: true, derives: true, keyBytes: 32, newAEAD: chacha20poly1305.NewX},
	&algorithm{name: ed25519Algorithm, label: "ed25519", derives: true, signs: true},
	&algorithm{name: "ecdsa-p256", label: "P-256", signs: true, curve: elliptic.P256()},
	&algorithm{name: "ecdsa-p384", label: "P-384", signs: true, curve: elliptic.P384()},
	&algorithm{name: "ecdsa-p521", label: "P-521", signs: true, curve: elliptic.P521()},
	&algorithm{name: "rsa-2048", label: "rsa-2048", encrypts: true, signs: true, bits: 2048},
	&algorithm{name: "rsa-3072", label: "rsa-3072", encrypts: true, signs: true, bits: 3072},
	&algorithm{name: "rsa-4096", label: "rsa-4096", encrypts: true, signs: true, bits: 4096},
	&algorithm{name: hmacAlgorithm},
	&algorithm{name: "ml-dsa", set: "44", label: "ml-dsa-44", signs: true, lattice: mlDSA44},
	&algorithm{name: "ml-dsa", set: "65", label: "ml-dsa-65", signs: true, lattice: mlDSA65},
	&algorithm{name: "ml-dsa", set: "87", label: "ml-dsa-87", signs: true, lattice: mlDSA87},
	&algorithm{name: "ml-kem", set: "768", label: "ml-kem-768", encrypts: true, lattice: mlKEM768},
	&algorithm{name: "ml-kem", set: "1024", label: "ml-kem-1024", encrypts: true, lattice: mlKEM1024},
)

func byName(list ...*algorithm) map[[2]string]*algorithm {
	m := make(map[[2]string]*algorithm, len(list))
	for _, a := range list {
		m[[2]string{a.name, a.set}] = a
	}
	return m
}

// parameterSets are the values that parameter_set can have for a type, sorted.
func parameterSets(name string) []string {
	var sets []string
	for id := range algorithms {
		if id[0] == name && id[1] != "" {
			sets = append(sets, id[1])
		}
	}
	slices.Sort(sets)
	return sets
}

// authenticates reports whether associated data can be bound to what is encrypted.
func (a *algorithm) authenticates() bool {
	return a.newAEAD != nil || a.lattice != nil && a.lattice.kem != nil
}

// symmetric reports whether the secret is bare bytes.
func (a *algorithm) symmetric() bool { return a.label == "" }

// generate makes the material of a new version. keySize is for types whose keys have a size of their own, in bytes. It may
// take seconds for a large RSA key: not in a transaction.
func (a *algorithm) generate(keySize int) (material, error) {
	if a.symmetric() {
		key := make([]byte, max(a.keyBytes, keySize))
		_, _ = rand.Read(key) // never fails: the runtime ends the process when the system has no randomness
		return a.wrap(secret.NewBytes(key)), nil
	}
	pair, public, err := a.generatePair()
	if err != nil {
		return material{}, fmt.Errorf("generate a key of type %s: %w", a.label, err)
	}
	encoded, err := encodePair(pair)
	if err != nil {
		return material{}, err
	}
	m := a.wrap(secret.NewBytes(encoded))
	m.public, err = encodePublicKey(public)
	return m, err
}

func (a *algorithm) generatePair() (crypto.PrivateKey, crypto.PublicKey, error) {
	switch {
	case a.lattice != nil:
		pair, err := a.lattice.generate()
		if err != nil {
			return nil, nil, err
		}
		return pair, &pair.latticePublic, nil
	case a.bits > 0:
		pair, err := rsa.GenerateKey(rand.Reader, a.bits)
		if err != nil {
			return nil, nil, err
		}
		return pair, pair.Public(), nil
	case a.curve != nil:
		pair, err := ecdsa.GenerateKey(a.curve, rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		return pair, pair.Public(), nil
	}
	public, pair, err := ed25519.GenerateKey(rand.Reader)
	return pair, public, err
}

// hmacBytes is the size of the HMAC keys that other types have beside their own.
const hmacBytes = 32

// wrap makes the material of a version of its secret. Of a type with a pair, the public key is still to come.
func (a *algorithm) wrap(key secret.Bytes) material {
	m := material{secret: key}
	if a.name != hmacAlgorithm {
		other := make([]byte, hmacBytes)
		_, _ = rand.Read(other) // never fails
		m.hmac = secret.NewBytes(other)
	}
	return m
}

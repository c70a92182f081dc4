package transit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"strconv"

	"leasehold/engine"
	"leasehold/internal/errs"
)

// Signature schemes of RSA, and forms of ECDSA signatures.
const (
	schemePSS   = "pss"
	schemePKCS1 = "pkcs1v15"
	formASN1    = "asn1"
	formJWS     = "jws"
)

// manner is how a request wants signatures made or checked.
type manner struct {
	hash      crypto.Hash // 0: none
	prehashed bool
	scheme    string
	salt      int // bytes, or one of the rsa package's values
	encoding  *base64.Encoding
	jws       bool
}

// readManner reads the fields of a request. Errors: Invalid. Source: recording transit-sign.
func readManner(f *engine.Fields) (manner, error) {
	m := manner{prehashed: f.Bool("prehashed"), scheme: f.Text("signature_algorithm"), encoding: base64.StdEncoding}
	if m.scheme == "" {
		m.scheme = schemePSS
	}
	name := hashName(f)
	var known bool
	if m.hash, known = hashes[name]; !known && name != noHash {
		return m, errs.New(errs.Invalid, "invalid hash algorithm %q", name)
	}
	switch form := f.Text("marshaling_algorithm"); form {
	case "", formASN1:
	case formJWS:
		m.jws, m.encoding = true, base64.RawURLEncoding
	default:
		return m, errs.New(errs.Invalid, "invalid marshaling type %q", form)
	}
	switch length := f.Text("salt_length"); length {
	case "", "auto":
		m.salt = rsa.PSSSaltLengthAuto
	case "hash":
		m.salt = rsa.PSSSaltLengthEqualsHash
	default:
		n, err := strconv.Atoi(length)
		switch {
		case err != nil:
			return m, errs.New(errs.Invalid, "salt length neither 'auto', 'hash', nor an int: %s", length)
		case n < rsa.PSSSaltLengthEqualsHash:
			return m, errs.New(errs.Invalid, "salt length is invalid: %s", length)
		}
		m.salt = n
	}
	if m.hash == 0 && (!m.prehashed || m.scheme != schemePKCS1) {
		return m, errs.New(errs.Invalid, "hash_algorithm=none requires both prehashed=true and signature_algorithm=pkcs1v15")
	}
	return m, nil
}

// digest is what is signed in place of an input: of types that hash, its digest.
func (m manner) digest(input []byte) []byte {
	if m.prehashed || m.hash == 0 {
		return input
	}
	return digest(m.hash, input)
}

// wrongSize reports whether a digest is not one of the hash.
func (m manner) wrongSize(digest []byte) bool { return m.hash != 0 && len(digest) != m.hash.Size() }

func badScheme(scheme string) error {
	return errs.Framed(errs.Fault, "unsupported rsa signature algorithm %s", scheme)
}

// sign signs an input.
//
// Errors: Fault (not a digest of the hash; unknown scheme; a salt that does not fit).
func (m manner) sign(pair crypto.PrivateKey, input []byte) (signature []byte, err error) {
	switch pair := pair.(type) {
	case *rsa.PrivateKey:
		signature, err = m.signRSA(pair, m.digest(input))
	case *ecdsa.PrivateKey:
		signature, err = m.signECDSA(pair, m.digest(input))
	case ed25519.PrivateKey:
		signature = ed25519.Sign(pair, input)
	case *latticePair:
		signature = pair.sign(input)
	}
	if err != nil && errs.From(err) == nil {
		return nil, errs.Framed(errs.Fault, "%s", err) // the libraries' words name neither keys nor messages
	}
	return signature, err
}

func (m manner) signRSA(pair *rsa.PrivateKey, digest []byte) ([]byte, error) {
	if m.wrongSize(digest) {
		return nil, errs.Framed(errs.Fault, "crypto/rsa: input must be hashed with given hash")
	}
	switch m.scheme {
	case schemePSS:
		return rsa.SignPSS(rand.Reader, pair, m.hash, digest, &rsa.PSSOptions{SaltLength: m.salt})
	case schemePKCS1:
		return rsa.SignPKCS1v15(rand.Reader, pair, m.hash, digest)
	}
	return nil, badScheme(m.scheme)
}

func (m manner) signECDSA(pair *ecdsa.PrivateKey, digest []byte) ([]byte, error) {
	if m.wrongSize(digest) {
		return nil, errs.Framed(errs.Fault, "input must be hashed with the given hash")
	}
	if !m.jws {
		return ecdsa.SignASN1(rand.Reader, pair, digest)
	}
	r, s, err := ecdsa.Sign(rand.Reader, pair, digest)
	if err != nil {
		return nil, err
	}
	size := scalarBytes(&pair.PublicKey)
	out := make([]byte, 2*size)
	r.FillBytes(out[:size])
	s.FillBytes(out[size:])
	return out, nil
}

// scalarBytes is the size of each of the two numbers of a signature in its fixed form.
func scalarBytes(public *ecdsa.PublicKey) int { return (public.Curve.Params().BitSize + 7) / 8 }

// verify reports whether a signature is one of the input. Errors: Fault (unknown scheme).
func (m manner) verify(public crypto.PublicKey, input, signature []byte) (bool, error) {
	switch public := public.(type) {
	case *rsa.PublicKey:
		switch m.scheme {
		case schemePSS:
			return rsa.VerifyPSS(public, m.hash, m.digest(input), signature, &rsa.PSSOptions{SaltLength: m.salt}) == nil, nil
		case schemePKCS1:
			return rsa.VerifyPKCS1v15(public, m.hash, m.digest(input), signature) == nil, nil
		}
		return false, badScheme(m.scheme)
	case *ecdsa.PublicKey:
		if !m.jws {
			return ecdsa.VerifyASN1(public, m.digest(input), signature), nil
		}
		size := scalarBytes(public)
		if len(signature) != 2*size {
			return false, nil
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		return ecdsa.Verify(public, m.digest(input), r, s), nil
	case ed25519.PublicKey:
		return ed25519.Verify(public, input, signature), nil
	case *latticePublic:
		return public.scheme.Verify(public.verifier, input, signature, nil), nil
	}
	return false, nil
}

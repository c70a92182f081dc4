package transit

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"

	"leasehold/internal/errs"
)

// prefix begins everything that a key has made, ahead of the version.
const prefix = "vault:v"

// format is the published form of what a version has made.
func format(version int, raw []byte, encoding *base64.Encoding) string {
	out := make([]byte, 0, len(prefix)+20+encoding.EncodedLen(len(raw)))
	out = strconv.AppendInt(append(out, prefix...), int64(version), 10)
	return string(encoding.AppendEncode(append(out, ':'), raw))
}

// The forms that text can fail to have.
const (
	noPrefix    = "no prefix"
	wrongFields = "wrong number of fields"
	badVersion  = "version number could not be decoded"
)

// split parts text of the published form into its version and its encoded bytes; flaw is what is wrong with it. Version 0
// is 1: the first releases of the format began to count there.
func split(text string) (version int, encoded, flaw string) {
	rest, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return 0, "", noPrefix
	}
	number, encoded, ok := strings.Cut(rest, ":")
	if !ok {
		return 0, "", wrongFields
	}
	version, err := strconv.Atoi(number)
	switch {
	case err != nil:
		return 0, "", badVersion
	case version == 0:
		version = 1
	}
	return version, encoded, ""
}

// decodeField decodes a field that has to be base64. Errors: Invalid.
func decodeField(text string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errs.New(errs.Invalid, "%s", err) // it tells the place alone
	}
	return raw, nil
}

var (
	errTampered = errs.New(errs.Invalid, "cipher: message authentication failed")
	errLength   = errs.New(errs.Invalid, "invalid ciphertext length")
)

// encrypt seals a message with a version.
//
// Errors: Invalid (no context), Fault (too long for the key).
func (k *key) encrypt(v *version, context, plaintext, associated []byte) ([]byte, error) {
	switch public := v.public.(type) {
	case *latticePublic:
		return public.encrypt(plaintext, associated)
	case *rsa.PublicKey:
		sealed, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, plaintext, nil)
		if err != nil {
			return nil, errs.Framed(errs.Fault, "failed to RSA encrypt the plaintext: %s", err)
		}
		return sealed, nil
	}
	aead, nonce := v.aead, []byte(nil)
	if k.Derived {
		d, err := k.deriveCipher(v, context)
		if err != nil {
			return nil, err
		}
		aead = d
		if k.Convergent {
			nonce = d.nonce(plaintext, associated)
		}
	}
	out := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plaintext)+aead.Overhead())
	if nonce == nil {
		_, _ = rand.Read(out) // never fails
	} else {
		copy(out, nonce)
	}
	return aead.Seal(out, out, plaintext, associated), nil
}

// nonce is that of a message of a convergent key. Two messages must not share one unless they are equal in all: under the
// same nonce, GCM's tags of different associated data would give away its authentication key. So a message with such data
// has a nonce of it, too, by a key of its own.
func (d derived) nonce(plaintext, associated []byte) []byte {
	mac := hmac.New(sha256.New, d.plain)
	if len(associated) > 0 {
		mac = hmac.New(sha256.New, d.bound)
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(associated))))
		mac.Write(associated)
	}
	mac.Write(plaintext)
	return mac.Sum(nil)
}

// decrypt opens what encrypt has made.
//
// Errors: Invalid (no context; too short; not authentic), Fault (RSA).
func (k *key) decrypt(v *version, context, sealed, associated []byte) ([]byte, error) {
	switch pair := v.pair.(type) {
	case nil:
		if v.public != nil {
			return nil, errs.Framed(errs.Fault, "requested version for decryption does not contain a private part")
		}
	case *latticePair:
		return pair.decrypt(sealed, associated)
	case *rsa.PrivateKey:
		plaintext, err := rsa.DecryptOAEP(sha256.New(), nil, pair, sealed, nil)
		if err != nil {
			return nil, errs.Framed(errs.Fault, "failed to RSA decrypt the ciphertext: %s", err)
		}
		return plaintext, nil
	}
	var aead cipher.AEAD = v.aead
	if k.Derived {
		d, err := k.deriveCipher(v, context)
		if err != nil {
			return nil, err
		}
		aead = d
	}
	size := aead.NonceSize()
	if len(sealed) < size {
		return nil, errLength
	}
	plaintext, err := aead.Open(nil, sealed[:size], sealed[size:], associated)
	if err != nil {
		return nil, errTampered
	}
	return plaintext, nil
}

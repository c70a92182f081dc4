package keyring

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"

	"golang.org/x/crypto/chacha20poly1305"
)

// KeySize is the size of every key, in bytes.
const KeySize = chacha20poly1305.KeySize

const (
	envelopeVersion = 1
	suiteXChaCha    = 1

	headerSize = 6
	nonceSize  = chacha20poly1305.NonceSizeX
)

// Overhead is what sealing adds to the size of a value, in bytes.
const Overhead = headerSize + nonceSize + chacha20poly1305.Overhead

var (
	// ErrTampered says that a value does not open: it was edited, moved from another place, or sealed by another store.
	ErrTampered = errors.New("a sealed value does not open")
	// ErrUnknownKey says that the keyring lacks the key a value names: it is older than the value, or the value was edited.
	ErrUnknownKey = errors.New("a sealed value names a key that is not in the keyring")
	// ErrWiped says that the keyring was wiped.
	ErrWiped = errors.New("the keyring was wiped")
)

// Place is where a sealed value stands. It is authenticated with the value but not stored in it.
type Place struct{ Store, Table, Column, Key string }

// additional is what the seal covers besides the value: each field is preceded by its length, so that no two places
// make the same bytes.
func additional(header []byte, p Place) []byte {
	n := len(header) + len(p.Store) + len(p.Table) + len(p.Column) + len(p.Key) + 5*4
	out := make([]byte, 0, n)
	out = append(binary.BigEndian.AppendUint32(out, uint32(len(header))), header...)
	for _, field := range [...]string{p.Store, p.Table, p.Column, p.Key} {
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(field))), field...)
	}
	return out
}

// newCipher makes the cipher of one key. It keeps a copy of the key that cannot be wiped, only dropped; so a keyring
// makes one for each key and not one for each value.
func newCipher(key *[KeySize]byte) cipher.AEAD {
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic("the key's size is a constant, and the cipher refuses it: " + err.Error())
	}
	return aead
}

func seal(id uint32, aead cipher.AEAD, p Place, plain []byte) []byte {
	out := make([]byte, headerSize+nonceSize, Overhead+len(plain))
	out[0], out[1] = envelopeVersion, suiteXChaCha
	binary.BigEndian.PutUint32(out[2:headerSize], id)
	nonce := out[headerSize:]
	_, _ = rand.Read(nonce) // never fails: the runtime ends the process when the system has no randomness
	return aead.Seal(out, nonce, plain, additional(out[:headerSize], p))
}

// keyID reads which key a sealed value names.
func keyID(sealed []byte) (uint32, error) {
	if len(sealed) < Overhead || sealed[0] != envelopeVersion || sealed[1] != suiteXChaCha {
		return 0, ErrTampered
	}
	return binary.BigEndian.Uint32(sealed[2:headerSize]), nil
}

func open(aead cipher.AEAD, p Place, sealed []byte) ([]byte, error) {
	nonce, ciphertext := sealed[headerSize:headerSize+nonceSize], sealed[headerSize+nonceSize:]
	plain, err := aead.Open(nil, nonce, ciphertext, additional(sealed[:headerSize], p))
	if err != nil {
		return nil, ErrTampered
	}
	return plain, nil
}

// Wrap seals plain with one key that is in no keyring. The envelope names key 0.
func Wrap(key *[KeySize]byte, p Place, plain []byte) []byte { return seal(0, newCipher(key), p, plain) }

// Unwrap opens what Wrap made. Errors: ErrTampered, also when the key is the wrong one.
func Unwrap(key *[KeySize]byte, p Place, sealed []byte) ([]byte, error) {
	id, err := keyID(sealed)
	if err != nil {
		return nil, err
	}
	if id != 0 {
		return nil, ErrTampered
	}
	return open(newCipher(key), p, sealed)
}

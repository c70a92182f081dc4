package keywrap_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"testing"

	kwp "github.com/tink-crypto/tink-go/v2/kwp/subtle"

	"leasehold/internal/secret"
	"leasehold/transit/keywrap"
)

// foreign is a key under the key 00 01 02 ...
const foreign = "0d18639630483314c681e9e88b235470c49cd7f1b4b57f702120d5dc6e6a186c558c38f1f2652211"

func newPair(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	pair, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	pair, other := newPair(t), newPair(t)
	for _, name := range []string{"", "SHA1", "SHA224", "SHA256", "SHA384", "SHA512"} {
		h, known := keywrap.Hash(name)
		if !known {
			t.Fatalf("%q is unknown", name)
		}
		for _, size := range []int{keywrap.MinKey, 17, 32, 513, keywrap.MaxKey} {
			key := make([]byte, size)
			_, _ = rand.Read(key)
			wrapped, err := keywrap.Wrap(&pair.PublicKey, h, secret.NewBytes(key))
			if err != nil {
				t.Fatal(err)
			}
			got, err := keywrap.Unwrap(pair, h, wrapped)
			if err != nil || !bytes.Equal(got.Reveal(), key) {
				t.Errorf("%s, %d bytes: %v", name, size, err)
			}
			if _, err := keywrap.Unwrap(other, h, wrapped); !errors.Is(err, keywrap.ErrEphemeral) {
				t.Errorf("another pair: %v", err)
			}
		}
	}
	if _, known := keywrap.Hash("MD5"); known {
		t.Error("MD5 is known")
	}
	for _, size := range []int{0, keywrap.MinKey - 1, keywrap.MaxKey + 1} {
		if _, err := keywrap.Wrap(&pair.PublicKey, crypto.SHA256, secret.NewBytes(make([]byte, size))); err == nil {
			t.Errorf("a key of %d bytes is wrapped", size)
		}
	}
}

// The value was made with Python's cryptography package: aes_key_wrap_with_padding.
func TestWrappingOfOthers(t *testing.T) {
	t.Parallel()
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i)
	}
	wrapped, err := hex.DecodeString(foreign)
	if err != nil {
		t.Fatal(err)
	}
	wrapper, err := kwp.NewKWP(key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := wrapper.Unwrap(wrapped)
	if err != nil || string(got) != "a key of some 27 bytes size" {
		t.Errorf("got %q, %v", got, err)
	}
}

// A wrapped key opens as it was made, and not with a bit changed.
func FuzzUnwrap(f *testing.F) {
	pair := newPair(f)
	want := bytes.Repeat([]byte{7}, 32)
	wrapped, err := keywrap.Wrap(&pair.PublicKey, crypto.SHA256, secret.NewBytes(want))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint(0), byte(0), []byte(nil), uint(0))
	f.Add(uint(300), byte(1), []byte(nil), uint(0))
	f.Add(uint(0), byte(0), []byte("x"), uint(0))
	f.Add(uint(0), byte(0), []byte(nil), uint(40))
	f.Fuzz(func(t *testing.T, at uint, flip byte, more []byte, cut uint) {
		edited := append(bytes.Clone(wrapped), more...)
		edited[int(at%uint(len(edited)))] ^= flip
		edited = edited[:len(edited)-int(cut%uint(len(edited)))]
		got, err := keywrap.Unwrap(pair, crypto.SHA256, edited)
		if same := bytes.Equal(edited, wrapped); same != (err == nil) || (same && !bytes.Equal(got.Reveal(), want)) {
			t.Errorf("byte %d flipped by %x, %x added, %d cut: %v", at, flip, more, cut, err)
		}
	})
}

package transit

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/store/storetest"
)

// What format makes split reads back, and whatever else split reads can be made again.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"vault:v1:", "vault:v0:AA==", "vault:v-1:x", "vault:v:", "vault:v+2:a:b", "VAULT:v1:", "vault:v99999999999999999999:"} {
		f.Add(seed, 1, []byte("x"))
	}
	f.Fuzz(func(t *testing.T, text string, version int, raw []byte) {
		if number, encoded, flaw := split(text); flaw == "" {
			again, same, flaw := split(prefix + itoa(number) + ":" + encoded)
			if again != number || same != encoded || flaw != "" {
				t.Errorf("%q is %d and %q, and then %d and %q, %s", text, number, encoded, again, same, flaw)
			}
		}
		number, encoded, flaw := split(format(version, raw, base64.StdEncoding))
		if version == 0 {
			version = 1
		}
		decoded, err := base64.StdEncoding.DecodeString(encoded)
		if number != version || flaw != "" || err != nil || !bytes.Equal(decoded, raw) {
			t.Errorf("%d and %x come back as %d and %x, %s, %v", version, raw, number, decoded, flaw, err)
		}
	})
}

func itoa(n int) string {
	encoded, _ := json.Marshal(n)
	return string(encoded)
}

// A batch has as many items as its list, in order, or it is refused in words that are for the client.
func FuzzReadBatch(f *testing.F) {
	for _, seed := range []string{
		`[]`, `[{}]`, `[{"plaintext":"","key_version":1,"reference":"r"}]`, `"x"`, `{}`, `[null]`, `[[]]`, `[{"plaintext":5}]`, `[{"plaintext":"a","key_version":1e99}]`, `5`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		var raw any
		d := json.NewDecoder(bytes.NewReader(encoded))
		d.UseNumber()
		if d.Decode(&raw) != nil {
			return
		}
		fields, err := engine.Convert(engine.Schema{"batch_input": engine.Any}, map[string]any{"batch_input": raw})
		if err != nil {
			t.Fatal(err)
		}
		b, err := readBatch(fields, "plaintext", "missing")
		if err != nil {
			if errs.From(err) == nil {
				t.Errorf("%s: %v", encoded, err)
			}
			return
		}
		list, many := raw.([]any)
		if b.many != many || (many && len(b.items) != len(list)) {
			t.Errorf("%s: %d items", encoded, len(b.items))
		}
		for i, it := range b.items {
			if it.index != i {
				t.Errorf("%s: item %d has index %d", encoded, i, it.index)
			}
		}
	})
}

// A backup that is accepted holds every version, each of which can be used, and makes the same backup again.
func FuzzReadBackup(f *testing.F) {
	e, err := New(Config{Store: storetest.NewAt(f, clock.NewFake(time.Unix(1, 0)), Migrations()...)})
	if err != nil {
		f.Fatal(err)
	}
	for _, id := range [][2]string{{"aes256-gcm96", ""}, {"ed25519", ""}, {"ecdsa-p256", ""}, {"hmac", ""}, {"ml-kem", "768"}} {
		k := &key{name: "k", settings: settings{Type: id[0], ParameterSet: id[1], Latest: 2, MinDecryption: 1}}
		if id[0] == hmacAlgorithm {
			k.KeySize = minKeySize
		}
		b := backup{Format: backupFormat, Name: "k", Settings: k.settings, Versions: map[int]storedMaterial{}}
		for n := 1; n <= 2; n++ {
			m, err := k.algorithm().generate(k.KeySize)
			if err != nil {
				f.Fatal(err)
			}
			b.Versions[n] = m.stored()
		}
		encoded, err := json.Marshal(b)
		if err != nil {
			f.Fatal(err)
		}
		if _, _, err := e.readBackup(base64.StdEncoding.EncodeToString(encoded)); err != nil {
			f.Fatalf("%s: %v", id, err)
		}
		f.Add(encoded)
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		k, versions, err := e.readBackup(base64.StdEncoding.EncodeToString(encoded))
		if err != nil {
			if errs.CodeOf(err) != errs.Fault {
				t.Errorf("%v", err)
			}
			return
		}
		for n := max(k.MinAvailable, 1); n <= k.Latest; n++ {
			if _, err := k.open(n, versions[n]); err != nil {
				t.Errorf("version %d: %v", n, err)
			}
		}
		b := backup{Format: backupFormat, Name: k.name, Settings: k.settings, Versions: map[int]storedMaterial{}}
		for n, m := range versions {
			b.Versions[n] = m.stored()
		}
		again, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := e.readBackup(base64.StdEncoding.EncodeToString(again)); err != nil {
			t.Errorf("what was accepted is refused: %v", err)
		}
	})
}

// A key pair that is read has a public key that is read, too, and both are the same when they come back.
func FuzzParsePair(f *testing.F) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	for _, pair := range []any{ed, ec} {
		encoded, err := x509.MarshalPKCS8PrivateKey(pair)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	for _, l := range lattices {
		pair, err := l.generate()
		if err != nil {
			f.Fatal(err)
		}
		encoded, err := pair.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		_, public, err := parsePair(secret.NewBytes(encoded))
		if err != nil {
			if !errors.Is(err, errPair) {
				t.Errorf("%v", err)
			}
			return
		}
		shown, err := encodePublicKey(public)
		if err != nil {
			return // X25519 and others that no type of key takes
		}
		back, err := parsePublicKey(shown)
		if err != nil {
			t.Fatalf("the public key %x is not read: %v", shown, err)
		}
		if again, err := encodePublicKey(back); err != nil || !bytes.Equal(again, shown) {
			t.Errorf("the public key %x is another one: %x, %v", shown, again, err)
		}
	})
}

// A chain that is accepted is accepted again as it is stored, with the same first certificate.
func FuzzReadChain(f *testing.F) {
	f.Add("junk")
	f.Add("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	_, pair, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	encoded, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{}, &x509.Certificate{}, pair.Public(), pair)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(armour("CERTIFICATE", encoded) + "\n" + armour("CERTIFICATE", encoded))
	f.Fuzz(func(t *testing.T, text string) {
		leaf, chain, err := readChain(text)
		if err != nil {
			return
		}
		again, same, err := readChain(chain)
		if err != nil || same != chain || !again.Equal(leaf) {
			t.Errorf("%q is stored as %q, and then as %q: %v", text, chain, same, err)
		}
	})
}

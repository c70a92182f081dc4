package transit_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"leasehold/internal/secret"
	"leasehold/transit/keywrap"
)

// wrappingPair is a pair for all mounts, PKCS #8: it takes seconds to make.
var wrappingPair = sync.OnceValues(func() ([]byte, error) {
	pair, err := rsa.GenerateKey(rand.Reader, 4096)
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKCS8PrivateKey(pair)
})

// keepWrappingPair makes wrappingPair that of the mount.
func (w *world) keepWrappingPair() {
	w.Helper()
	pair, err := wrappingPair()
	if err == nil {
		err = w.engine.KeepWrappingPair(w.Context(), w.mount, secret.NewBytes(pair))
	}
	if err != nil {
		w.Fatal(err)
	}
}

// wrapped makes key material ready for import.
func (w *world) wrapped(key []byte, h crypto.Hash) string {
	w.Helper()
	block, _ := pem.Decode([]byte(str(w, w.get("wrapping_key"), "public_key")))
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		w.Fatal(err)
	}
	wrapped, err := keywrap.Wrap(public.(*rsa.PublicKey), h, secret.NewBytes(key))
	if err != nil {
		w.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(wrapped)
}

// vector is a key, and what others make of it. The file was written with Python's cryptography package, which calls OpenSSL;
// the one of XChaCha20-Poly1305 is that of its specification.
type vector struct {
	Type    string
	Key     []byte
	Derived bool
	Checks  []struct {
		Path string
		Body data
		Want data
	}
}

// What was encrypted and signed elsewhere under an imported key is decrypted and verified here, and where there is no chance
// in it the same comes out here.
func TestVectors(t *testing.T) {
	t.Parallel()
	encoded, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(encoded, &vectors); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.keepWrappingPair()
	for i, v := range vectors {
		name := fmt.Sprintf("v%d-%s", i, v.Type)
		t.Run(name, func(t *testing.T) {
			w := *w
			w.TB = t
			w.post("keys/"+name+"/import", fmt.Sprintf(`{"type":%q,"derived":%v,"ciphertext":%q}`, v.Type, v.Derived, w.wrapped(v.Key, crypto.SHA256)))
			for _, c := range v.Checks {
				body, err := json.Marshal(c.Body)
				if err != nil {
					t.Fatal(err)
				}
				got := w.post(c.Path+"/"+name, string(body))
				if text(t, got) != text(t, c.Want) {
					t.Errorf("%s %s:\n got %s\nwant %s", c.Path, body, text(t, got), text(t, c.Want))
				}
			}
		})
	}
}

// The examples of the documents that define the encodings: keys made of the seed 00 01 02 ...
func TestLatticeVectors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.keepWrappingPair()
	for _, c := range []struct {
		name, fields, private string
		size                  int    // of the public key
		sum                   string // SHA-256 of it
		start                 string // of it, where the sum is not known
	}{
		{"ml-dsa", `"type":"ml-dsa","parameter_set":"44"`, "MDQCAQAwCwYJYIZIAWUDBAMRBCKAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
			1312, "9f107644c1084526af3bc8098680b05499a2325a644e388fb4f970e058d19d46", "d7b2b47254aae0db45e7930d4a98d2c97d8f1397d1789dafa17024b316e9bec9"},
		{"ml-kem", `"type":"ml-kem","parameter_set":"1024"`,
			"MFQCAQAwCwYJYIZIAWUDBAQDBEKAQAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=",
			1568, "", "4b94c29450111191823b3514c9ac1ea3d9825ccb86393a2dfb04654fa2192d37bfad1c497c6502eee5ca80a73bfce0baf5a54a88585a401397a3d232f426a7af"},
	} {
		private, err := base64.StdEncoding.DecodeString(c.private)
		if err != nil {
			t.Fatal(err)
		}
		w.post("keys/"+c.name+"/import", "{"+c.fields+`,"exportable":true,"ciphertext":"`+w.wrapped(private, crypto.SHA256)+`"}`)
		block, _ := pem.Decode([]byte(str(t, w.get("export/public-key/" + c.name)["keys"].(data), "1")))
		raw := block.Bytes[len(block.Bytes)-c.size:]
		if sum := sha256.Sum256(raw); c.sum != "" && hex.EncodeToString(sum[:]) != c.sum {
			t.Errorf("%s: the public key has the sum %x", c.name, sum)
		}
		if !strings.HasPrefix(hex.EncodeToString(raw), strings.ReplaceAll(c.start, " ", "")) {
			t.Errorf("%s: the public key begins %x", c.name, raw[:64])
		}
		what := map[string]string{"ml-dsa": "signing-key", "ml-kem": "encryption-key"}[c.name]
		block, _ = pem.Decode([]byte(str(t, w.get("export/" + what + "/" + c.name)["keys"].(data), "1")))
		if block == nil || string(block.Bytes) != string(private) {
			t.Errorf("%s is not exported as it was imported", c.name)
		}
		public := str(t, w.get("keys/" + c.name)["keys"].(data)["1"].(data), "public_key")
		w.post("keys/public-"+c.name+"/import", "{"+c.fields+`,"public_key":`+text(t, public)+`}`)
	}
	signature := str(t, w.post("sign/ml-dsa", `{"input":"bQ=="}`), "signature")
	if got := w.post("verify/public-ml-dsa", `{"input":"bQ==","signature":"`+signature+`"}`); got["valid"] != true {
		t.Errorf("got %v", got)
	}
	sealed := str(t, w.post("encrypt/public-ml-kem", `{"plaintext":"bQ==","associated_data":"YQ=="}`), "ciphertext")
	if got := w.post("decrypt/ml-kem", `{"ciphertext":"`+sealed+`","associated_data":"YQ=="}`); got["plaintext"] != "bQ==" {
		t.Errorf("got %v", got)
	}
	w.refuse(
		refusal{"decrypt/ml-kem", `{"ciphertext":"` + sealed + `"}`, 1, "cipher: message authentication failed"},
		refusal{"decrypt/ml-kem", `{"ciphertext":"vault:v1:AAAA"}`, 1, "invalid ciphertext length"},
		refusal{"decrypt/public-ml-kem", `{"ciphertext":"` + sealed + `"}`, 12, "requested version for decryption does not contain a private part"},
		refusal{"sign/public-ml-dsa", `{"input":""}`, 12, "requested version for signing does not contain a private part"},
	)
}

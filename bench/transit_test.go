package bench

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"leasehold/server/proctest"
)

// BenchmarkTransit asks what encrypting and decrypting 1 KiB costs, alone and in batches of a hundred. Beside it, in turns: a
// bare net/http handler that takes and answers as many bytes, and the bare cipher.
//
// A request costs 2 Views, of the token and of the key's mark, and 2 audit lines; none of it grows with the batch but the
// audit lines.
func BenchmarkTransit(b *testing.B) {
	srv := audited(b, "transit", map[string]any{"type": "transit"})
	makeKey(b, srv, "aes256-gcm96", nil)
	block, err := aes.NewCipher(make([]byte, 32))
	must(b, err)
	aead, err := cipher.NewGCM(block)
	must(b, err)
	plain, nonce := make([]byte, valueSize), make([]byte, 12)
	sealed := aead.Seal(nil, nonce, plain, nil)
	text := base64.StdEncoding.EncodeToString(plain)
	c := newCaller()
	for _, size := range []int{1, 100} {
		encrypt := body(b, size, map[string]any{"plaintext": text})
		answer, err := c.call(b.Context(), http.MethodPost, srv.URL()+"/v1/transit/encrypt/aes256-gcm96", srv.RootToken, encrypt)
		must(b, err)
		for _, op := range []struct {
			name string
			body []byte
			bare func() error
		}{
			{"encrypt", encrypt, func() error { aead.Seal(nil, nonce, plain, nil); return nil }},
			{"decrypt", body(b, size, map[string]any{"ciphertext": ciphertext(b, answer)}), func() error {
				_, err := aead.Open(nil, nonce, sealed, nil)
				return err
			}},
		} {
			measure(b, fmt.Sprintf("%s/batch=%d", op.name, size), c, srv, op.name+"/aes256-gcm96", op.body, func() (err error) {
				for range size {
					err = op.bare()
				}
				return err
			})
		}
	}
}

// BenchmarkTransitSign asks the same of signing 1 KiB and of checking a signature, for each type of key.
func BenchmarkTransitSign(b *testing.B) {
	srv := audited(b, "transit", map[string]any{"type": "transit"})
	message := make([]byte, valueSize)
	text, c := base64.StdEncoding.EncodeToString(message), newCaller()
	for _, k := range bareSigners(b, message) {
		makeKey(b, srv, k.name, k.fields)
		verb, field := "sign", "signature"
		if k.name == "hmac" {
			verb, field = "hmac", "hmac"
		}
		input := body(b, 1, map[string]any{"input": text})
		answer, err := c.call(b.Context(), http.MethodPost, srv.URL()+"/v1/transit/"+verb+"/"+k.name, srv.RootToken, input)
		must(b, err)
		check := body(b, 1, map[string]any{"input": text, field: data(b, answer)[field]})
		measure(b, k.name+"/sign", c, srv, verb+"/"+k.name, input, k.sign)
		measure(b, k.name+"/verify", c, srv, "verify/"+k.name, check, k.verify)
	}
}

func measure(b *testing.B, name string, c *caller, srv *proctest.Server, path string, request []byte, bare func() error) {
	b.Helper()
	url := srv.URL() + "/v1/transit/" + path
	answer, err := c.call(b.Context(), http.MethodPost, url, srv.RootToken, request)
	must(b, err)
	handler := bareHandler(b, answer)
	for _, clients := range []int{1, 8, 32} {
		b.Run(fmt.Sprintf("%s/clients=%d", name, clients), func(b *testing.B) {
			besides(b, clients,
				&side{name: "requests", work: func(ctx context.Context, _ int) error {
					_, err := c.call(ctx, http.MethodPost, url, srv.RootToken, request)
					return err
				}},
				&side{name: "http", work: func(ctx context.Context, _ int) error {
					_, err := c.call(ctx, http.MethodPost, handler, srv.RootToken, request)
					return err
				}},
				&side{name: "bare", work: func(context.Context, int) error { return bare() }})
		})
	}
}

func makeKey(b *testing.B, srv *proctest.Server, name string, fields map[string]any) {
	b.Helper()
	if fields == nil {
		fields = map[string]any{}
	}
	fields["type"] = name
	_, err := srv.Root(http.MethodPost, "transit/keys/"+name, fields)
	must(b, err)
}

// body is a request of one item, or of a batch of equal ones.
func body(b *testing.B, size int, item map[string]any) []byte {
	b.Helper()
	var request any = item
	if size > 1 {
		items := make([]map[string]any, size)
		for i := range items {
			items[i] = item
		}
		request = map[string]any{"batch_input": items}
	}
	encoded, err := json.Marshal(request)
	must(b, err)
	return encoded
}

func data(b *testing.B, answer []byte) map[string]any {
	b.Helper()
	var got struct{ Data map[string]any }
	must(b, json.Unmarshal(answer, &got))
	return got.Data
}

// ciphertext is that of an answer to one item, or of the first of a batch.
func ciphertext(b *testing.B, answer []byte) any {
	b.Helper()
	got := data(b, answer)
	if results, ok := got["batch_results"].([]any); ok {
		got, _ = results[0].(map[string]any)
	}
	return got["ciphertext"]
}

// signer is a type of key, and what the standard library does in its place.
type signer struct {
	name         string
	fields       map[string]any
	sign, verify func() error
}

func bareSigners(b *testing.B, message []byte) []signer {
	b.Helper()
	var all []signer
	// digest is hashed anew each time, as for a request.
	digest := func() []byte { d := sha256.Sum256(message); return d[:] }
	check := func(valid bool) error {
		if !valid {
			return fmt.Errorf("a signature of %d bytes does not verify", len(message))
		}
		return nil
	}
	public, private, err := ed25519.GenerateKey(nil)
	must(b, err)
	signature := ed25519.Sign(private, message)
	all = append(all, signer{
		"ed25519", nil, func() error { ed25519.Sign(private, message); return nil },
		func() error { return check(ed25519.Verify(public, message, signature)) },
	})
	for name, curve := range map[string]elliptic.Curve{"ecdsa-p256": elliptic.P256(), "ecdsa-p384": elliptic.P384(), "ecdsa-p521": elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		must(b, err)
		signature, err := ecdsa.SignASN1(rand.Reader, key, digest())
		must(b, err)
		all = append(all, signer{
			name, nil, func() error { _, err := ecdsa.SignASN1(rand.Reader, key, digest()); return err },
			func() error { return check(ecdsa.VerifyASN1(&key.PublicKey, digest(), signature)) },
		})
	}
	for _, bits := range []int{2048, 3072, 4096} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		must(b, err)
		signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest(), nil)
		must(b, err)
		all = append(all, signer{
			fmt.Sprint("rsa-", bits), nil,
			func() error { _, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest(), nil); return err },
			func() error { return rsa.VerifyPSS(&key.PublicKey, crypto.SHA256, digest(), signature, nil) },
		})
	}
	key := make([]byte, 32)
	mac := func() []byte { m := hmac.New(sha256.New, key); m.Write(message); return m.Sum(nil) }
	want := mac()
	return append(all, signer{
		"hmac", map[string]any{"key_size": 32}, func() error { mac(); return nil },
		func() error { return check(hmac.Equal(mac(), want)) },
	})
}

package transit_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"leasehold/engine"
	"leasehold/internal/errs"
)

// What a key of any type can do it does, also after a rotation and on another node; what it cannot is refused.
func TestEveryType(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := w.node()
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			w, other := *w, *other
			w.TB, other.TB = t, t
			info := w.post("keys/"+c.name, "{"+c.fields+"}")
			first := map[string]string{}
			if info["supports_encryption"] == true {
				first["ciphertext"] = str(t, w.post("encrypt/"+c.name, `{"plaintext":"`+b64("m")+`"}`), "ciphertext")
			}
			if info["supports_signing"] == true {
				first["signature"] = str(t, w.post("sign/"+c.name, `{"input":"`+b64("m")+`"}`), "signature")
			}
			first["hmac"] = str(t, w.post("hmac/"+c.name, `{"input":"`+b64("m")+`"}`), "hmac")
			newest := 1
			if !c.slow {
				newest = 2
				if rotated := other.post("keys/"+c.name+"/rotate", ""); rotated["latest_version"] != newest {
					t.Errorf("latest version is %v", rotated["latest_version"])
				}
			}
			for what, made := range first {
				if !strings.HasPrefix(made, "vault:v1:") {
					t.Errorf("%s is %s", what, made)
				}
				if what == "ciphertext" {
					if got := w.post("decrypt/"+c.name, `{"ciphertext":"`+made+`"}`); got["plaintext"] != b64("m") {
						t.Errorf("decrypted to %v", got)
					}
					again := w.post("rewrap/"+c.name, `{"ciphertext":"`+made+`"}`)
					if got := other.post("decrypt/"+c.name, `{"ciphertext":"`+str(t, again, "ciphertext")+`"}`); again["key_version"] != newest || got["plaintext"] != b64("m") {
						t.Errorf("rewrapped to %v, decrypted to %v", again, got)
					}
					dataKey := w.post("datakey/plaintext/"+c.name, "")
					if got := w.post("decrypt/"+c.name, `{"ciphertext":"`+str(t, dataKey, "ciphertext")+`"}`); got["plaintext"] != dataKey["plaintext"] {
						t.Errorf("data key %v, decrypted to %v", dataKey, got)
					}
					continue
				}
				for input, want := range map[string]bool{"m": true, "n": false} {
					body := fmt.Sprintf(`{"input":"%s","%s":"%s"}`, b64(input), what, made)
					if got := w.post("verify/"+c.name, body); got["valid"] != want {
						t.Errorf("%s: %v", body, got)
					}
				}
			}
			if first["signature"] != "" {
				if got := w.post("verify/"+c.name, `{"input":"","signature":"vault:v1:AAAA"}`); got["valid"] != false {
					t.Errorf("a signature of three bytes: %v", got)
				}
			}
			if first["ciphertext"] == "" {
				w.refuse(
					refusal{"encrypt/" + c.name, `{"plaintext":""}`, errs.Invalid, "message encryption not supported for key type "},
					refusal{"decrypt/" + c.name, `{"ciphertext":"vault:v1:"}`, errs.Invalid, "message decryption not supported for key type "},
					refusal{"rewrap/" + c.name, `{"ciphertext":"vault:v1:"}`, errs.Invalid, "message decryption not supported for key type "},
				)
			}
			if first["signature"] == "" {
				w.refuse(
					refusal{"sign/" + c.name, `{"input":""}`, errs.Invalid, "key type "},
					refusal{"verify/" + c.name, `{"input":"","signature":"vault:v1:"}`, errs.Invalid, "key type "},
				)
			}
			derived := info["supports_derivation"] == true
			resp, err := w.send("keys/derived-"+c.name, "{"+c.fields+`,"derived":true}`)
			if derived != (err == nil) {
				t.Errorf("derived: %v, %v", resp, err)
			}
		})
	}
}

// The length of a message does not matter, down to nothing and up to megabytes.
func TestSizes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, size := range []int{0, 1, 16, 4 << 20} {
		message := base64.StdEncoding.EncodeToString(make([]byte, size))
		sealed := w.post("encrypt/k", `{"plaintext":"`+message+`"}`)
		if got := w.post("decrypt/k", `{"ciphertext":"`+str(t, sealed, "ciphertext")+`"}`); got["plaintext"] != message {
			t.Errorf("a message of %d bytes comes back with %d characters", size, len(str(t, got, "plaintext")))
		}
	}
	w.post("keys/rsa", `{"type":"rsa-2048"}`)
	w.refuse(refusal{"encrypt/rsa", `{"plaintext":"` + base64.StdEncoding.EncodeToString(make([]byte, 191)) + `"}`, errs.Fault, "failed to RSA encrypt the plaintext: "})
	w.post("encrypt/rsa", `{"plaintext":"`+base64.StdEncoding.EncodeToString(make([]byte, 190))+`"}`)
}

func TestRefusedMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.post("keys/k", "")
	w.post("keys/d", `{"derived":true}`)
	w.post("keys/rsa", `{"type":"rsa-2048"}`)
	w.post("keys/k/rotate", "")
	w.post("keys/k/config", `{"min_decryption_version":2}`)
	sealed := str(t, w.post("encrypt/k", `{"plaintext":"bQ==","associated_data":"YQ=="}`), "ciphertext")
	w.refuse(
		refusal{"encrypt/k", `{}`, errs.Invalid, "missing plaintext to encrypt"},
		refusal{"encrypt/k", `{"plaintext":null}`, errs.Invalid, "missing plaintext to encrypt"},
		refusal{"encrypt/k", `{"plaintext":"*"}`, errs.Invalid, "illegal base64 data at input byte 0"},
		refusal{"encrypt/k", `{"plaintext":["x"]}`, errs.Invalid, "Field validation failed: error converting input for field \"plaintext\""},
		refusal{"encrypt/k", `{"plaintext":"","context":"*"}`, errs.Invalid, "illegal base64 data at input byte 0"},
		refusal{"encrypt/k", `{"plaintext":"","key_version":1}`, errs.Invalid, "requested version for encryption is less than the minimum encryption key version"},
		refusal{"encrypt/k", `{"plaintext":"","key_version":-1}`, errs.Invalid, "requested version for encryption is less than"},
		refusal{"encrypt/k", `{"plaintext":"","key_version":3}`, errs.Invalid, "requested version for encryption is higher than the latest key version"},
		refusal{"encrypt/k", `{"plaintext":"","associated_data":"*"}`, errs.Fault, "unable to get associated_data/additional_data from factory[0]: illegal base64 data"},
		refusal{"encrypt/rsa", `{"plaintext":"","associated_data":"YQ=="}`, errs.Invalid, "'[0].associated_data' provided for non-AEAD cipher suite rsa-2048"},
		refusal{"decrypt/rsa", `{"ciphertext":"vault:v1:YQ==","associated_data":"YQ=="}`, errs.Invalid, "'[0].associated_data' provided for non-AEAD cipher suite rsa-2048"},
		refusal{"decrypt/rsa", `{"ciphertext":"vault:v1:YQ=="}`, errs.Fault, "failed to RSA decrypt the ciphertext: crypto/rsa: decryption error"},
		refusal{"encrypt/d", `{"plaintext":""}`, errs.Invalid, "missing 'context' for key derivation"},
		refusal{"decrypt/d", `{"ciphertext":"vault:v1:AAAA"}`, errs.Invalid, "missing 'context' for key derivation"},
		refusal{"decrypt/k", `{}`, errs.Invalid, "missing ciphertext to decrypt"},
		refusal{"decrypt/k", `{"ciphertext":""}`, errs.Invalid, "missing ciphertext to decrypt"},
		refusal{"decrypt/k", `{"ciphertext":"` + sealed + `"}`, errs.Invalid, "cipher: message authentication failed"},
		refusal{"decrypt/k", `{"ciphertext":"` + sealed + `","associated_data":"Yg=="}`, errs.Invalid, "cipher: message authentication failed"},
		refusal{"decrypt/k", `{"ciphertext":"vault:v"}`, errs.Invalid, "invalid ciphertext: wrong number of fields"},
		refusal{"decrypt/k", `{"ciphertext":"Vault:v2:AAAA"}`, errs.Invalid, "invalid ciphertext: no prefix"},
		refusal{"decrypt/k", `{"ciphertext":"vault:v:AAAA"}`, errs.Invalid, "invalid ciphertext: version number could not be decoded"},
		refusal{"decrypt/k", `{"ciphertext":"vault:v99999999999999999999:AAAA"}`, errs.Invalid, "invalid ciphertext: version number could not be decoded"},
		refusal{"decrypt/k", `{"ciphertext":"vault:v3:AAAA"}`, errs.Invalid, "invalid ciphertext: version is too new"},
		refusal{"decrypt/k", `{"ciphertext":"vault:v-3:AAAA"}`, errs.Invalid, "ciphertext or signature version is disallowed by policy (too old)"},
		refusal{"decrypt/k", `{"ciphertext":"vault:v0:AAAA"}`, errs.Invalid, "ciphertext or signature version is disallowed by policy (too old)"},
		refusal{"decrypt/k", `{"ciphertext":"vault:v2:AAAA:"}`, errs.Invalid, "invalid ciphertext: could not decode base64"},
		refusal{"decrypt/k", `{"ciphertext":"vault:v2:AAAA"}`, errs.Invalid, "invalid ciphertext length"},
		refusal{"decrypt/none", `{"ciphertext":"vault:v1:"}`, errs.Invalid, "encryption key not found"},
		refusal{"rewrap/none", `{"ciphertext":"vault:v1:"}`, errs.Invalid, "encryption key not found"},
		refusal{"rewrap/k", `{}`, errs.Invalid, "missing ciphertext to decrypt"},
		refusal{"datakey/other/k", ``, errs.Invalid, "Invalid path, must be 'plaintext' or 'wrapped'"},
		refusal{"datakey/wrapped/k", `{"bits":0}`, errs.Invalid, "invalid bit length"},
		refusal{"datakey/wrapped/k", `{"associated_data":"*"}`, errs.Fault, "unable to get associated_data"},
		refusal{"encrypt/a b", `{"plaintext":""}`, errs.NotFound, "unsupported path"},
		refusal{"encrypt/a\x00b", `{"plaintext":""}`, errs.NotFound, "unsupported path"},
		refusal{"encrypt/schlüssel", `{"plaintext":""}`, errs.NotFound, "unsupported path"},
	)
}

// An unknown key is created by the first message that can be encrypted, and by nothing else.
func TestUpsert(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.refuse(
		refusal{"encrypt/k", `{"plaintext":"*"}`, errs.Invalid, "illegal base64 data at input byte 0"},
		refusal{"encrypt/k", `{"plaintext":"","type":"ecdsa-p256"}`, errs.Invalid, "key type ecdsa-p256 not supported for this operation"},
		refusal{"encrypt/k", `{"plaintext":"","type":"foo"}`, errs.Invalid, "unknown key type foo"},
		refusal{"encrypt/k", `{"plaintext":"","convergent_encryption":true}`, errs.Invalid, "convergent encryption requires derivation to be enabled, so context is required"},
		refusal{"encrypt/k", `{"plaintext":"","context":"YQ==","type":"rsa-2048"}`, errs.Fault, "key derivation and convergent encryption not supported for keys of type rsa-2048"},
		refusal{"encrypt/k", `{"batch_input":[]}`, errs.Invalid, "missing batch input to process"},
		refusal{"encrypt/k", `{"batch_input":[{"plaintext":""},{"plaintext":"","context":"YQ=="}]}`, errs.Invalid, "context should be set either in all the request blocks or in none"},
	)
	w.post("config/keys", `{"disable_upsert":true}`)
	w.refuse(refusal{"encrypt/k", `{"plaintext":""}`, errs.Invalid, "encryption key not found"})
	if resp, err := w.request(engine.Read, "keys/k", nil); resp != nil || err != nil {
		t.Fatalf("a refused request has left a key: %v, %v", resp, err)
	}
	w.post("config/keys", `{"disable_upsert":false}`)
	w.post("encrypt/k", `{"plaintext":"","context":"YQ==","convergent_encryption":true,"type":"xchacha20-poly1305"}`)
	got := w.get("keys/k")
	if got["type"] != "xchacha20-poly1305" || got["derived"] != true || got["convergent_encryption"] != true {
		t.Errorf("got %v", got)
	}
	// What the policies took for an update does not create: the key may have gone in between.
	r := &engine.Request{Operation: engine.Update, Mount: w.mount, Path: "encrypt/new", Data: data{"plaintext": ""}}
	if _, err := w.engine.Handle(t.Context(), r); errs.CodeOf(err) != errs.Invalid {
		t.Errorf("an update has created a key: %v", err)
	}
}

func TestBatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.post("keys/k", "")
	w.post("keys/rsa", `{"type":"rsa-2048"}`)
	sealed := str(t, w.post("encrypt/k", `{"plaintext":"bQ=="}`), "ciphertext")
	bound := str(t, w.post("encrypt/k", `{"plaintext":"bQ==","associated_data":"YQ=="}`), "ciphertext")
	const mix = `"batch_input":[{"plaintext":"bQ==","reference":"r"},{"plaintext":"*"},{"plaintext":"","key_version":9}]`
	for _, c := range []struct {
		path, body string
		status     int
		warnings   int
		want       string // %c stands for a ciphertext
	}{
		{"encrypt/k", `{"plaintext":"*",` + mix + `}`, 400, 0,
			`[{"ciphertext":"%c","key_version":1,"reference":"r"},{"error":"illegal base64 data at input byte 0","reference":""},{"error":"requested version for encryption is higher than the latest key version","reference":""}]`},
		{"encrypt/k", `{"partial_failure_response_code":"207",` + mix + `}`, 207, 0, ""},
		{"encrypt/k", `{"partial_failure_response_code":599,` + mix + `}`, 599, 0, ""},
		{"encrypt/k", `{"partial_failure_response_code":600,` + mix + `}`, 400, 1, ""},
		{"encrypt/k", `{"partial_failure_response_code":0,` + mix + `}`, 400, 1, ""},
		{"encrypt/k", `{"partial_failure_response_code":101,` + mix + `}`, 400, 1, ""}, // not the end of a request
		{"encrypt/k", `{"partial_failure_response_code":200,"batch_input":[{"plaintext":"*"}]}`, 400, 0, ""},
		{"encrypt/k", `{"batch_input":[{"plaintext":"","associated_data":"*"}]}`, 500, 0,
			`[{"error":"unable to get associated_data/additional_data from factory[0]: illegal base64 data at input byte 0","reference":""}]`},
		{"encrypt/k", `{"batch_input":[{"plaintext":"","associated_data":"*"},{"plaintext":"*"}]}`, 400, 0, ""},
		{"encrypt/rsa", `{"batch_input":[{"plaintext":""},{"plaintext":"","associated_data":"YQ=="}]}`, 400, 0,
			`[{"ciphertext":"%c","key_version":1,"reference":""},{"error":"'[1].associated_data' provided for non-AEAD cipher suite rsa-2048","reference":""}]`},
		{"decrypt/k", `{"batch_input":[{"ciphertext":"` + sealed + `"},{"ciphertext":"` + bound + `","associated_data":"YQ=="},{"ciphertext":"` + bound + `"},{"ciphertext":""}]}`, 400, 0,
			`[{"plaintext":"bQ==","reference":""},{"plaintext":"bQ==","reference":""},{"error":"cipher: message authentication failed","plaintext":"","reference":""},{"error":"missing ciphertext to decrypt","plaintext":"","reference":""}]`},
		{"rewrap/k", `{"partial_failure_response_code":418,"batch_input":[{"ciphertext":"` + sealed + `"},{"ciphertext":"x","reference":"y"}]}`, 0, 0,
			`[{"ciphertext":"%c","key_version":1,"reference":""},{"error":"invalid ciphertext: no prefix","reference":"y"}]`},
	} {
		resp, err := w.send(c.path, c.body)
		if err != nil {
			t.Fatalf("%s %s: %v", c.path, c.body, err)
		}
		if resp.Status != c.status || len(resp.Warnings) != c.warnings {
			t.Errorf("%s %s: status %d, warnings %v", c.path, c.body, resp.Status, resp.Warnings)
		}
		for _, one := range items(t, resp.Data) {
			if made, ok := one["ciphertext"]; ok {
				w.post("decrypt/"+strings.TrimPrefix(c.path[strings.Index(c.path, "/"):], "/"), `{"ciphertext":"`+made.(string)+`"}`)
				one["ciphertext"] = "%c"
			}
		}
		if got := text(t, resp.Data["batch_results"]); c.want != "" && got != c.want {
			t.Errorf("%s %s:\n got %s\nwant %s", c.path, c.body, got, c.want)
		}
	}
	w.refuse(
		refusal{"encrypt/k", `{"batch_input":"x"}`, errs.Fault, "failed to parse batch input: source data must be an array or slice"},
		refusal{"encrypt/k", `{"batch_input":{}}`, errs.Fault, "failed to parse batch input: source data must be an array or slice"},
		refusal{"encrypt/k", `{"batch_input":["x"]}`, errs.Fault, "failed to parse batch input: [0] expected a map, got 'string'"},
		refusal{"encrypt/k", `{"batch_input":[null]}`, errs.Fault, "failed to parse batch input: [0] expected a map"},
		refusal{"encrypt/k", `{"batch_input":[{"plaintext":""},{}]}`, errs.Fault, "failed to parse batch input: '[1].plaintext' missing plaintext to encrypt"},
		refusal{"encrypt/k", `{"batch_input":[{"plaintext":5}]}`, errs.Fault, "failed to parse batch input: '[0].plaintext' expected type 'string'"},
		refusal{"encrypt/k", `{"batch_input":[{"plaintext":"","key_version":"x"}]}`, errs.Fault, "failed to parse batch input: '[0].key_version' expected type 'int'"},
		refusal{"encrypt/k", `{"batch_input":[{"plaintext":"","key_version":1.5}]}`, errs.Fault, "failed to parse batch input: '[0].key_version' expected type 'int'"},
		refusal{"decrypt/k", `{"batch_input":[{}]}`, errs.Fault, "failed to parse batch input: '[0].ciphertext' missing ciphertext to decrypt"},
		refusal{"decrypt/k", `{"batch_input":[]}`, errs.Invalid, "missing batch input to process"},
		refusal{"rewrap/k", `{"batch_input":[{"ciphertext":"a","context":"YQ=="},{"ciphertext":"a"}]}`, errs.Invalid, "context should be set either in all the request blocks or in none"},
	)
}

// Equal messages of a convergent key have equal ciphertexts, and no others share a nonce.
func TestConvergentNonces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		name  string
		nonce int
	}{{"aes128-gcm96", 12}, {"aes256-gcm96", 12}, {"chacha20-poly1305", 12}, {"xchacha20-poly1305", 24}} {
		w.post("keys/"+c.name, `{"type":"`+c.name+`","derived":true,"convergent_encryption":true}`)
		seen := map[string]string{}
		for _, body := range []string{
			`"plaintext":"","context":"YQ=="`,
			`"plaintext":"bQ==","context":"YQ=="`,
			`"plaintext":"bQ==","context":"Yg=="`,
			`"plaintext":"bQ==","context":"YQ==","associated_data":"YQ=="`,
			`"plaintext":"bQ==","context":"YQ==","associated_data":"Yg=="`,
			`"plaintext":"","context":"YQ==","associated_data":"bQ=="`,
			`"plaintext":"YW0=","context":"YQ=="`,
		} {
			made := str(t, w.post("encrypt/"+c.name, "{"+body+"}"), "ciphertext")
			if again := str(t, w.post("encrypt/"+c.name, "{"+body+"}"), "ciphertext"); again != made {
				t.Errorf("%s %s: %s, then %s", c.name, body, made, again)
			}
			raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(made, "vault:v1:"))
			if err != nil {
				t.Fatal(err)
			}
			nonce := string(raw[:c.nonce])
			if before := seen[nonce]; before != "" {
				t.Errorf("%s: %s and %s share a nonce", c.name, before, body)
			}
			seen[nonce] = body
			w.post("decrypt/"+c.name, `{"ciphertext":"`+made+`",`+body+`}`)
		}
	}
}

// A convergent ciphertext is what the published scheme makes of the exported key.
func TestConvergentScheme(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.post("keys/k", `{"derived":true,"convergent_encryption":true,"exportable":true}`)
	key, err := base64.StdEncoding.DecodeString(str(t, w.get("export/encryption-key/k")["keys"].(data), "1"))
	if err != nil {
		t.Fatal(err)
	}
	derived, err := hkdf.Key(sha256.New, key, nil, "context", 64)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, derived[32:])
	mac.Write([]byte("message"))
	nonce := mac.Sum(nil)[:12]
	block, err := aes.NewCipher(derived[:32])
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	want := "vault:v1:" + base64.StdEncoding.EncodeToString(aead.Seal(nonce, nonce, []byte("message"), nil))
	got := w.post("encrypt/k", `{"plaintext":"`+b64("message")+`","context":"`+b64("context")+`"}`)
	if got["ciphertext"] != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

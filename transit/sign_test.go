package transit_test

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"leasehold/internal/errs"
)

func TestRefusedSignatures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.post("keys/rsa", `{"type":"rsa-2048"}`)
	w.post("keys/ec", `{"type":"ecdsa-p256"}`)
	w.post("keys/ed", `{"type":"ed25519","derived":true}`)
	w.post("keys/aes", "")
	for range 2 {
		w.post("keys/ec/rotate", "")
	}
	old := str(t, w.post("sign/ec", `{"input":"","key_version":1}`), "signature")
	w.post("keys/ec/config", `{"min_decryption_version":2,"min_encryption_version":3}`)
	w.refuse(
		refusal{"sign/none", `{"input":""}`, errs.Invalid, "signing key not found"},
		refusal{"verify/none", `{"input":"","signature":"vault:v1:"}`, errs.Invalid, "signature verification key not found"},
		refusal{"sign/aes", `{"input":""}`, errs.Invalid, "key type aes256-gcm96 does not support signing"},
		refusal{"verify/aes", `{"input":"","signature":"vault:v1:"}`, errs.Invalid, "key type aes256-gcm96 does not support verification"},
		refusal{"sign/rsa", `{"input":"*"}`, errs.Invalid, "unable to decode input as base64: illegal base64 data at input byte 0"},
		refusal{"sign/rsa/md5", `{"input":""}`, errs.Invalid, `invalid hash algorithm "md5"`},
		refusal{"sign/rsa/sha2-256", `{"input":"*","hash_algorithm":"md5"}`, errs.Invalid, "unable to decode input"}, // the path wins
		refusal{"sign/rsa", `{"input":"","hash_algorithm":"md5","algorithm":"sha2-256"}`, errs.Invalid, `invalid hash algorithm "md5"`},
		refusal{"sign/rsa", `{"input":"","hash_algorithm":"none"}`, errs.Invalid, "hash_algorithm=none requires both prehashed=true and signature_algorithm=pkcs1v15"},
		refusal{"sign/rsa", `{"input":"","hash_algorithm":"none","prehashed":true}`, errs.Invalid, "hash_algorithm=none requires both"},
		refusal{"sign/rsa", `{"input":"","prehashed":true}`, errs.Fault, "crypto/rsa: input must be hashed with given hash"},
		refusal{"sign/rsa", `{"input":"","prehashed":true,"signature_algorithm":"pkcs1v15"}`, errs.Fault, "crypto/rsa: input must be hashed with given hash"},
		refusal{"sign/rsa", `{"input":"","signature_algorithm":"foo"}`, errs.Fault, "unsupported rsa signature algorithm foo"},
		refusal{"verify/rsa", `{"input":"","signature":"vault:v1:","signature_algorithm":"foo"}`, errs.Fault, "unsupported rsa signature algorithm foo"},
		refusal{"sign/rsa", `{"input":"","salt_length":"foo"}`, errs.Invalid, "salt length neither 'auto', 'hash', nor an int: foo"},
		refusal{"sign/rsa", `{"input":"","salt_length":-2}`, errs.Invalid, "salt length is invalid: -2"},
		refusal{"sign/rsa", `{"input":"","salt_length":100000}`, errs.Fault, "crypto/rsa: "},
		refusal{"sign/rsa", `{"input":"","marshaling_algorithm":"foo"}`, errs.Invalid, `invalid marshaling type "foo"`},
		refusal{"sign/ec", `{"input":"YQ==","prehashed":true}`, errs.Fault, "input must be hashed with the given hash"},
		refusal{"sign/ec", `{"input":"","key_version":4}`, errs.Fault, "requested version for signing is higher than the latest key version"},
		refusal{"sign/ec", `{"input":"","key_version":2}`, errs.Fault, "requested version for signing is less than the minimum encryption key version"},
		refusal{"sign/ec", `{"input":"","key_version":-1}`, errs.Fault, "requested version for signing is negative"},
		refusal{"sign/ed", `{"input":""}`, errs.Fault, "error deriving key: missing 'context' for key derivation"},
		refusal{"sign/ed", `{"input":"","context":"*"}`, errs.Invalid, "illegal base64 data at input byte 0"},
		refusal{"verify/ed", `{"input":"","signature":"vault:v1:"}`, errs.Fault, "error deriving key: missing 'context' for key derivation"},
		refusal{"verify/ec", `{"input":""}`, errs.Invalid, "neither a 'signature' nor an 'hmac' were given to verify"},
		refusal{"verify/ec", `{"input":"","signature":"x"}`, errs.Invalid, "invalid signature: no prefix"},
		refusal{"verify/ec", `{"input":"","signature":"vault:v1"}`, errs.Invalid, "invalid signature: wrong number of fields"},
		refusal{"verify/ec", `{"input":"","signature":"vault:vx:"}`, errs.Invalid, "invalid signature: version number could not be decoded"},
		refusal{"verify/ec", `{"input":"","signature":"vault:v4:"}`, errs.Invalid, "invalid signature: version is too new"},
		refusal{"verify/ec", `{"input":"","signature":"` + old + `"}`, errs.Invalid, "ciphertext or signature version is disallowed by policy (too old)"},
		refusal{"verify/ec", `{"input":"","signature":"vault:v3:*"}`, errs.Invalid, "invalid base64 signature value"},
		refusal{"verify/ec", `{"batch_input":[{"input":""}]}`, errs.Invalid, "no batch_input elements have 'signature' or 'hmac'"},
		refusal{"verify/ec", `{"batch_input":[{"input":"","signature":"a"},{"input":"","hmac":"a"}]}`, errs.Invalid, "elements of batch_input must all provide 'signature' or all provide 'hmac'"},
		refusal{"verify/ec", `{"batch_input":[{"input":"","signature":"a"},{"input":""}]}`, errs.Invalid, "elements of batch_input must all provide"},
		refusal{"verify/ec", `{"batch_input":[]}`, errs.Invalid, "missing batch input to process"},
		refusal{"sign/ec", `{"batch_input":[{"input":{}}]}`, errs.Fault, "failed to parse batch input: '[0].input' expected type 'string'"},
		refusal{"hmac/none", `{"input":""}`, errs.Invalid, "encryption key not found"},
		refusal{"hmac/ec", `{}`, errs.Invalid, "missing input for HMAC"},
		refusal{"hmac/ec/sha1", `{"input":""}`, errs.Invalid, "unsupported algorithm sha1"},
		refusal{"hmac/ec", `{"input":"","algorithm":"none"}`, errs.Invalid, "unsupported algorithm none"},
		refusal{"hmac/ec", `{"input":"","key_version":4}`, errs.Invalid, "key version does not exist; latest key version is 3"},
		refusal{"hmac/ec", `{"input":"","key_version":-1}`, errs.Invalid, "key version does not exist; latest key version is 3"},
		refusal{"hmac/ec", `{"input":"","key_version":2}`, errs.Invalid, "cannot generate HMAC: version is too old (disallowed by policy)"},
		refusal{"verify/ec", `{"input":"","hmac":"x"}`, errs.Invalid, "invalid HMAC to verify: no prefix"},
		refusal{"verify/ec", `{"input":"","hmac":"vault:v4:"}`, errs.Invalid, "invalid HMAC: version is too new"},
		refusal{"verify/ec", `{"input":"","hmac":"vault:v1:"}`, errs.Invalid, "cannot verify HMAC: version is too old (disallowed by policy)"},
		refusal{"verify/ec", `{"input":"","hmac":"vault:v3:*"}`, errs.Invalid, "unable to decode verification string as base64: illegal base64"},
		refusal{"verify/ec", `{"hmac":"vault:v3:"}`, errs.Invalid, "missing input for HMAC"},
		refusal{"verify/ec/sha1", `{"input":"","hmac":"vault:v3:"}`, errs.Invalid, "unsupported algorithm sha1"},
		refusal{"verify/none", `{"input":"","hmac":"vault:v1:"}`, errs.Invalid, "encryption key not found"},
		refusal{"hash", `{}`, errs.Invalid, "input missing"},
		refusal{"hash", `{"input":"*"}`, errs.Invalid, "unable to decode input as base64"},
		refusal{"hash/sha1", `{"input":""}`, errs.Invalid, "unsupported algorithm sha1"},
		refusal{"hash", `{"input":"","format":"x"}`, errs.Invalid, `unsupported encoding format x; must be "hex" or "base64"`},
	)
}

func TestSignatureBatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.post("keys/ed", `{"type":"ed25519"}`)
	w.post("keys/derived", `{"type":"ed25519","derived":true}`)
	made := items(t, w.post("sign/ed", `{"input":"*","batch_input":[{"input":"bQ==","reference":"r"},{},{"input":"*"},{"input":""}]}`))
	if made[0]["reference"] != "r" || made[0]["key_version"] != 1 || made[1]["error"] != "missing input" || made[1]["key_version"] != 0 ||
		made[2]["error"] != "unable to decode input as base64: illegal base64 data at input byte 0" || made[3]["error"] != nil {
		t.Errorf("got %v", made)
	}
	one, empty := str(t, made[0], "signature"), str(t, made[3], "signature")
	checked := w.post("verify/ed", `{"batch_input":[{"input":"bQ==","signature":"`+one+`"},{"input":"","signature":"`+one+`"},{"input":"","signature":"`+empty+`"},`+
		`{"signature":"`+one+`"},{"input":"","signature":"x","reference":"r"}]}`)
	want := `[{"reference":"","valid":true},{"reference":"","valid":false},{"reference":"","valid":true},{"error":"missing input","reference":"","valid":false},` +
		`{"error":"invalid signature: no prefix","reference":"r","valid":false}]`
	if got := text(t, checked["batch_results"]); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	derived := items(t, w.post("sign/derived", `{"batch_input":[{"input":"","context":"YQ=="},{"input":""}]}`))
	if str(t, derived[0], "publickey") == "" || !strings.HasPrefix(str(t, derived[1], "error"), "error deriving key: missing 'context'") {
		t.Errorf("got %v", derived)
	}

	macs := items(t, w.post("hmac/ed", `{"batch_input":[{"input":"bQ==","reference":"r"},{},{"input":"*"}]}`))
	mac := str(t, macs[0], "hmac")
	if macs[0]["reference"] != "r" || macs[1]["error"] != "missing input for HMAC" || macs[2]["error"] == nil {
		t.Errorf("got %v", macs)
	}
	checked = w.post("verify/ed", `{"batch_input":[{"input":"bQ==","hmac":"`+mac+`"},{"input":"","hmac":"`+mac+`"},{"input":"","hmac":"x"},{"hmac":"`+mac+`"}]}`)
	want = `[{"reference":"","valid":true},{"reference":""},{"error":"invalid HMAC to verify: no prefix","reference":""},{"error":"missing input for HMAC","reference":""}]`
	if got := text(t, checked["batch_results"]); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	// The HMAC counts when both are given.
	if got := w.post("verify/ed", `{"input":"bQ==","signature":"`+one+`","hmac":"`+one+`"}`); got["valid"] != false {
		t.Errorf("got %v", got)
	}
	w.post("sign/ed", "") // no input at all is an empty one
}

func TestHashAndRandom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// The path wins over the field.
	if got := w.post("hash/sha2-224", `{"input":"","algorithm":"sha3-512"}`); got["sum"] != "d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f" {
		t.Errorf("got %v", got)
	}
	for _, c := range []struct {
		path, body string
		size       int
	}{
		{"random", "", 32}, {"random/1", "", 1}, {"random", `{"bytes":131072}`, 131072}, {"random/all", `{"bytes":7}`, 7},
		{"random/seal/9", "", 9}, {"random/platform/5", `{"bytes":6}`, 5}, {"random", `{"source":"all"}`, 32},
	} {
		for format, decode := range map[string]func(string) ([]byte, error){"base64": base64.StdEncoding.DecodeString, "hex": hex.DecodeString} {
			body := object(t, c.body)
			if body == nil {
				body = data{}
			}
			body["format"] = format
			resp, err := w.request("update", c.path, body)
			if err != nil {
				t.Fatalf("%s %v: %v", c.path, body, err)
			}
			raw, err := decode(str(t, resp.Data, "random_bytes"))
			if err != nil || len(raw) != c.size {
				t.Errorf("%s %v: %d bytes, %v", c.path, body, len(raw), err)
			}
			if warned := len(resp.Warnings) > 0; warned != strings.HasPrefix(c.path, "random/seal") {
				t.Errorf("%s: warnings %v", c.path, resp.Warnings)
			}
		}
	}
	w.refuse(
		refusal{"random/0", ``, errs.Invalid, "'bytes' cannot be less than 1"},
		refusal{"random", `{"bytes":-1}`, errs.Invalid, "'bytes' cannot be less than 1"},
		refusal{"random", `{"bytes":131073}`, errs.Invalid, "'bytes' should be less than 131072"},
		refusal{"random/x", ``, errs.Invalid, `error parsing url-set byte count: strconv.Atoi: parsing "x": invalid syntax`},
		refusal{"random/platform/99999999999999999999", ``, errs.Invalid, `error parsing url-set byte count: strconv.Atoi: parsing "99999999999999999999": value out of range`},
		refusal{"random/x/1", ``, errs.Invalid, `unsupported entropy source "x"; must be "platform" or "seal", or "all"`},
		refusal{"random", `{"source":"x"}`, errs.Invalid, `unsupported entropy source "x"`},
		refusal{"random", `{"format":"x"}`, errs.Invalid, `unsupported encoding format "x"; must be "hex" or "base64"`},
	)
}

package transit_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"leasehold/internal/errs"
)

func TestExport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range all {
		if !c.slow {
			w.post("keys/"+c.name, "{"+c.fields+`,"exportable":true}`)
		}
	}
	w.post("keys/closed", `{"type":"ed25519"}`)
	raw := func(size int) func(string) bool {
		return func(s string) bool {
			b, err := base64.StdEncoding.DecodeString(s)
			return err == nil && (size == 0 || len(b) == size)
		}
	}
	block := func(label string) func(string) bool {
		return func(s string) bool {
			b, rest := pem.Decode([]byte(s))
			return b != nil && b.Type == label && len(rest) == 0
		}
	}
	for path, fits := range map[string]func(string) bool{
		"encryption-key/aes128-gcm96":           raw(16),
		"encryption-key/xchacha20-poly1305":     raw(32),
		"encryption-key/xchacha20-poly1305|raw": raw(32),
		"encryption-key/rsa-2048":               block("RSA PRIVATE KEY"),
		"encryption-key/rsa-2048|pem":           block("PRIVATE KEY"),
		"encryption-key/rsa-2048|der":           raw(0),
		"encryption-key/ml-kem-768":             block("PRIVATE KEY"),
		"encryption-key/ml-kem-768|raw":         raw(64),
		"signing-key/ed25519":                   raw(64),
		"signing-key/ed25519|der":               raw(48),
		"signing-key/ecdsa-p384":                func(s string) bool { return block("EC PRIVATE KEY")(s) && !strings.HasSuffix(s, "\n") },
		"signing-key/ecdsa-p384|pem":            block("PRIVATE KEY"),
		"signing-key/ml-dsa-87|raw":             raw(32),
		"hmac-key/ecdsa-p384":                   raw(32),
		"hmac-key/hmac":                         raw(32),
		"public-key/ed25519":                    raw(32),
		"public-key/closed":                     raw(32),
		"public-key/closed|pem":                 block("PUBLIC KEY"),
		"public-key/ecdsa-p521":                 block("PUBLIC KEY"),
		"public-key/rsa-2048|der":               raw(0),
		"public-key/ml-dsa-44/1":                block("PUBLIC KEY"),
		"public-key/ml-dsa-44/latest":           block("PUBLIC KEY"),
	} {
		path, format, _ := strings.Cut(path, "|")
		resp, err := w.request("read", "export/"+path, data{"format": format})
		if err != nil || resp == nil {
			t.Errorf("%s %s: %v, %v", path, format, resp, err)
			continue
		}
		if s := str(t, resp.Data["keys"].(data), "1"); !fits(s) {
			t.Errorf("%s %s: got %s", path, format, s)
		}
	}
	w.refuse(
		refusal{"GET export/foo/hmac", ``, errs.Invalid, "invalid export type: foo"},
		refusal{"GET export/signing-key/closed", ``, errs.Invalid, "private key material is not exportable"},
		refusal{"GET export/hmac-key/closed", ``, errs.Invalid, "private key material is not exportable"},
		refusal{"GET export/encryption-key/ed25519", ``, errs.Invalid, "encryption not supported for the key"},
		refusal{"GET export/encryption-key/hmac", ``, errs.Invalid, "encryption not supported for the key"},
		refusal{"GET export/signing-key/aes128-gcm96", ``, errs.Invalid, "signing not supported for the key"},
		refusal{"GET export/public-key/hmac", ``, errs.Fault, "unknown key type hmac for export type public-key"},
		refusal{"GET export/certificate-chain/ed25519", ``, errs.Fault, "selected key version does not have a certificate chain imported"},
		refusal{"GET export/signing-key/ed25519/x", ``, errs.Invalid, "invalid key version"},
		refusal{"GET export/signing-key/ed25519/0", ``, errs.Invalid, "version for export is below minimum decryption version"},
		refusal{"GET export/signing-key/ed25519/2", ``, errs.Invalid, "version does not exist or cannot be found"},
		refusal{"GET export/signing-key/ed25519", `{"format":"jwk"}`, errs.Invalid, "invalid export format: jwk"},
		refusal{"GET export/signing-key/ecdsa-p256", `{"format":"raw"}`, errs.Invalid, `a key of type ecdsa-p256 cannot be exported with format "raw"`},
		refusal{"GET export/encryption-key/aes128-gcm96", `{"format":"pem"}`, errs.Invalid, `a key of type aes128-gcm96 cannot be exported with format "pem"`},
	)
	if resp, err := w.request("read", "export/signing-key/none", nil); resp != nil || err != nil {
		t.Errorf("an unknown key: %v, %v", resp, err)
	}
}

// A key of any type comes back from its backup with all that it had.
func TestBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range all {
		if c.slow {
			continue
		}
		w.post("keys/"+c.name, "{"+c.fields+`,"exportable":true,"allow_plaintext_backup":true,"auto_rotate_period":"1h"}`)
		w.post("keys/"+c.name+"/rotate", "")
		w.post("keys/"+c.name+"/rotate", "")
		w.post("keys/"+c.name+"/config", `{"min_encryption_version":2,"min_decryption_version":2}`)
		w.post("keys/"+c.name+"/trim", `{"min_available_version":2}`)
		mac := str(t, w.post("hmac/"+c.name, `{"input":"","key_version":2}`), "hmac")
		saved := str(t, w.get("backup/"+c.name), "backup")
		original := w.get("keys/" + c.name)
		w.clock.Advance(time.Second)
		w.refuse(refusal{"restore", `{"backup":"` + saved + `"}`, errs.Fault, `key "` + c.name + `" already exists`})
		w.post("restore/copy-"+c.name, `{"backup":"`+saved+`"}`)
		w.post("restore", `{"backup":"`+saved+`","force":true}`)
		copied, back := w.get("keys/copy-"+c.name), w.get("keys/"+c.name)
		if text(t, copied["restore_info"]) == "null" || text(t, back["restore_info"]) == "null" {
			t.Errorf("%s: restored to %v and %v", c.name, copied, back)
		}
		copied["name"] = c.name
		delete(copied, "restore_info")
		delete(back, "restore_info")
		if text(t, copied) != text(t, original) || text(t, back) != text(t, original) {
			t.Errorf("%s: was %v, is %v and %v", c.name, original, copied, back)
		}
		if got := w.post("verify/copy-"+c.name, `{"input":"","hmac":"`+mac+`"}`); got["valid"] != true {
			t.Errorf("%s: the copy has other keys", c.name)
		}
		w.clock.Advance(time.Hour) // restored keys go on rotating
		runAll(w)
		if got := w.get("keys/copy-" + c.name)["latest_version"]; got != 4 {
			t.Errorf("%s: the copy is at version %v", c.name, got)
		}
	}
}

func TestRefusedBackups(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.post("keys/closed", "")
	w.post("keys/half", `{"exportable":true}`)
	w.post("keys/k", `{"exportable":true,"allow_plaintext_backup":true}`)
	w.post("keys/k/rotate", "")
	saved := str(t, w.get("backup/k"), "backup")
	w.refuse(
		refusal{"GET backup/closed", ``, errs.Fault, "exporting is disallowed on the policy"},
		refusal{"GET backup/half", ``, errs.Fault, "plaintext backup is disallowed on the policy"},
		refusal{"GET backup/none", ``, errs.Fault, `key "none" not found`},
		refusal{"restore", `{}`, errs.Invalid, "'backup' must be supplied"},
		refusal{"restore/n", `{"backup":"*"}`, errs.Fault, "illegal base64 data at input byte 0"},
		refusal{"restore/n", `{"backup":"e30="}`, errs.Fault, "the backup is damaged, or not one of this program"},
	)
	edit := func(change func(b data)) string {
		encoded, err := base64.StdEncoding.DecodeString(saved)
		if err != nil {
			t.Fatal(err)
		}
		b := object(t, string(encoded))
		change(b)
		return base64.StdEncoding.EncodeToString([]byte(text(t, b)))
	}
	settings := func(name string, value any) string {
		return edit(func(b data) { b["settings"].(data)[name] = value })
	}
	for what, backup := range map[string]string{
		"another format":        edit(func(b data) { b["format"] = 2 }),
		"an unknown type":       settings("type", "des"),
		"another type":          settings("type", "aes128-gcm96"),
		"a version too many":    settings("latest", 3),
		"versions without end":  settings("latest", 1<<40),
		"no versions":           edit(func(b data) { b["versions"] = data{} }),
		"a version of nothing":  edit(func(b data) { b["versions"].(data)["2"] = data{} }),
		"a version out of line": edit(func(b data) { v := b["versions"].(data); v["7"] = v["2"]; delete(v, "2") }),
		"a minimum too high":    settings("min_decryption", 3),
		"a minimum too low":     settings("min_decryption", 0),
		"a wrong order":         edit(func(b data) { b["settings"].(data)["min_decryption"], b["settings"].(data)["min_encryption"] = 2, 1 }),
		"a period too short":    settings("rotate_period", 5),
		"no schedule":           settings("rotate_schedule", "x"),
		"a convergent key":      settings("convergent", true),
	} {
		if resp, err := w.send("restore/n", `{"backup":"`+backup+`"}`); errs.CodeOf(err) != errs.Fault {
			t.Errorf("%s is restored: %v, %v", what, resp, err)
		}
	}
	odd := edit(func(b data) { b["name"] = "a/b" })
	w.refuse(refusal{"restore", `{"backup":"` + odd + `"}`, errs.Invalid, "the backup's name cannot be that of a key"})
	w.post("restore/n", `{"backup":"`+odd+`"}`)
}

func TestImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.keepWrappingPair()
	aes := bytes.Repeat([]byte{7}, 32)
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA224, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		name := strings.ReplaceAll(h.String(), "-", "")
		w.post("keys/"+name+"/import", `{"ciphertext":"`+w.wrapped(aes, h)+`","hash_function":"`+name+`"}`)
	}
	good := w.wrapped(aes, crypto.SHA256)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edKey, edPublic := pkcs8(t, ed), pemOf(t, ed.Public())
	w.post("keys/ed/import", `{"type":"ed25519","public_key":`+text(t, edPublic)+`}`)
	w.post("keys/own", "")
	w.post("keys/convergent", `{"derived":true,"convergent_encryption":true}`)
	damaged, err := base64.StdEncoding.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	damaged[len(damaged)-8] ^= 1
	w.refuse(
		refusal{"keys/SHA1/import", `{"ciphertext":"` + good + `"}`, errs.Fault, "the import path cannot be used with an existing key; use import-version to rotate an existing imported key"},
		refusal{"keys/n/import", `{"type":"des"}`, errs.Invalid, "unknown key type: des"},
		refusal{"keys/n/import", `{"type":"ml-dsa"}`, errs.Invalid, "parameter_set of a key of type ml-dsa has to be one of"},
		refusal{"keys/n/import", `{"hash_function":"MD5"}`, errs.Invalid, "unknown hash function: MD5"},
		refusal{"keys/n/import", `{"auto_rotate_period":60,"allow_rotation":true}`, errs.Invalid, "auto rotate period must be 0"},
		refusal{"keys/n/import", `{"auto_rotate_period":"2h"}`, errs.Fault, "allow_rotation must be set to true if auto-rotation is enabled"},
		refusal{"keys/n/import", `{"auto_rotate_schedule":"@daily"}`, errs.Fault, "allow_rotation must be set to true if auto-rotation is enabled"},
		refusal{"keys/n/import", `{}`, errs.Fault, "provided type does not support public_key import"},
		refusal{"keys/n/import", `{"ciphertext":"a","public_key":"b"}`, errs.Fault, "only one of the following fields, ciphertext and public_key, can be set"},
		refusal{"keys/n/import", `{"ciphertext":"*"}`, errs.Fault, "illegal base64 data at input byte 0"},
		refusal{"keys/n/import", `{"ciphertext":"AAAA"}`, errs.Fault, "provided ciphertext is too short"},
		refusal{"keys/n/import", `{"ciphertext":"` + base64.StdEncoding.EncodeToString(make([]byte, 552)) + `"}`, errs.Fault, "crypto/rsa: decryption error"},
		refusal{"keys/n/import", `{"ciphertext":"` + good + `","hash_function":"SHA1"}`, errs.Fault, "crypto/rsa: decryption error"},
		refusal{"keys/n/import", `{"ciphertext":"` + base64.StdEncoding.EncodeToString(damaged) + `"}`, errs.Fault, "the key inside the ciphertext cannot be unwrapped with AES-KWP"},
		refusal{"keys/n/import", `{"ciphertext":"` + good + `","type":"aes128-gcm96"}`, errs.Fault, "error importing key: invalid key size 32 bytes for key type aes128-gcm96"},
		refusal{"keys/n/import", `{"ciphertext":"` + w.wrapped(aes[:16], crypto.SHA256) + `","type":"hmac"}`, errs.Fault, "error importing key: invalid key size 16 bytes for key type hmac"},
		refusal{"keys/n/import", `{"ciphertext":"` + good + `","type":"rsa-2048"}`, errs.Fault, "error importing key: error parsing asymmetric key"},
		refusal{"keys/n/import", `{"ciphertext":"` + w.wrapped(edKey, crypto.SHA256) + `","type":"rsa-2048"}`, errs.Fault, "error importing key: the key is not of type rsa-2048"},
		refusal{"keys/n/import", `{"ciphertext":"` + w.wrapped(edKey, crypto.SHA256) + `","type":"ml-kem","parameter_set":"768"}`, errs.Fault, "error importing key: the key is not of type ml-kem"},
		refusal{"keys/n/import", `{"ciphertext":"` + good + `","type":"ml-dsa","parameter_set":"44"}`, errs.Fault, "error importing key: error parsing asymmetric key"},
		refusal{"keys/n/import", `{"ciphertext":"` + good + `","type":"ecdsa-p256","derived":true}`, errs.Fault, "key derivation and convergent encryption not supported"},
		refusal{"keys/n/import", `{"public_key":"x","type":"ecdsa-p256"}`, errs.Fault, "error importing key: error parsing public key: not in PEM format"},
		refusal{"keys/n/import", `{"public_key":"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----","type":"ecdsa-p256"}`, errs.Fault, "error importing key: error parsing public key: "},
		refusal{"keys/n/import", `{"public_key":` + text(t, edPublic) + `,"type":"ecdsa-p256"}`, errs.Fault, "error importing key: the public key is not of type ecdsa-p256"},
		refusal{"keys/n/import", `{"public_key":` + text(t, edPublic) + `,"type":"ed25519","derived":true}`, errs.Fault, "error importing key: a derived key needs its private part"},
		refusal{"keys/n/import_version", `{"ciphertext":"` + good + `"}`, errs.Fault, "no key found with name n; to import a new key, use the import/ endpoint"},
		refusal{"keys/own/import_version", `{"ciphertext":"` + good + `"}`, errs.Fault, "the import_version endpoint can only be used with an imported key"},
		refusal{"keys/convergent/import_version", `{"ciphertext":"` + good + `"}`, errs.Fault, "import cannot be used on keys with convergent encryption enabled"},
		refusal{"keys/SHA1/import_version", `{"ciphertext":"` + good + `","version":1}`, errs.Fault, "error importing key: version 1 has a private part already"},
		refusal{"keys/ed/import_version", `{"public_key":` + text(t, edPublic) + `,"version":1}`, errs.Fault, "error importing key: a version can be given its private part alone"},
		refusal{"keys/ed/import_version", `{"ciphertext":"` + w.wrapped(edKey, crypto.SHA256) + `","version":2}`, errs.Fault, "error importing key: the key has no version 2"},
		refusal{"keys/SHA1/rotate", ``, errs.Fault, "imported key SHA1 does not allow rotation within Leasehold"},
		refusal{"keys/SHA1/config", `{"auto_rotate_period":"2h"}`, errs.Invalid, "allow_rotation must be set to true if auto-rotation is enabled"},
	)
	if resp, err := w.request("read", "keys/n", nil); resp != nil || err != nil {
		t.Errorf("a refused request has left a key: %v, %v", resp, err)
	}

	// A public key alone verifies; its private part comes later, and no other one.
	_, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.refuse(
		refusal{"sign/ed", `{"input":""}`, errs.Fault, "requested version for signing does not contain a private part"},
		refusal{"keys/ed/import_version", `{"ciphertext":"` + w.wrapped(pkcs8(t, other), crypto.SHA256) + `"}`, errs.Fault, "error importing key: the private key does not match the public key of version 1"},
	)
	signature := "vault:v1:" + base64.StdEncoding.EncodeToString(ed25519.Sign(ed, []byte("m")))
	if got := w.post("verify/ed", `{"input":"`+b64("m")+`","signature":"`+signature+`"}`); got["valid"] != true {
		t.Errorf("got %v", got)
	}
	w.post("keys/ed/import_version", `{"ciphertext":"`+w.wrapped(edKey, crypto.SHA256)+`"}`) // without a number: of the newest
	if got := w.post("sign/ed", `{"input":"`+b64("m")+`"}`); got["signature"] != signature {
		t.Errorf("got %v, want %s", got, signature)
	}
	w.post("keys/ed/import_version", `{"ciphertext":"`+w.wrapped(pkcs8(t, other), crypto.SHA256)+`"}`)
	w.post("keys/ed/import_version", `{"public_key":`+text(t, edPublic)+`}`)
	if got := w.get("keys/ed"); got["latest_version"] != 3 || got["imported_key"] != true {
		t.Errorf("got %v", got)
	}

	// Once it has rotated here, a key is not an imported one any more.
	w.post("keys/free/import", `{"ciphertext":"`+good+`","allow_rotation":true,"auto_rotate_period":"1h"}`)
	if got := w.get("keys/free"); got["imported_key_allow_rotation"] != true {
		t.Errorf("got %v", got)
	}
	w.clock.Advance(time.Hour)
	runAll(w)
	if got := w.get("keys/free"); got["imported_key"] != false || got["latest_version"] != 2 {
		t.Errorf("got %v", got)
	}
	w.refuse(refusal{"keys/free/import_version", `{"ciphertext":"` + good + `"}`, errs.Fault, "the import_version endpoint can only be used with an imported key"})

	// An HMAC key has the size that it comes with.
	w.post("keys/mac/import", `{"type":"hmac","ciphertext":"`+w.wrapped(bytes.Repeat(aes, 2), crypto.SHA256)+`","allow_rotation":true}`)
	if got := w.post("keys/mac/rotate", ""); got["key_size"] != 64 {
		t.Errorf("got %v", got)
	}
}

// Each mount has its own wrapping key, the same on every node.
func TestWrappingKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := w.node()
	keys := make(chan string, 2)
	for _, n := range []*world{w, other} {
		go func() {
			resp, err := n.request("read", "wrapping_key", nil)
			if err != nil {
				t.Errorf("read the wrapping key: %v", err)
				keys <- ""
				return
			}
			keys <- fmt.Sprint(resp.Data["public_key"])
		}()
	}
	if one, two := <-keys, <-keys; one != two || !strings.HasSuffix(one, "-----END PUBLIC KEY-----\n") {
		t.Errorf("got %s and %s", one, two)
	}
}

// What one mount exports wrapped another one imports.
func TestWrappedExport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.keepWrappingPair()
	wrapping := w.get("wrapping_key")["public_key"]
	w.mount.UUID = "mount-2"
	w.post("keys/destination/import", `{"type":"rsa-4096","public_key":`+text(t, wrapping)+`}`)
	w.post("keys/source", `{"type":"aes256-gcm96","exportable":true}`)
	w.post("keys/source/rotate", "")
	w.post("keys/ec", `{"type":"ecdsa-p256","exportable":true}`)
	w.post("keys/closed", "")
	sealed := str(t, w.post("encrypt/source", `{"plaintext":"bQ==","key_version":1}`), "ciphertext")
	signed := str(t, w.post("sign/ec", `{"input":""}`), "signature")
	exported := w.get("byok-export/destination/source")
	resp, err := w.request("read", "byok-export/destination/ec/latest", data{"hash": "SHA512"})
	if err != nil {
		t.Fatal(err)
	}
	w.refuse(
		refusal{"GET byok-export/none/source", ``, errs.Fault, "no such destination key to export to"},
		refusal{"GET byok-export/destination/none", ``, errs.Fault, "no such source key for export"},
		refusal{"GET byok-export/destination/closed", ``, errs.Invalid, "private key material is not exportable"},
		refusal{"GET byok-export/ec/source", ``, errs.Invalid, "the destination key is of type ecdsa-p256; only RSA keys can wrap"},
		refusal{"GET byok-export/destination/source/3", ``, errs.Invalid, "version does not exist or cannot be found"},
		refusal{"GET byok-export/destination/source", `{"hash":"MD5"}`, errs.Invalid, "unknown hash function: MD5"},
	)
	w.mount.UUID = "mount-1"
	w.post("keys/copy/import", `{"ciphertext":"`+str(t, exported["keys"].(data), "1")+`"}`)
	w.post("keys/copy/import_version", `{"ciphertext":"`+str(t, exported["keys"].(data), "2")+`"}`)
	if got := w.post("decrypt/copy", `{"ciphertext":"`+sealed+`"}`); got["plaintext"] != "bQ==" {
		t.Errorf("got %v", got)
	}
	w.post("keys/ec/import", `{"type":"ecdsa-p256","hash_function":"SHA512","ciphertext":"`+str(t, resp.Data["keys"].(data), "1")+`"}`)
	if got := w.post("verify/ec", `{"input":"","signature":"`+signed+`"}`); got["valid"] != true {
		t.Errorf("got %v", got)
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.post("keys/ec", `{"type":"ecdsa-p256"}`)
	w.post("keys/ec/rotate", "")
	w.post("keys/derived", `{"type":"ed25519","derived":true}`)
	w.post("keys/aes", "")
	_, own, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "service", Organization: []string{"o"}}, DNSNames: []string{"a.example", "b.example"},
	}, own)
	if err != nil {
		t.Fatal(err)
	}
	template := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: encoded}))
	request := func(body string) *x509.CertificateRequest {
		t.Helper()
		block, _ := pem.Decode([]byte(str(t, w.post("keys/ec/csr", body), "csr")))
		csr, err := x509.ParseCertificateRequest(block.Bytes)
		if err == nil {
			err = csr.CheckSignature()
		}
		if err != nil {
			t.Fatal(err)
		}
		return csr
	}
	csr := request(`{"csr":` + text(t, template) + `}`)
	if csr.Subject.String() != "CN=service,O=o" || len(csr.DNSNames) != 2 {
		t.Errorf("got %v, %v", csr.Subject, csr.DNSNames)
	}
	first := request(`{"version":1}`)
	if first.Subject.String() != "" || first.PublicKey.(*ecdsa.PublicKey).Equal(csr.PublicKey) {
		t.Errorf("got %v", first.Subject)
	}
	issue := func(public crypto.PublicKey) string {
		t.Helper()
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: began.Add(time.Hour), NotBefore: began}
		encoded, err := x509.CreateCertificate(rand.Reader, template, template, public, own)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: encoded}))
	}
	chain := issue(csr.PublicKey) + issue(own.Public())
	w.refuse(
		refusal{"keys/aes/csr", ``, errs.Invalid, "key type 'aes256-gcm96' does not support signing"},
		refusal{"keys/none/csr", ``, errs.Invalid, "key with provided name 'none' not found"},
		refusal{"keys/derived/csr", ``, errs.Invalid, "a derived key has no public key of its own"},
		refusal{"keys/ec/csr", `{"version":3}`, errs.Invalid, "the key has no version 3"},
		refusal{"keys/ec/csr", `{"csr":"x"}`, errs.Invalid, "could not decode the PEM certificate signing request"},
		refusal{"keys/ec/set-certificate", `{}`, errs.Invalid, "provided certificate chain did not contain any valid PEM encoded certificate"},
		refusal{"keys/ec/set-certificate", `{"certificate_chain":"junk"}`, errs.Invalid, "could not decode a PEM block in the certificate chain"},
		refusal{"keys/ec/set-certificate", `{"certificate_chain":` + text(t, chain+"junk") + `}`, errs.Invalid, "could not decode a PEM block in the certificate chain"},
		refusal{"keys/ec/set-certificate", `{"certificate_chain":` + text(t, template) + `}`, errs.Invalid, "could not parse a certificate of the chain"},
		refusal{"keys/ec/set-certificate", `{"version":1,"certificate_chain":` + text(t, chain) + `}`, errs.Invalid, "the first certificate of the chain is not one of version 1 of the key"},
		refusal{"keys/none/set-certificate", `{"certificate_chain":` + text(t, chain) + `}`, errs.Invalid, "key with provided name 'none' not found"},
	)
	if got := w.post("keys/ec/set-certificate", `{"certificate_chain":`+text(t, chain)+`}`); got["certificate_chain"] != chain || got["type"] != "ecdsa-p256" {
		t.Errorf("got %v", got)
	}
	if got := w.get("export/certificate-chain/ec")["keys"].(data); len(got) != 1 || got["2"] != chain {
		t.Errorf("got %v", got)
	}
	if got := w.get("keys/ec")["keys"].(data)["2"].(data)["certificate_chain"]; got != chain {
		t.Errorf("got %v", got)
	}
	w.post("sign/ec", `{"input":""}`)
}

// Two parties make the same key of their pairs, and nobody else does.
func TestAgreement(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct{ base, derived string }{
		{"ecdsa-p256", "aes256-gcm96"}, {"ecdsa-p256", "aes128-gcm96"}, {"ecdsa-p384", "chacha20-poly1305"}, {"ecdsa-p521", "xchacha20-poly1305"},
	} {
		id := c.base + c.derived
		public := map[string]string{}
		for _, side := range []string{"a", "b"} {
			info := w.post("keys/"+side+id, `{"type":"`+c.base+`"}`)
			public[side] = str(t, info["keys"].(data)["1"].(data), "public_key")
		}
		agree := func(name, base, peer string) {
			body, err := json.Marshal(data{"base_key_name": base + id, "peer_public_key": public[peer], "derived_key_type": c.derived})
			if err != nil {
				t.Fatal(err)
			}
			if got := w.post("derive-key/"+name+id, string(body)); got != nil {
				t.Errorf("got %v", got)
			}
		}
		agree("one", "a", "b")
		agree("two", "b", "a")
		agree("self", "a", "a")
		sealed := str(t, w.post("encrypt/one"+id, `{"plaintext":"bQ=="}`), "ciphertext")
		if got := w.post("decrypt/two"+id, `{"ciphertext":"`+sealed+`"}`); got["plaintext"] != "bQ==" {
			t.Errorf("%s: got %v", id, got)
		}
		w.refuse(refusal{"decrypt/self" + id, `{"ciphertext":"` + sealed + `"}`, errs.Invalid, "cipher: message authentication failed"})
	}
	peer := text(t, w.get("keys/aecdsa-p256aes256-gcm96")["keys"].(data)["1"].(data)["public_key"])
	w.post("keys/aes", "")
	w.refuse(
		refusal{"derive-key/n", `{"key_derivation_algorithm":"x"}`, errs.Invalid, "key derivation algorithm x not supported"},
		refusal{"derive-key/n", `{}`, errs.Invalid, "peer public key not provided"},
		refusal{"derive-key/n", `{"peer_public_key":"x"}`, errs.Invalid, "peer public key is not a PEM encoded EC public key"},
		refusal{"derive-key/n", `{"peer_public_key":` + peer + `,"derived_key_type":"rsa-2048"}`, errs.Invalid, "unknown key type rsa-2048"},
		refusal{"derive-key/n", `{"peer_public_key":` + peer + `,"base_key_name":"n"}`, errs.Invalid, "specified base key not found"},
		refusal{"derive-key/n", `{"peer_public_key":` + peer + `,"base_key_name":"aes"}`, errs.Invalid, "base key type aes256-gcm96 does not support key agreement"},
		refusal{"derive-key/n", `{"peer_public_key":` + peer + `,"base_key_name":"aecdsa-p384chacha20-poly1305"}`, errs.Invalid, "peer public key is not on the curve of the base key"},
		refusal{"derive-key/aes", `{"peer_public_key":` + peer + `,"base_key_name":"aecdsa-p256aes256-gcm96"}`, errs.Invalid, "there is a key named aes already"},
	)
}

func pkcs8(t testing.TB, key any) []byte {
	t.Helper()
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func pemOf(t testing.TB, public any) string {
	t.Helper()
	encoded, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: encoded}))
}

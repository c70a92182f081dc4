package transit_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/store"
)

func TestKeyObject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const common = `"allow_plaintext_backup":false,"auto_rotate_period":0,`
	for _, c := range []struct{ name, body, want string }{
		{"aes", "", `{` + common + `"deletion_allowed":false,"derived":false,"exportable":false,"imported_key":false,"keys":{"1":2219900889},` +
			`"latest_version":1,"min_available_version":0,"min_decryption_version":1,"min_encryption_version":0,"name":"aes","soft_deleted":false,` +
			`"supports_decryption":true,"supports_derivation":true,"supports_encryption":true,"supports_signing":false,"type":"aes256-gcm96"}`},
		{"cv", `{"derived":true,"convergent_encryption":true,"auto_rotate_period":"2d"}`, `{"allow_plaintext_backup":false,"auto_rotate_period":172800,` +
			`"convergent_encryption":true,"convergent_encryption_version":-1,"deletion_allowed":false,"derived":true,"exportable":false,` +
			`"imported_key":false,"kdf":"hkdf_sha256","keys":{"1":2219900889},"latest_version":1,"min_available_version":0,` +
			`"min_decryption_version":1,"min_encryption_version":0,"name":"cv","soft_deleted":false,"supports_decryption":true,` +
			`"supports_derivation":true,"supports_encryption":true,"supports_signing":false,"type":"aes256-gcm96"}`},
		{"mac", `{"type":"hmac","key_size":512,"exportable":true}`, `{` + common + `"deletion_allowed":false,"derived":false,"exportable":true,` +
			`"imported_key":false,"key_size":512,"latest_version":1,"min_available_version":0,"min_decryption_version":1,"min_encryption_version":0,` +
			`"name":"mac","soft_deleted":false,"supports_decryption":false,"supports_derivation":false,"supports_encryption":false,` +
			`"supports_signing":false,"type":"hmac"}`},
		{"ed", `{"type":"ed25519","derived":true}`, `{` + common + `"convergent_encryption":false,"deletion_allowed":false,"derived":true,"exportable":false,` +
			`"imported_key":false,"kdf":"hkdf_sha256","keys":{"1":{"certificate_chain":"","creation_time":"2040-05-06T07:08:09Z","name":"ed25519",` +
			`"public_key":""}},"latest_version":1,"min_available_version":0,"min_decryption_version":1,"min_encryption_version":0,"name":"ed",` +
			`"soft_deleted":false,"supports_decryption":false,"supports_derivation":true,"supports_encryption":false,"supports_signing":true,"type":"ed25519"}`},
	} {
		if got := text(t, w.post("keys/"+c.name, c.body)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
		if got := text(t, w.get("keys/"+c.name)); got != c.want {
			t.Errorf("read %s:\n got %s\nwant %s", c.name, got, c.want)
		}
		if got := text(t, w.post("keys/"+c.name, `{"type":"rsa-2048","exportable":true}`)); got != c.want {
			t.Errorf("%s is not as it was: %s", c.name, got)
		}
	}
	pq := w.post("keys/pq", `{"type":"ml-dsa","parameter_set":"65"}`)
	if pq["type"] != "ml-dsa" || pq["parameter_set"] != "65" || pq["supports_signing"] != true {
		t.Errorf("got %v", pq)
	}
	shown, err := w.request(engine.Read, "keys/ed", data{"context": "YQ=="})
	if err != nil {
		t.Fatal(err)
	}
	public := shown.Data["keys"].(data)["1"].(data)["public_key"]
	signed := w.post("sign/ed", `{"input":"","context":"YQ=="}`)
	if public == "" || public != signed["public_key"] {
		t.Errorf("the public key of a context is %v, and %v when it signs", public, signed["public_key"])
	}
}

func TestListedNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list := func(body data) string {
		resp, err := w.request(engine.List, "keys/", body)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(resp.Data["keys"].([]string), " ")
	}
	if got := list(nil); got != "" {
		t.Errorf("an empty mount has %q", got)
	}
	for _, name := range []string{"b", "a.x", "Z_1", "0", "a-"} {
		_, err := w.send("keys/"+name, "")
		if (err == nil) != (name != "a-") {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.mount.UUID = "mount-2"
	w.post("keys/other", "")
	w.mount.UUID = "mount-1"
	for _, c := range []struct {
		body data
		want string
	}{
		{nil, "0 Z_1 a.x b"},
		{data{"after": "Z_1"}, "a.x b"},
		{data{"after": "a", "limit": "1"}, "a.x"},
		{data{"after": "z"}, ""},
		{data{"limit": "-1"}, "0 Z_1 a.x b"},
	} {
		if got := list(c.body); got != c.want {
			t.Errorf("%v: got %q, want %q", c.body, got, c.want)
		}
	}
}

func TestRefusedKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.post("keys/k", "")
	w.refuse(
		refusal{"keys/n", `{"type":"foo"}`, errs.Invalid, "unknown key type foo"},
		refusal{"keys/n", `{"convergent_encryption":true}`, errs.Invalid, "convergent encryption requires derivation to be enabled"},
		refusal{"keys/n", `{"type":"ed25519","derived":true,"convergent_encryption":true}`, errs.Fault, "key derivation and convergent encryption not supported for keys of type ed25519"},
		refusal{"keys/n", `{"type":"rsa-2048","derived":true}`, errs.Fault, "key derivation and convergent encryption not supported for keys of type rsa-2048"},
		refusal{"keys/n", `{"auto_rotate_period":"59m"}`, errs.Invalid, "auto rotate period must be 0 to disable or at least an hour"},
		refusal{"keys/n", `{"auto_rotate_period":"-1h"}`, errs.Invalid, `Field validation failed: error converting input for field "auto_rotate_period"`},
		refusal{"keys/n", `{"auto_rotate_schedule":"x"}`, errs.Invalid, "auto_rotate_schedule is not a cron schedule"},
		refusal{"keys/n", `{"auto_rotate_schedule":"0 0 30 2 *"}`, errs.Invalid, "auto_rotate_schedule is not a cron schedule"},
		refusal{"keys/n", `{"auto_rotate_schedule":"0,59 3 * * *"}`, errs.Invalid, "auto_rotate_schedule has to leave at least an hour"},
		refusal{"keys/n", `{"auto_rotate_schedule":"@daily","auto_rotate_period":3600}`, errs.Invalid, "auto_rotate_period and auto_rotate_schedule cannot be set both"},
		refusal{"keys/n", `{"type":"hmac"}`, errs.Fault, "invalid key size for HMAC key, must be between 32 and 512 bytes"},
		refusal{"keys/n", `{"type":"hmac","key_size":31}`, errs.Invalid, "invalid key_size 31"},
		refusal{"keys/n", `{"type":"hmac","key_size":513}`, errs.Invalid, "invalid key_size 513"},
		refusal{"keys/n", `{"key_size":32}`, errs.Invalid, "key_size is not valid for algorithm aes256-gcm96"},
		refusal{"keys/n", `{"type":"ml-dsa"}`, errs.Invalid, "parameter_set of a key of type ml-dsa has to be one of 44, 65, 87"},
		refusal{"keys/n", `{"type":"ml-kem","parameter_set":"512"}`, errs.Invalid, "parameter_set of a key of type ml-kem has to be one of 1024, 768"},
		refusal{"keys/n", `{"parameter_set":"65"}`, errs.Invalid, "parameter_set is not valid for algorithm aes256-gcm96"},
		refusal{"keys/n", `{"type":"ed25519","derived":true,"context":"*"}`, errs.Invalid, "illegal base64 data at input byte 0"},
		refusal{"keys/n/x", ``, errs.NotFound, "unsupported path"},
		refusal{"keys/n\n", ``, errs.NotFound, "unsupported path"},
		refusal{"DELETE keys/n", ``, errs.Invalid, "error deleting policy n: could not delete key; not found"},
		refusal{"DELETE keys/k", ``, errs.Invalid, "error deleting policy k: deletion is not allowed for this key"},
		refusal{"keys/n/rotate", ``, errs.Invalid, "key not found"},
		refusal{"keys/n/config", `{"exportable":true}`, errs.Invalid, "no existing key named n could be found"},
		refusal{"keys/n/trim", `{"min_available_version":1}`, errs.Invalid, "invalid key name"},
		refusal{"DELETE keys/n/soft-delete", ``, errs.Invalid, "no existing key named n could be found"},
		refusal{"cache-config", `{"size":9}`, errs.Invalid, "size must be 0 or a value greater or equal to 10"},
		refusal{"cache-config", `{"size":-1}`, errs.Invalid, "size must be 0 or a value greater or equal to 10"},
	)
	if resp, err := w.request(engine.Read, "keys/n", nil); resp != nil || err != nil {
		t.Errorf("a refused request has left a key: %v, %v", resp, err)
	}
}

// Nothing of a refused configuration is kept; what was switched on stays on.
func TestConfigure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.post("keys/k", "")
	for range 3 {
		w.post("keys/k/rotate", "")
	}
	before := text(t, w.get("keys/k"))
	for body, want := range map[string]string{
		`{"min_decryption_version":5,"deletion_allowed":true}`:                          "cannot set min decryption version of 5, latest key version is 4",
		`{"min_encryption_version":5,"exportable":true}`:                                "cannot set min encryption version of 5, latest key version is 4",
		`{"min_decryption_version":3,"min_encryption_version":2}`:                       "cannot set min encryption/decryption values; min encryption version of 2 must be greater than or equal to min decryption version of 3",
		`{"min_decryption_version":-1}`:                                                 "min decryption version cannot be negative",
		`{"min_encryption_version":-1}`:                                                 "min encryption version cannot be negative",
		`{"min_decryption_version":2,"auto_rotate_period":60}`:                          "auto rotate period must be 0 to disable or at least an hour",
		`{"min_decryption_version":2,"auto_rotate_schedule":"* * * * *"}`:               "auto_rotate_schedule has to leave",
		`{"min_decryption_version":2,"allow_plaintext_backup":true,"exportable":"may"}`: "Field validation failed",
	} {
		w.refuse(refusal{"keys/k/config", body, errs.Invalid, want})
	}
	if after := text(t, w.get("keys/k")); after != before {
		t.Errorf("refused calls have changed the key to %s", after)
	}
	resp, err := w.send("keys/k/config", `{"min_decryption_version":0}`)
	if err != nil || len(resp.Warnings) != 1 || resp.Data["min_decryption_version"] != 1 {
		t.Errorf("got %v, %v", resp, err)
	}
	w.post("keys/k/config", `{"exportable":true,"allow_plaintext_backup":true}`)
	got := w.post("keys/k/config", `{"exportable":false,"allow_plaintext_backup":false,"min_decryption_version":2,"min_encryption_version":3}`)
	if got["exportable"] != true || got["allow_plaintext_backup"] != true || len(got["keys"].(data)) != 3 {
		t.Errorf("got %v", got)
	}
	// An old version encrypts no more, and a still older one does not decrypt.
	w.refuse(refusal{"encrypt/k", `{"plaintext":"","key_version":2}`, errs.Invalid, "requested version for encryption is less than"})
	w.post("encrypt/k", `{"plaintext":"","key_version":3}`)
}

func TestTrim(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.post("keys/k", "")
	old := str(t, w.post("encrypt/k", `{"plaintext":""}`), "ciphertext")
	for range 4 {
		w.post("keys/k/rotate", "")
	}
	refuse := func(n int, want string) {
		w.refuse(refusal{"keys/k/trim", fmt.Sprintf(`{"min_available_version":%d}`, n), errs.Invalid, want})
	}
	refuse(2, "minimum available version cannot be set when minimum encryption version is not set")
	w.post("keys/k/config", `{"min_encryption_version":4,"min_decryption_version":3}`)
	w.refuse(refusal{"keys/k/trim", `{}`, errs.Invalid, "missing min_available_version"})
	refuse(-1, "minimum available version cannot be decremented")
	refuse(0, "minimum available version should be positive")
	refuse(5, "minimum available version cannot be greater than minmum encryption version")
	refuse(4, "minimum available version cannot be greater than minimum decryption version")
	if got := w.post("keys/k/trim", `{"min_available_version":3}`); got["min_available_version"] != 3 || got["latest_version"] != 5 {
		t.Errorf("got %v", got)
	}
	refuse(2, "minimum available version cannot be decremented")
	w.refuse(
		refusal{"keys/k/config", `{"min_decryption_version":2}`, errs.Invalid, "min decryption version should not be less then min available version"},
		refusal{"keys/k/config", `{"min_encryption_version":0}`, errs.Invalid, "min encryption version should not be less than min available version"},
		refusal{"decrypt/k", `{"ciphertext":"` + old + `"}`, errs.Invalid, "ciphertext or signature version is disallowed by policy (too old)"},
	)
	var versions int
	err := w.store.View(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT count(*) FROM transit_versions`).Scan(&versions)
	})
	if err != nil || versions != 3 {
		t.Errorf("%d versions are stored, %v", versions, err)
	}
}

// A soft-deleted key is of no use until it is brought back, but it can be read, changed and backed up.
func TestSoftDeletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.post("keys/k", `{"exportable":true,"allow_plaintext_backup":true,"auto_rotate_period":"1h"}`)
	w.post("keys/rsa", `{"type":"rsa-2048","exportable":true}`)
	sealed := str(t, w.post("encrypt/k", `{"plaintext":""}`), "ciphertext")
	resp, err := w.request(engine.Delete, "keys/k/soft-delete", nil)
	if err != nil || resp.Data["soft_deleted"] != true {
		t.Fatalf("got %v, %v", resp, err)
	}
	const refused = "refusing to use soft-deleted key"
	w.refuse(
		refusal{"encrypt/k", `{"plaintext":""}`, errs.Invalid, refused},
		refusal{"decrypt/k", `{"ciphertext":"` + sealed + `"}`, errs.Invalid, refused},
		refusal{"rewrap/k", `{"ciphertext":"` + sealed + `"}`, errs.Invalid, refused},
		refusal{"datakey/wrapped/k", ``, errs.Invalid, refused},
		refusal{"hmac/k", `{"input":""}`, errs.Invalid, refused},
		refusal{"verify/k", `{"input":"","hmac":"vault:v1:"}`, errs.Invalid, refused},
		refusal{"sign/k", `{"input":""}`, errs.Invalid, refused},
		refusal{"keys/k/rotate", ``, errs.Invalid, refused},
		refusal{"GET export/encryption-key/k", ``, errs.Invalid, refused},
		refusal{"GET byok-export/rsa/k", ``, errs.Invalid, refused},
	)
	w.get("keys/k")
	w.get("backup/k")
	w.post("keys/k/config", `{"deletion_allowed":true}`)
	w.clock.Advance(2 * 3600e9)
	if err := w.engine.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.engine.Wait()
	if got := w.post("keys/k/soft-delete-restore", ""); got["soft_deleted"] != false || got["latest_version"] != 1 {
		t.Errorf("got %v", got)
	}
	w.post("decrypt/k", `{"ciphertext":"`+sealed+`"}`)
}

// A name is free again after its key was deleted, and the new key is another one, also for a node that had the old one in
// memory.
func TestDeletedAndMadeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := w.node()
	w.post("keys/k", "")
	sealed := str(t, other.post("encrypt/k", `{"plaintext":""}`), "ciphertext")
	w.post("keys/k/config", `{"deletion_allowed":true}`)
	if _, err := w.request(engine.Delete, "keys/k", nil); err != nil {
		t.Fatal(err)
	}
	other.refuse(refusal{"decrypt/k", `{"ciphertext":"` + sealed + `"}`, errs.Invalid, "encryption key not found"})
	w.post("keys/k", "")
	other.refuse(refusal{"decrypt/k", `{"ciphertext":"` + sealed + `"}`, errs.Invalid, "cipher: message authentication failed"})
}

// Each rotation counts, whoever rotates at the same time, and no trim takes one away.
func TestRotationsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nodes := []*world{w, w.node(), w.node()}
	w.post("keys/k", "")
	w.post("keys/k/config", `{"min_encryption_version":1}`)
	const each = 8
	var running sync.WaitGroup
	for _, n := range nodes {
		running.Go(func() {
			for range each {
				if _, err := n.send("keys/k/rotate", ""); err != nil {
					t.Errorf("rotate: %v", err)
				}
			}
		})
		running.Go(func() {
			for range each {
				if _, err := n.send("encrypt/k", `{"plaintext":""}`); err != nil {
					t.Errorf("encrypt: %v", err)
				}
				if _, err := n.send("keys/k/trim", `{"min_available_version":1}`); err != nil {
					t.Errorf("trim: %v", err)
				}
			}
		})
	}
	running.Wait()
	got := w.get("keys/k")
	if want := 1 + each*len(nodes); got["latest_version"] != want || len(got["keys"].(data)) != want {
		t.Errorf("latest version is %v, of %d keys; want %d", got["latest_version"], len(got["keys"].(data)), want)
	}
}

// Many requests for the same new key make one.
func TestCreationsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nodes := []*world{w, w.node()}
	made := make([]string, 16)
	var running sync.WaitGroup
	for i := range made {
		running.Go(func() {
			resp, err := nodes[i%2].send("encrypt/k", `{"plaintext":"bQ=="}`)
			if err != nil {
				t.Errorf("encrypt: %v", err)
				return
			}
			made[i], _ = resp.Data["ciphertext"].(string)
		})
	}
	running.Wait()
	for _, sealed := range made {
		if got := w.post("decrypt/k", `{"ciphertext":"`+sealed+`"}`); got["plaintext"] != "bQ==" {
			t.Errorf("got %v", got)
		}
	}
}

// What is unmounted leaves nothing, and nothing comes after.
func TestUnmount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 3 {
		w.post(fmt.Sprintf("keys/k%d", i), "")
	}
	w.post("config/keys", `{"disable_upsert":true}`)
	w.mount.UUID = "mount-2"
	w.post("keys/stays", "")
	w.mount.UUID = "mount-1"
	*w.gone = true
	for range 2 {
		if err := w.engine.Unmount(t.Context(), w.mount); err != nil {
			t.Fatal(err)
		}
	}
	for table, want := range map[string]int{"transit_keys": 1, "transit_versions": 1, "transit_mounts": 0} {
		var n int
		err := w.store.View(t.Context(), func(tx *store.Tx) error { return tx.QueryRow(`SELECT count(*) FROM ` + table).Scan(&n) })
		if err != nil || n != want {
			t.Errorf("%s has %d rows, want %d, %v", table, n, want, err)
		}
	}
	w.refuse(
		refusal{"keys/new", ``, errs.NotFound, "the mount is being removed or moved"},
		refusal{"encrypt/new", `{"plaintext":""}`, errs.NotFound, "the mount is being removed or moved"},
		refusal{"config/keys", `{"disable_upsert":true}`, errs.NotFound, "the mount is being removed or moved"},
	)
}

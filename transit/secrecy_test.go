package transit_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"leasehold/internal/errs"
	"leasehold/store"
	"leasehold/transit"
)

// What is stored shows no key, and no name of one.
func TestTheStoreShowsNoKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const name = "canary-4f1e"
	markers := map[string][]byte{"the name": []byte(name)}
	w.post("keys/"+name, `{"exportable":true,"derived":true}`)
	w.post("keys/hmac", `{"type":"hmac","key_size":32,"exportable":true}`)
	w.post("keys/ed25519", `{"type":"ed25519","exportable":true}`)
	w.keepWrappingPair()
	for path, n := range map[string]string{"encryption-key/" + name: name, "hmac-key/" + name: name, "hmac-key/hmac": "hmac", "signing-key/ed25519": "ed25519"} {
		raw, err := base64.StdEncoding.DecodeString(str(t, w.get("export/" + path)["keys"].(data), "1"))
		if err != nil {
			t.Fatal(err)
		}
		raw = raw[:32] // of a pair: the seed
		markers[path] = raw
		markers[path+" in base64"] = []byte(base64.StdEncoding.EncodeToString(raw)[:40])
		markers[path+" in hex"] = []byte(hex.EncodeToString(raw))
		if got := w.get("keys/" + n); strings.Contains(text(t, got), base64.StdEncoding.EncodeToString(raw)[:40]) {
			t.Errorf("%s: the key object shows it", path)
		}
	}
	for _, query := range []string{
		`SELECT id, mount, stamp, name, settings FROM transit_keys`,
		`SELECT id, owner, CAST(number AS TEXT), material, material FROM transit_versions`,
		`SELECT mount, mount, mount, wrapping, wrapping FROM transit_mounts`,
	} {
		err := w.store.View(t.Context(), func(tx *store.Tx) error {
			rows, err := tx.Query(query)
			if err != nil {
				return err
			}
			defer func() { _ = rows.Close() }()
			seen := false
			for rows.Next() {
				var cells [5][]byte
				if err := rows.Scan(&cells[0], &cells[1], &cells[2], &cells[3], &cells[4]); err != nil {
					return err
				}
				seen = true
				for what, marker := range markers {
					if bytes.Contains(bytes.Join(cells[:], nil), marker) {
						t.Errorf("%s: shows %s", query, what)
					}
				}
			}
			if !seen {
				t.Errorf("%s: nothing was looked at", query)
			}
			return rows.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Nothing works in a sealed store, also for keys that were just in memory.
func TestSealed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.post("keys/k", `{"auto_rotate_period":"1h"}`)
	sealed := str(t, w.post("encrypt/k", `{"plaintext":""}`), "ciphertext")
	w.clock.Advance(2 * 3600e9)
	w.store.Lock()
	w.engine.Forget()
	for path, body := range map[string]string{
		"encrypt/k": `{"plaintext":""}`, "decrypt/k": `{"ciphertext":"` + sealed + `"}`, "hmac/k": `{"input":""}`, "keys/k/rotate": "", "keys/new": "",
	} {
		if resp, err := w.send(path, body); err == nil || errs.From(err) != nil {
			t.Errorf("%s: got %v, %v", path, resp, err)
		}
	}
	if err := w.engine.RunOnce(t.Context()); err != nil {
		t.Errorf("look for due keys: %v", err)
	}
	w.engine.Wait()
}

// Refusals do not quote what was sent: it may be a secret in the wrong field.
func TestRefusalsDoNotQuote(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.post("keys/k", "")
	w.keepWrappingPair()
	const canary = "canary*9c2d"
	for _, c := range []struct{ path, field string }{
		{"encrypt/k", "plaintext"}, {"encrypt/k", "context"}, {"encrypt/k", "associated_data"}, {"encrypt/k", "key_version"},
		{"decrypt/k", "ciphertext"}, {"sign/k", "input"}, {"hmac/k", "input"}, {"verify/k", "hmac"}, {"verify/k", "signature"}, {"hash", "input"},
		{"keys/n/import", "ciphertext"}, {"keys/n/import", "public_key"}, {"restore", "backup"}, {"keys/k/set-certificate", "certificate_chain"},
		{"keys/k/csr", "csr"}, {"derive-key/n", "peer_public_key"},
	} {
		body := data{c.field: canary, "plaintext": canary, "ciphertext": canary, "input": canary}
		if c.field == "public_key" {
			delete(body, "ciphertext")
			body["type"] = "ecdsa-p256"
		}
		_, err := w.request("update", c.path, body)
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s, %s: %v", c.path, c.field, err)
		}
	}
	if _, err := transit.New(transit.Config{}); err == nil {
		t.Error("an engine without a store")
	}
}

package transit_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"leasehold/engine"
)

// ready is a request as it comes from the wire, and its kind.
type ready struct {
	w    *world
	path string
	body data
}

func (r ready) run(b *testing.B) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		request := &engine.Request{Operation: engine.Update, Mount: r.w.mount, Path: r.path, Data: r.body}
		if _, err := r.w.engine.Handle(b.Context(), request); err != nil {
			b.Fatal(err)
		}
	}
}

// batchOf is a batch of n equal items.
func batchOf(n int, item data) data {
	list := make([]any, n)
	for i := range list {
		list[i] = item
	}
	return data{"batch_input": list}
}

// What does a message of 1 KiB cost the engine, the read of its key's row included? Divide a batch by 100.
//
// Two busy cores, SQLite, the best of several runs: 30 µs and 71 allocations alone, 10 µs and 12 allocations in a batch.
func BenchmarkEncrypt(b *testing.B) {
	plaintext := base64.StdEncoding.EncodeToString(make([]byte, 1024))
	w := newWorld(b)
	for _, c := range all {
		if c.slow || strings.HasPrefix(c.name, "rsa") {
			continue
		}
		if info := w.post("keys/"+c.name, "{"+c.fields+"}"); info["supports_encryption"] != true {
			continue
		}
		sealed := str(b, w.post("encrypt/"+c.name, `{"plaintext":"`+plaintext+`"}`), "ciphertext")
		for _, n := range []int{1, 100} {
			in, out := data{"plaintext": plaintext}, data{"ciphertext": sealed}
			if n > 1 {
				in, out = batchOf(n, in), batchOf(n, out)
			}
			b.Run(fmt.Sprintf("%s/encrypt/batch=%d", c.name, n), ready{w, "encrypt/" + c.name, in}.run)
			b.Run(fmt.Sprintf("%s/decrypt/batch=%d", c.name, n), ready{w, "decrypt/" + c.name, out}.run)
		}
	}
	w.post("keys/convergent", `{"derived":true,"convergent_encryption":true}`)
	b.Run("convergent/encrypt/batch=1", ready{w, "encrypt/convergent", data{"plaintext": plaintext, "context": "YQ=="}}.run)
}

// What do a signature and its check cost, for each type?
func BenchmarkSign(b *testing.B) {
	input := base64.StdEncoding.EncodeToString(make([]byte, 1024))
	w := newWorld(b)
	for _, c := range all {
		if info := w.post("keys/"+c.name, "{"+c.fields+"}"); info["supports_signing"] != true {
			continue
		}
		made := str(b, w.post("sign/"+c.name, `{"input":"`+input+`"}`), "signature")
		b.Run(c.name+"/sign", ready{w, "sign/" + c.name, data{"input": input}}.run)
		b.Run(c.name+"/verify", ready{w, "verify/" + c.name, data{"input": input, "signature": made}}.run)
	}
	mac := str(b, w.post("hmac/hmac", `{"input":"`+input+`"}`), "hmac")
	b.Run("hmac/make", ready{w, "hmac/hmac", data{"input": input}}.run)
	b.Run("hmac/verify", ready{w, "verify/hmac", data{"input": input, "hmac": mac}}.run)
}

// What does the cache save? Each request here meets a key that has just changed, as after a rotation on another node.
func BenchmarkColdKey(b *testing.B) {
	for _, c := range []string{"aes256-gcm96", "rsa-2048"} {
		b.Run(c, func(b *testing.B) {
			w := newWorld(b)
			w.post("keys/k", `{"type":"`+c+`"}`)
			b.ReportAllocs()
			for b.Loop() {
				w.engine.Forget()
				w.post("hmac/k", `{"input":""}`)
			}
		})
	}
}

package sys

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"strconv"

	"leasehold/engine"
	"leasehold/internal/errs"
)

// maxRandomBytes is the most that one call of tools/random gives; the wire's own limit.
const maxRandomBytes = 128 * 1024

var hashes = map[string]func() hash.Hash{
	"sha2-224": sha256.New224,
	"sha2-256": sha256.New,
	"sha2-384": sha512.New384,
	"sha2-512": sha512.New,
	"sha3-224": func() hash.Hash { return sha3.New224() },
	"sha3-256": func() hash.Hash { return sha3.New256() },
	"sha3-384": func() hash.Hash { return sha3.New384() },
	"sha3-512": func() hash.Hash { return sha3.New512() },
}

func toolPaths() []*engine.Path {
	random := engine.Schema{"bytes": engine.Int, "format": engine.Text, "source": engine.Text, "first": engine.Text, "second": engine.Text}
	sum := engine.Schema{"input": engine.Text, "algorithm": engine.Text, "format": engine.Text}
	return []*engine.Path{
		{Pattern: "tools/random", Fields: random, Ops: engine.Ops{engine.Update: randomBytes}, Help: "Generate random bytes."},
		{Pattern: "tools/random/:first", Fields: random, Ops: engine.Ops{engine.Update: randomBytes}, Help: "Generate random bytes."},
		{Pattern: "tools/random/:first/:second", Fields: random, Ops: engine.Ops{engine.Update: randomBytes}, Help: "Generate random bytes."},
		{Pattern: "tools/hash", Fields: sum, Ops: engine.Ops{engine.Update: hashInput}, Help: "Hash the input."},
		{Pattern: "tools/hash/:algorithm", Fields: sum, Ops: engine.Ops{engine.Update: hashInput}, Help: "Hash the input."},
	}
}

// randomBytes reads the path's segments as [SOURCE][/BYTES]: a single number is the count. Whatever the source is
// called, bytes come from the operating system.
func randomBytes(_ context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	count, source := 32, "platform"
	if f.Has("bytes") {
		count = f.Int("bytes")
	}
	if f.Has("source") {
		source = f.Text("source")
	}
	last := f.Text("second")
	if last != "" {
		source = f.Text("first")
	} else if last = f.Text("first"); sources[last] {
		source, last = last, ""
	}
	if last != "" {
		n, err := strconv.Atoi(last)
		if err != nil {
			return nil, errs.New(errs.Invalid, "error parsing url-set byte count: %q is not a number", last)
		}
		count = n
	}
	switch {
	case !sources[source]:
		return nil, errs.New(errs.Invalid, "unsupported entropy source %q; must be \"platform\" or \"seal\", or \"all\"", source)
	case count < 1:
		return nil, errs.New(errs.Invalid, "'bytes' cannot be less than 1")
	case count > maxRandomBytes:
		return nil, errs.New(errs.Invalid, "'bytes' should be less than %d", maxRandomBytes)
	}
	encode, ok := encodings[f.Text("format")]
	if f.Text("format") == "" {
		encode, ok = base64.StdEncoding.EncodeToString, true
	}
	if !ok {
		return nil, errs.New(errs.Invalid, "unsupported encoding format %q; must be \"hex\" or \"base64\"", f.Text("format"))
	}
	out := make([]byte, count)
	_, _ = rand.Read(out) // never fails
	return &engine.Response{Data: map[string]any{"random_bytes": encode(out)}}, nil
}

var sources = map[string]bool{"platform": true, "seal": true, "all": true}

var encodings = map[string]func([]byte) string{
	"hex":    hex.EncodeToString,
	"base64": base64.StdEncoding.EncodeToString,
}

func hashInput(_ context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	input, err := base64.StdEncoding.DecodeString(f.Text("input"))
	if err != nil {
		return nil, errs.New(errs.Invalid, "unable to decode input as base64: %s", err)
	}
	format := f.Text("format")
	if format == "" {
		format = "hex"
	}
	encode, ok := encodings[format]
	if !ok {
		return nil, errs.New(errs.Invalid, "unsupported encoding format %s; must be \"hex\" or \"base64\"", format)
	}
	algorithm := f.Text("algorithm")
	if algorithm == "" {
		algorithm = "sha2-256"
	}
	newHash, ok := hashes[algorithm]
	if !ok {
		return nil, errs.New(errs.Invalid, "unsupported algorithm %s", algorithm)
	}
	sum := newHash()
	sum.Write(input)
	return &engine.Response{Data: map[string]any{"sum": encode(sum.Sum(nil))}}, nil
}

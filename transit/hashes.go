package transit

import (
	"context"
	"crypto"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha3"
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/hex"

	"leasehold/engine"
	"leasehold/internal/errs"
)

const (
	defaultHash = "sha2-256"
	oldHash     = "sha1" // for signatures alone
	noHash      = "none" // for signatures alone: what is signed names no hash
)

// hashes are the algorithms, by their names on the wire.
var hashes = map[string]crypto.Hash{
	oldHash: crypto.SHA1, "sha2-224": crypto.SHA224, defaultHash: crypto.SHA256, "sha2-384": crypto.SHA384, "sha2-512": crypto.SHA512,
	"sha3-224": crypto.SHA3_224, "sha3-256": crypto.SHA3_256, "sha3-384": crypto.SHA3_384, "sha3-512": crypto.SHA3_512,
}

// hashName is the hash that a request asks for: in its path, or a field, or else the default.
func hashName(f *engine.Fields) string {
	for _, field := range []string{"path_algorithm", "hash_algorithm", "algorithm"} {
		if name := f.Text(field); name != "" {
			return name
		}
	}
	return defaultHash
}

// digestHash is the hash of digests and HMACs. Errors: Invalid.
func digestHash(f *engine.Fields) (crypto.Hash, error) {
	name := hashName(f)
	h, known := hashes[name]
	if !known || name == oldHash {
		return 0, errs.New(errs.Invalid, "unsupported algorithm %s", name)
	}
	return h, nil
}

func digest(h crypto.Hash, data []byte) []byte {
	state := h.New()
	state.Write(data)
	return state.Sum(nil)
}

// decodeInput decodes the input of a request that hashes, signs or verifies. Errors: Invalid.
func decodeInput(text string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errs.New(errs.Invalid, "unable to decode input as base64: %s", err) // it tells the place alone
	}
	return raw, nil
}

// Formats of bytes in answers.
const (
	asHex    = "hex"
	asBase64 = "base64"
)

func encodeAs(format string, raw []byte) string {
	if format == asHex {
		return hex.EncodeToString(raw)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// hashData is a plain digest of the input. Source: recording transit-hash-random.
func (e *Engine) hashData(_ context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	if !f.Has("input") {
		return nil, errs.New(errs.Invalid, "input missing")
	}
	input, err := decodeInput(f.Text("input"))
	if err != nil {
		return nil, err
	}
	format := f.Text("format")
	switch format {
	case "":
		format = asHex
	case asHex, asBase64:
	default:
		return nil, errs.New(errs.Invalid, "unsupported encoding format %s; must be \"hex\" or \"base64\"", format)
	}
	h, err := digestHash(f)
	if err != nil {
		return nil, err
	}
	return &engine.Response{Data: map[string]any{"sum": encodeAs(format, digest(h, input))}}, nil
}

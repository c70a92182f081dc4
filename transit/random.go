package transit

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strconv"

	"leasehold/engine"
	"leasehold/internal/errs"
)

const (
	defaultRandomBytes = 32
	maxRandomBytes     = 128 << 10
)

// Sources of random bytes. There is one: a seal that brings its own does not exist here.
const (
	fromPlatform = "platform"
	fromSeal     = "seal"
	fromAll      = "all"
)

// random makes random bytes. Source: recording transit-hash-random.
func (e *Engine) random(_ context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	source, count, err := randomPath(f)
	if err != nil {
		return nil, err
	}
	switch {
	case count < 1:
		return nil, errs.New(errs.Invalid, "'bytes' cannot be less than 1")
	case count > maxRandomBytes:
		return nil, errs.New(errs.Invalid, "'bytes' should be less than %d", maxRandomBytes)
	}
	format := f.Text("format")
	switch format {
	case "":
		format = asBase64
	case asHex, asBase64:
	default:
		return nil, errs.New(errs.Invalid, "unsupported encoding format %q; must be \"hex\" or \"base64\"", format)
	}
	resp := &engine.Response{}
	switch source {
	case fromPlatform, fromAll:
	case fromSeal:
		resp.Warn("no seal/entropy augmentation available, using platform entropy source")
	default:
		return nil, errs.New(errs.Invalid, "unsupported entropy source %q; must be \"platform\" or \"seal\", or \"all\"", source)
	}
	raw := make([]byte, count)
	_, _ = rand.Read(raw) // never fails
	resp.Data = map[string]any{"random_bytes": encodeAs(format, raw)}
	return resp, nil
}

// randomPath reads where the bytes come from and how many they are: of the path, or else of the fields. A single part of
// the path that names no source is the number.
func randomPath(f *engine.Fields) (source string, count int, err error) {
	source, count = fromPlatform, defaultRandomBytes
	if s := f.Text("source"); s != "" {
		source = s
	}
	if f.Has("bytes") {
		count = f.Int("bytes")
	}
	number := f.Text("path_bytes")
	switch part := f.Text("path_source"); part {
	case "":
	case fromPlatform, fromSeal, fromAll:
		source = part
	default:
		if number != "" {
			source = part
		} else {
			number = part
		}
	}
	if number == "" {
		return source, count, nil
	}
	if count, err = strconv.Atoi(number); err != nil {
		var syntax *strconv.NumError
		errors.As(err, &syntax)
		return "", 0, errs.New(errs.Invalid, "error parsing url-set byte count: strconv.Atoi: parsing %q: %s", number, syntax.Err)
	}
	return source, count, nil
}

// Sizes of data keys in bits.
var dataKeyBits = map[int]bool{128: true, 256: true, 512: true}

const defaultDataKeyBits = 256

// dataKey makes a random key, encrypted, and in clear where the path says so. Source: recording transit-datakey.
func (e *Engine) dataKey(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	form := f.Text("form")
	if form != "plaintext" && form != "wrapped" {
		return nil, errs.New(errs.Invalid, "Invalid path, must be 'plaintext' or 'wrapped'")
	}
	bits := defaultDataKeyBits
	if f.Has("bits") {
		bits = f.Int("bits")
	}
	if !dataKeyBits[bits] {
		return nil, errs.New(errs.Invalid, "invalid bit length")
	}
	derivation, err := decodeField(f.Text("context"))
	if err != nil {
		return nil, err
	}
	it := &item{associated: f.Text("associated_data"), version: f.Int("key_version")}
	l, err := e.lend(ctx, r, f.Text("name"), errNoKey, func(k *key) (numbers []int, err error) {
		if err := k.demandEncryption("encryption"); err != nil {
			return nil, err
		}
		it.version, err = k.encryptionVersion(it.version)
		return []int{it.version}, err
	})
	if err != nil {
		return nil, err
	}
	associated, err := l.associatedData(it)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, bits/8)
	_, _ = rand.Read(raw) // never fails
	data, err := l.encryptOne(it.version, derivation, raw, associated)
	if err != nil {
		return nil, err
	}
	if form == "plaintext" {
		data["plaintext"] = base64.StdEncoding.EncodeToString(raw)
	}
	return &engine.Response{Data: data}, nil
}

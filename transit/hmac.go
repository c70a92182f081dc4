package transit

import (
	"context"
	"crypto"
	"crypto/hmac"
	"encoding/base64"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
)

// mac is the HMAC of an input by a version. Types other than hmac have a key for it beside their own.
func (v *version) mac(k *key, h crypto.Hash, input []byte) []byte {
	state := hmac.New(h.New, v.macSecret(k).Reveal())
	state.Write(input)
	return state.Sum(nil)
}

func (v *version) macSecret(k *key) secret.Bytes {
	if k.Type == hmacAlgorithm {
		return v.secret
	}
	return v.hmac
}

// macVersion is the version that a request for an HMAC means; 0: the newest.
//
// Errors: Invalid. Source: recording transit-hmac.
func (k *key) macVersion(asked int) (int, error) {
	switch {
	case asked == 0:
		return k.Latest, nil
	case asked < 0, asked > k.Latest:
		return 0, errs.New(errs.Invalid, "key version does not exist; latest key version is %d", k.Latest)
	case asked < k.oldestUsed():
		return 0, errs.New(errs.Invalid, "cannot generate HMAC: version is too old (disallowed by policy)")
	}
	return asked, nil
}

func (e *Engine) makeHMAC(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	b, err := readBatch(f, "input", "")
	if err != nil {
		return nil, err
	}
	h, err := digestHash(f)
	if err != nil {
		return nil, err
	}
	number := f.Int("key_version")
	l, err := e.lend(ctx, r, f.Text("name"), errNoKey, func(k *key) ([]int, error) {
		number, err = k.macVersion(number)
		return []int{number}, err
	})
	if err != nil {
		return nil, err
	}
	v, err := l.version(number)
	if err != nil {
		return nil, err
	}
	results := make([]map[string]any, len(b.items))
	err = b.each(ctx, func(it *item) error {
		input, err := macInput(it)
		if err != nil {
			return err
		}
		results[it.index] = map[string]any{"hmac": format(number, v.mac(l.key, h, input), base64.StdEncoding)}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return b.answerAll(results)
}

func macInput(it *item) ([]byte, error) {
	if !it.given {
		return nil, errs.New(errs.Invalid, "missing input for HMAC")
	}
	return decodeInput(it.input)
}

func (e *Engine) verifyHMACs(ctx context.Context, r *engine.Request, f *engine.Fields, b *batch) (*engine.Response, error) {
	h, err := digestHash(f)
	if err != nil {
		return nil, err
	}
	macs := make([]made, len(b.items))
	l, err := e.lend(ctx, r, f.Text("name"), errNoKey, func(k *key) (numbers []int, err error) {
		err = b.each(ctx, func(it *item) (err error) {
			if macs[it.index], err = k.readHMAC(it.hmac); err == nil {
				numbers = append(numbers, macs[it.index].version)
			}
			return err
		})
		return numbers, err
	})
	if err != nil {
		return nil, err
	}
	results := make([]map[string]any, len(b.items))
	err = b.each(ctx, func(it *item) error {
		input, err := macInput(it)
		if err != nil {
			return err
		}
		v, err := l.version(macs[it.index].version)
		if err != nil {
			return err
		}
		valid := hmac.Equal(v.mac(l.key, h, input), macs[it.index].bytes)
		if valid || !b.many { // Compat: recording transit-hmac: of a batch, a false one is not said
			results[it.index] = map[string]any{"valid": valid}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return b.answerAll(results)
}

// readHMAC reads an HMAC. Errors: Invalid.
func (k *key) readHMAC(text string) (made, error) {
	number, encoded, flaw := split(text)
	switch {
	case flaw == noPrefix:
		return made{}, errs.New(errs.Invalid, "invalid HMAC to verify: %s", flaw)
	case flaw != "":
		return made{}, errs.New(errs.Invalid, "invalid HMAC: %s", flaw)
	case number > k.Latest:
		return made{}, errs.New(errs.Invalid, "invalid HMAC: version is too new")
	case number < k.MinDecryption:
		return made{}, errs.New(errs.Invalid, "cannot verify HMAC: version is too old (disallowed by policy)")
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return made{}, errs.New(errs.Invalid, "unable to decode verification string as base64: %s", err)
	}
	return made{number, raw}, nil
}

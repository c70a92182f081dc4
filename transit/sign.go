package transit

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"

	"leasehold/engine"
	"leasehold/internal/errs"
)

// signingVersion is the version that a request to sign means; 0: the newest.
//
// Errors: Fault. Source: recording transit-sign.
func (k *key) signingVersion(asked int) (int, error) {
	flaw := ""
	switch {
	case asked == 0:
		return k.Latest, nil
	case asked < 0:
		flaw = "negative"
	case asked < k.oldestUsed():
		flaw = "less than the minimum encryption key version"
	case asked > k.Latest:
		flaw = "higher than the latest key version"
	default:
		return asked, nil
	}
	return 0, errs.Framed(errs.Fault, "requested version for signing is %s", flaw)
}

// derivedContext decodes the context of an item; of a derived key there has to be one.
func (k *key) derivedContext(it *item) ([]byte, error) {
	derivation, err := decodeField(it.context)
	if err != nil {
		return nil, err
	}
	if k.Derived && len(derivation) == 0 {
		return nil, errs.Framed(errs.Fault, "error deriving key: %s", errNoContext.Text)
	}
	return derivation, nil
}

func (e *Engine) sign(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	m, err := readManner(f)
	if err != nil {
		return nil, err
	}
	b, err := readBatch(f, "input", "")
	if err != nil {
		return nil, err
	}
	number := f.Int("key_version")
	l, err := e.lend(ctx, r, f.Text("name"), errs.New(errs.Invalid, "signing key not found"), func(k *key) ([]int, error) {
		if !k.algorithm().signs {
			return nil, errs.New(errs.Invalid, "key type %s does not support signing", k.Type)
		}
		number, err = k.signingVersion(number)
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
	for i := range results {
		results[i] = map[string]any{"key_version": 0} // what an item that fails shows
	}
	err = b.each(ctx, func(it *item) error {
		if b.many && !it.given {
			return errs.New(errs.Invalid, "missing input")
		}
		signature, public, err := l.signOne(v, m, it)
		if err != nil {
			return err
		}
		results[it.index]["key_version"], results[it.index]["signature"] = number, format(number, signature, m.encoding)
		if public != "" {
			name := "public_key"
			if b.many {
				name = "publickey"
			}
			results[it.index][name] = public
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return b.answerAll(results)
}

// signOne signs the input of an item. public is that of a derived key.
func (l lent) signOne(v *version, m manner, it *item) (signature []byte, public string, err error) {
	input, err := decodeInput(it.input)
	if err != nil {
		return nil, "", err
	}
	derivation, err := l.derivedContext(it)
	if err != nil {
		return nil, "", err
	}
	pair := v.pair
	switch {
	case pair == nil:
		return nil, "", errs.Framed(errs.Fault, "requested version for signing does not contain a private part")
	case l.Derived:
		derived, err := v.derivePair(derivation)
		if err != nil {
			return nil, "", err
		}
		pair, public = derived, publicBytes(derived)
	}
	signature, err = m.sign(pair, input)
	return signature, public, err
}

// publicBytes is the public key of an Ed25519 pair, base64.
func publicBytes(pair ed25519.PrivateKey) string {
	public, _ := pair.Public().(ed25519.PublicKey)
	return base64.StdEncoding.EncodeToString(public)
}

// verify checks signatures, or HMACs when that is what the request has.
func (e *Engine) verify(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	b, err := readBatch(f, "input", "")
	if err != nil {
		return nil, err
	}
	byHMAC, err := b.proofs()
	if err != nil {
		return nil, err
	}
	if byHMAC {
		return e.verifyHMACs(ctx, r, f, b)
	}
	m, err := readManner(f)
	if err != nil {
		return nil, err
	}
	signatures := make([]made, len(b.items))
	missing := errs.New(errs.Invalid, "signature verification key not found")
	l, err := e.lend(ctx, r, f.Text("name"), missing, func(k *key) (numbers []int, err error) {
		if !k.algorithm().signs {
			return nil, errs.New(errs.Invalid, "key type %s does not support verification", k.Type)
		}
		err = b.each(ctx, func(it *item) (err error) {
			if signatures[it.index], err = k.readSignature(it.signature, m); err == nil {
				numbers = append(numbers, signatures[it.index].version)
			}
			return err
		})
		return numbers, err
	})
	if err != nil {
		return nil, err
	}
	results := make([]map[string]any, len(b.items))
	for i := range results {
		results[i] = map[string]any{"valid": false}
	}
	err = b.each(ctx, func(it *item) error {
		if b.many && !it.given {
			return errs.New(errs.Invalid, "missing input")
		}
		valid, err := l.verifyOne(signatures[it.index], m, it)
		results[it.index]["valid"] = valid
		return err
	})
	if err != nil {
		return nil, err
	}
	return b.answerAll(results)
}

// proofs says whether the items have HMACs; or else signatures.
//
// Errors: Invalid (they have neither, or not the same). Source: recording transit-sign.
func (b *batch) proofs() (byHMAC bool, err error) {
	signatures, hmacs := 0, 0
	for _, it := range b.items {
		if it.hmac != "" {
			hmacs++
		} else if it.signature != "" {
			signatures++
		}
	}
	switch {
	case signatures+hmacs == 0 && !b.many:
		return false, errs.New(errs.Invalid, "neither a 'signature' nor an 'hmac' were given to verify")
	case signatures+hmacs == 0:
		return false, errs.New(errs.Invalid, "no batch_input elements have 'signature' or 'hmac'")
	case signatures != len(b.items) && hmacs != len(b.items):
		return false, errs.New(errs.Invalid, "elements of batch_input must all provide 'signature' or all provide 'hmac'")
	}
	return hmacs > 0, nil
}

// made is text of the published form, read.
type made struct {
	version int
	bytes   []byte
}

// readSignature reads a signature. Errors: Invalid.
func (k *key) readSignature(text string, m manner) (made, error) {
	number, encoded, flaw := split(text)
	switch {
	case flaw != "":
		return made{}, errs.New(errs.Invalid, "invalid signature: %s", flaw)
	case number > k.Latest:
		return made{}, errs.New(errs.Invalid, "invalid signature: version is too new")
	case number < k.MinDecryption:
		return made{}, errTooOld
	}
	raw, err := m.encoding.DecodeString(encoded)
	if err != nil {
		return made{}, errs.New(errs.Invalid, "invalid base64 signature value")
	}
	return made{number, raw}, nil
}

func (l lent) verifyOne(signature made, m manner, it *item) (bool, error) {
	input, err := decodeInput(it.input)
	if err != nil {
		return false, err
	}
	derivation, err := l.derivedContext(it)
	if err != nil {
		return false, err
	}
	v, err := l.version(signature.version)
	if err != nil {
		return false, err
	}
	public := v.public
	if l.Derived {
		pair, err := v.derivePair(derivation)
		if err != nil {
			return false, err
		}
		public = pair.Public()
	}
	return m.verify(public, input, signature.bytes)
}

// answerAll makes the answer of a request to sign, verify or make HMACs: a batch is answered with 200 whatever has failed.
func (b *batch) answerAll(results []map[string]any) (*engine.Response, error) {
	if b.many {
		return &engine.Response{Data: map[string]any{"batch_results": b.list(results)}}, nil
	}
	if failed := b.items[0].failed; failed != nil {
		return nil, failed
	}
	return &engine.Response{Data: results[0]}, nil
}

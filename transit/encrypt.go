package transit

import (
	"context"
	"encoding/base64"
	"fmt"

	"leasehold/engine"
	"leasehold/internal/errs"
)

var (
	errNoKey       = errs.New(errs.Invalid, "encryption key not found")
	errNoPlain     = errs.New(errs.Invalid, "missing plaintext to encrypt")
	errNoCipher    = errs.New(errs.Invalid, "missing ciphertext to decrypt")
	errSoftDeleted = errs.New(errs.Invalid, "refusing to use soft-deleted key")
)

// lent is a key and the versions of it that a request needs. They are used after the transaction that has read them: a
// large RSA key takes its time.
type lent struct {
	*key
	versions map[int]*version
}

// lend reads a key with the versions that need names. Those that it does not have are left out.
//
// Errors: missing, when there is no key of that name; Invalid (soft-deleted); what need returns.
func (e *Engine) lend(ctx context.Context, r *engine.Request, name string, missing error, need func(*key) ([]int, error)) (lent, error) {
	l := lent{}
	err := e.view(ctx, r.Mount, func(s shelf) error {
		var err error
		if l.key, err = s.find(name); err != nil {
			return fmt.Errorf("read a key: %w", err)
		}
		switch {
		case l.key == nil:
			return missing
		case l.SoftDeleted:
			return errSoftDeleted
		}
		numbers, err := need(l.key)
		if err != nil {
			return err
		}
		l.versions = make(map[int]*version, 1)
		for _, n := range numbers {
			if l.versions[n] != nil {
				continue
			}
			v, found, err := s.version(l.key, n)
			if err != nil {
				return fmt.Errorf("read a version of a key: %w", err)
			}
			if found {
				l.versions[n] = v
			}
		}
		return nil
	})
	return l, err
}

// version is one of those that were lent.
func (l lent) version(number int) (*version, error) {
	v := l.versions[number]
	if v == nil {
		return nil, fmt.Errorf("version %d of a key is missing", number)
	}
	return v, nil
}

func (k *key) demandEncryption(word string) error {
	if !k.algorithm().encrypts {
		return errs.New(errs.Invalid, "message %s not supported for key type %s", word, k.Type)
	}
	return nil
}

// associatedData reads the associated data of an item.
//
// Errors: Invalid (not for this type), Fault (not base64). Source: recording transit-aad.
func (k *key) associatedData(it *item) ([]byte, error) {
	if it.associated == "" {
		return nil, nil
	}
	if !k.algorithm().authenticates() {
		return nil, errs.New(errs.Invalid, "'[%d].associated_data' provided for non-AEAD cipher suite %s", it.index, k.Type)
	}
	data, err := base64.StdEncoding.DecodeString(it.associated)
	if err != nil {
		return nil, errs.Framed(errs.Fault, "unable to get associated_data/additional_data from factory[%d]: %s", it.index, err)
	}
	return data, nil
}

// plain is an item to encrypt, decoded.
type plain struct{ context, plaintext []byte }

func (e *Engine) encrypt(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	b, err := readBatch(f, "plaintext", errNoPlain.Text)
	if err != nil {
		return nil, err
	}
	if !b.many && !b.items[0].given {
		return nil, errNoPlain
	}
	if err := b.sameContext(); err != nil {
		return nil, err
	}
	messages := make([]plain, len(b.items))
	usable := false
	_ = b.each(ctx, func(it *item) (err error) {
		m := &messages[it.index]
		if m.context, err = decodeField(it.context); err == nil {
			m.plaintext, err = decodeField(it.input)
		}
		usable = usable || err == nil
		return err
	})
	results := make([]map[string]any, len(b.items))
	if !usable {
		return b.answer(results, f)
	}
	if r.Operation == engine.Create {
		if err := e.upsert(ctx, r, f, b.items[0].context != ""); err != nil {
			return nil, err
		}
	}
	l, err := e.lend(ctx, r, f.Text("name"), errNoKey, func(k *key) ([]int, error) {
		if err := k.demandEncryption("encryption"); err != nil {
			return nil, err
		}
		return k.encryptionVersions(ctx, b)
	})
	if err != nil {
		return nil, err
	}
	err = b.each(ctx, func(it *item) error {
		m := messages[it.index]
		associated, err := l.associatedData(it)
		if err != nil {
			return err
		}
		results[it.index], err = l.encryptOne(it.version, m.context, m.plaintext, associated)
		return err
	})
	if err != nil {
		return nil, err
	}
	return b.answer(results, f)
}

// encryptionVersions settles which version each item is encrypted with, and lists them.
func (k *key) encryptionVersions(ctx context.Context, b *batch) (numbers []int, err error) {
	err = b.each(ctx, func(it *item) (err error) {
		if it.version, err = k.encryptionVersion(it.version); err == nil {
			numbers = append(numbers, it.version)
		}
		return err
	})
	return numbers, err
}

// encryptOne makes the result of one message.
func (l lent) encryptOne(number int, context, plaintext, associated []byte) (map[string]any, error) {
	v, err := l.version(number)
	if err != nil {
		return nil, err
	}
	sealed, err := l.key.encrypt(v, context, plaintext, associated)
	if err != nil {
		return nil, err
	}
	return map[string]any{"ciphertext": format(number, sealed, base64.StdEncoding), "key_version": number}, nil
}

// sealed is an item to decrypt.
type sealed struct {
	version int
	bytes   []byte
	context []byte
}

// readSealed reads the ciphertexts of a batch, and lists the versions that have made them.
//
// Errors of the items: Invalid. Source: recording transit-encrypt.
func (k *key) readSealed(ctx context.Context, b *batch, out []sealed) (numbers []int, err error) {
	err = b.each(ctx, func(it *item) (err error) {
		s := &out[it.index]
		if s.context, err = decodeField(it.context); err != nil {
			return err
		}
		if it.input == "" {
			return errNoCipher
		}
		number, encoded, flaw := split(it.input)
		switch {
		case flaw != "":
			return errs.New(errs.Invalid, "invalid ciphertext: %s", flaw)
		case number > k.Latest:
			return errs.New(errs.Invalid, "invalid ciphertext: version is too new")
		case number < k.MinDecryption:
			return errTooOld
		}
		if s.bytes, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return errs.New(errs.Invalid, "invalid ciphertext: could not decode base64")
		}
		s.version = number
		numbers = append(numbers, number)
		return nil
	})
	return numbers, err
}

func (l lent) decryptOne(s sealed, associated []byte) ([]byte, error) {
	v, err := l.version(s.version)
	if err != nil {
		return nil, err
	}
	return l.key.decrypt(v, s.context, s.bytes, associated)
}

func (e *Engine) decrypt(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	b, messages, l, err := e.lendForDecryption(ctx, r, f, nil)
	if err != nil {
		return nil, err
	}
	results := make([]map[string]any, len(b.items))
	for i := range results {
		results[i] = map[string]any{"plaintext": ""} // an item that fails shows an empty one
	}
	err = b.each(ctx, func(it *item) error {
		associated, err := l.associatedData(it)
		if err != nil {
			return err
		}
		plaintext, err := l.decryptOne(messages[it.index], associated)
		if err == nil {
			results[it.index]["plaintext"] = base64.StdEncoding.EncodeToString(plaintext)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return b.answer(results, f)
}

// lendForDecryption reads the ciphertexts of a request and the key that has made them. more names further versions.
func (e *Engine) lendForDecryption(ctx context.Context, r *engine.Request, f *engine.Fields,
	more func(*key, *batch) ([]int, error)) (*batch, []sealed, lent, error) {
	b, err := readBatch(f, "ciphertext", errNoCipher.Text)
	if err == nil && !b.many && !b.items[0].given {
		err = errNoCipher
	}
	if err == nil {
		err = b.sameContext()
	}
	if err != nil {
		return nil, nil, lent{}, err
	}
	messages := make([]sealed, len(b.items))
	l, err := e.lend(ctx, r, f.Text("name"), errNoKey, func(k *key) ([]int, error) {
		if err := k.demandEncryption("decryption"); err != nil {
			return nil, err
		}
		numbers, err := k.readSealed(ctx, b, messages)
		if err != nil || more == nil {
			return numbers, err
		}
		others, err := more(k, b)
		return append(numbers, others...), err
	})
	return b, messages, l, err
}

// rewrap decrypts with the version of each ciphertext and encrypts with the newest one, or the one that is asked for.
func (e *Engine) rewrap(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	b, messages, l, err := e.lendForDecryption(ctx, r, f, func(k *key, b *batch) ([]int, error) {
		return k.encryptionVersions(ctx, b)
	})
	if err != nil {
		return nil, err
	}
	results := make([]map[string]any, len(b.items))
	err = b.each(ctx, func(it *item) error {
		s := messages[it.index]
		plaintext, err := l.decryptOne(s, nil)
		if err != nil {
			return err
		}
		results[it.index], err = l.encryptOne(it.version, s.context, plaintext, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !b.many {
		return b.answer(results, f)
	}
	return &engine.Response{Data: map[string]any{"batch_results": b.list(results)}}, nil
}

// upsert creates the key of a request to encrypt when there is none.
//
// Errors: Invalid, Fault. Source: the sheet on transit, "Encrypt, decrypt, rewrap".
func (e *Engine) upsert(ctx context.Context, r *engine.Request, f *engine.Fields, derived bool) error {
	m, err := e.readMount(ctx, r.Mount)
	if err != nil {
		return err
	}
	if m.RefuseUpsert {
		return errNoKey
	}
	k := &key{name: f.Text("name"), settings: settings{Type: f.Text("type"), Derived: derived, Convergent: f.Bool("convergent_encryption")}}
	if k.Type == "" {
		k.Type = defaultAlgorithm
	}
	switch a := k.algorithm(); {
	case k.Convergent && !k.Derived:
		return errs.New(errs.Invalid, "convergent encryption requires derivation to be enabled, so context is required")
	case a != nil && !a.encrypts:
		return errs.New(errs.Invalid, "key type %s not supported for this operation", k.Type)
	}
	if err := k.check(); err != nil {
		return err
	}
	return e.create(ctx, r, k)
}

// Package static opens a store with a key that stands beside the server's configuration: for machines that get their
// secrets from somewhere they trust already, such as an orchestrator or a secrets file of the service manager.
//
// Whoever has the key and a copy of the store can read it. The key therefore never belongs into the store's backups.
//
// A key is 32 bytes, with an id by which the store remembers it. To change it, name the new one as the current key and
// the one in use as the previous one, on every node; the next start of any of them wraps the store's key with the new
// one, and the previous key can go once all of them have the new configuration. A node that still has the old configuration
// then goes on working, but cannot start.
package static

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"leasehold/internal/secret"
	"leasehold/store/keyring"
)

// Config is a seal block of type "static".
//
// A key is its 32 bytes as they are, in hex or in base64, or says where such a value stands: file://PATH or env://NAME.
type Config struct {
	CurrentKeyID  string      // required, 255 bytes at most
	CurrentKey    secret.Text // required
	PreviousKeyID string      // with PreviousKey: the key that was current before
	PreviousKey   secret.Text
	Getenv        func(string) string // required
}

// Seal wraps with the current key, and unwraps with both. Safe for concurrent use.
type Seal struct{ current, previous *key } // previous may be nil

type key struct {
	id    string
	bytes [keyring.KeySize]byte
}

// New reads the keys. Its errors name the setting that is wrong, and hold no part of a key.
func New(cfg Config) (*Seal, error) {
	current, err := newKey("current_key", cfg.CurrentKeyID, cfg.CurrentKey, cfg.Getenv)
	if err != nil {
		return nil, err
	}
	s := &Seal{current: current}
	if cfg.PreviousKeyID == "" && cfg.PreviousKey.Empty() {
		return s, nil
	}
	if s.previous, err = newKey("previous_key", cfg.PreviousKeyID, cfg.PreviousKey, cfg.Getenv); err != nil {
		return nil, err
	}
	if s.previous.id == s.current.id {
		return nil, errors.New("previous_key_id: expected another id than current_key_id: one id stands for one key")
	}
	return s, nil
}

func newKey(name, id string, value secret.Text, getenv func(string) string) (*key, error) {
	switch {
	case id == "":
		return nil, fmt.Errorf("%s_id is needed: a name of your choice for the key, such as a date", name)
	case len(id) > 255:
		return nil, fmt.Errorf("%s_id is longer than 255 bytes", name)
	case value.Empty():
		return nil, fmt.Errorf("%s is needed", name)
	}
	text := []byte(value.Reveal())
	switch scheme, rest, _ := strings.Cut(value.Reveal(), "://"); scheme {
	case "file":
		read, err := os.ReadFile(rest)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err) // names the file, as the configuration does
		}
		text = read
	case "env":
		text = []byte(getenv(rest))
		if len(text) == 0 {
			return nil, fmt.Errorf("%s: the environment variable %s is not set", name, rest)
		}
	}
	defer clear(text)
	plain, ok := decode(text)
	if !ok {
		return nil, fmt.Errorf("%s: expected 32 bytes: as they are, in hex or in base64", name)
	}
	defer clear(plain)
	k := &key{id: id}
	copy(k.bytes[:], plain)
	return k, nil
}

// decode reads the forms of a key. A value of the right size, or with the line end that an editor adds, is the key itself,
// whatever it looks like.
func decode(text []byte) (plain []byte, ok bool) {
	for _, end := range []string{"", "\n", "\r\n"} {
		if rest, found := bytes.CutSuffix(text, []byte(end)); found && len(rest) == keyring.KeySize {
			return bytes.Clone(rest), true
		}
	}
	trimmed := strings.TrimSpace(string(text))
	for _, read := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
		base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if plain, err := read(trimmed); err == nil && len(plain) == keyring.KeySize {
			return plain, true
		}
	}
	return nil, false
}

// Type is "static".
func (*Seal) Type() string { return "static" }

// A wrapped key is
//
//	length of the id (1) | id of the key that wraps it | envelope
//
// The id is bound into the envelope.
func (k *key) place() keyring.Place {
	return keyring.Place{Table: "seal", Column: "wrapping", Key: k.id}
}

// Wrap seals plain with the current key.
func (s *Seal) Wrap(_ context.Context, plain []byte) ([]byte, error) {
	out := append([]byte{byte(len(s.current.id))}, s.current.id...)
	return append(out, keyring.Wrap(&s.current.bytes, s.current.place(), plain)...), nil
}

// Unwrap opens what Wrap made with either key.
func (s *Seal) Unwrap(_ context.Context, wrapped []byte) ([]byte, error) {
	id, envelope, err := split(wrapped)
	if err != nil {
		return nil, err
	}
	for _, k := range []*key{s.current, s.previous} {
		if k == nil || k.id != id {
			continue
		}
		plain, err := keyring.Unwrap(&k.bytes, k.place(), envelope)
		if err != nil {
			return nil, fmt.Errorf("the key with the id %q is not the one that has wrapped the store's key under that id", id)
		}
		return plain, nil
	}
	return nil, fmt.Errorf("the store's key is wrapped by the key with the id %q, which is neither current_key_id nor previous_key_id", id)
}

// Stale says that the previous key has wrapped the key.
func (s *Seal) Stale(_ context.Context, wrapped []byte) (bool, error) {
	id, _, err := split(wrapped)
	return id != s.current.id, err
}

func split(wrapped []byte) (id string, envelope []byte, err error) {
	if len(wrapped) == 0 || len(wrapped) <= int(wrapped[0]) {
		return "", nil, errors.New("what the store keeps is not a key wrapped by a static seal")
	}
	n := 1 + int(wrapped[0])
	return string(wrapped[1:n]), wrapped[n:], nil
}

package static_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"leasehold/internal/secret"
	"leasehold/store/seal/static"
)

var (
	one   = []byte("0123456789abcdefghijklmnopqrstuv")
	two   = bytes.Repeat([]byte{0xf0, 0x0d}, 16)
	plain = []byte("the key of a store")
)

func text(b []byte) secret.Text { return secret.NewText(string(b)) }

func mustNew(t testing.TB, cfg static.Config) *static.Seal {
	t.Helper()
	s, err := static.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustWrap(t testing.TB, s *static.Seal) []byte {
	t.Helper()
	wrapped, err := s.Wrap(t.Context(), plain)
	if err != nil {
		t.Fatal(err)
	}
	return wrapped
}

// Every form of a key is the same key.
func TestForms(t *testing.T) {
	t.Parallel()
	wrapped := mustWrap(t, mustNew(t, static.Config{CurrentKeyID: "k", CurrentKey: text(two)}))
	dir := t.TempDir()
	inFile := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return "file://" + path
	}
	environment := map[string]string{"KEY": hex.EncodeToString(two), "KEY64": base64.StdEncoding.EncodeToString(two)}
	for name, value := range map[string]string{
		"raw":                   string(two),
		"hex":                   hex.EncodeToString(two),
		"upper-case hex":        strings.ToUpper(hex.EncodeToString(two)),
		"base64":                base64.StdEncoding.EncodeToString(two),
		"base64 for URLs":       base64.RawURLEncoding.EncodeToString(two),
		"raw file":              inFile("raw", two),
		"raw file and line end": inFile("rawline", append(bytes.Clone(two), '\n')),
		"hex file":              inFile("hex", []byte(hex.EncodeToString(two)+"\r\n")),
		"base64 file":           inFile("base64", []byte(" "+base64.StdEncoding.EncodeToString(two)+"\n")),
		"variable":              "env://KEY",
		"variable in base64":    "env://KEY64",
	} {
		s := mustNew(t, static.Config{CurrentKeyID: "k", CurrentKey: secret.NewText(value), Getenv: func(name string) string { return environment[name] }})
		if got, err := s.Unwrap(t.Context(), wrapped); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestBadKeys(t *testing.T) {
	t.Parallel()
	const canary = "canary-canary-canary"
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		cfg  static.Config
		want string
	}{
		{static.Config{CurrentKey: text(one)}, "current_key_id is needed"},
		{static.Config{CurrentKeyID: "k"}, "current_key is needed"},
		{static.Config{CurrentKeyID: strings.Repeat("k", 256), CurrentKey: text(one)}, "current_key_id is longer"},
		{static.Config{CurrentKeyID: "k", CurrentKey: secret.NewText(canary)}, "current_key: expected 32 bytes"},
		{static.Config{CurrentKeyID: "k", CurrentKey: secret.NewText("file://" + short)}, "current_key: expected 32 bytes"},
		{static.Config{CurrentKeyID: "k", CurrentKey: secret.NewText("file:///none/key")}, "current_key: open /none/key"},
		{static.Config{CurrentKeyID: "k", CurrentKey: secret.NewText("env://UNSET")}, "current_key: the environment variable UNSET is not set"},
		{static.Config{CurrentKeyID: "k", CurrentKey: secret.NewText("env://SHORT")}, "current_key: expected 32 bytes"},
		{static.Config{CurrentKeyID: "k", CurrentKey: text(one), PreviousKey: text(two)}, "previous_key_id is needed"},
		{static.Config{CurrentKeyID: "k", CurrentKey: text(one), PreviousKeyID: "j"}, "previous_key is needed"},
		{static.Config{CurrentKeyID: "k", CurrentKey: text(one), PreviousKeyID: "j", PreviousKey: secret.NewText(canary)}, "previous_key: expected 32 bytes"},
		{static.Config{CurrentKeyID: "k", CurrentKey: text(one), PreviousKeyID: "k", PreviousKey: text(two)}, "previous_key_id: expected another id"},
	} {
		test.cfg.Getenv = func(name string) string { return map[string]string{"SHORT": canary}[name] }
		_, err := static.New(test.cfg)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("got %v, want %q", err, test.want)
		}
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	first := static.Config{CurrentKeyID: "1", CurrentKey: text(one)}
	second := static.Config{CurrentKeyID: "2", CurrentKey: text(two), PreviousKeyID: "1", PreviousKey: text(one)}
	wrapped := mustWrap(t, mustNew(t, first))
	s := mustNew(t, second)
	if got, err := s.Unwrap(t.Context(), wrapped); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("%q, %v", got, err)
	}
	if stale, err := s.Stale(t.Context(), wrapped); !stale || err != nil {
		t.Errorf("by the previous key: stale is %v, %v", stale, err)
	}
	anew := mustWrap(t, s)
	if stale, err := s.Stale(t.Context(), anew); stale || err != nil {
		t.Errorf("by the current key: stale is %v, %v", stale, err)
	}
	for name, test := range map[string]struct {
		cfg     static.Config
		wrapped []byte
		want    string
	}{
		"a key that is not configured any more": {static.Config{CurrentKeyID: "2", CurrentKey: text(two)}, wrapped, `the id "1", which is neither`},
		"another key under the same id":         {static.Config{CurrentKeyID: "1", CurrentKey: text(two)}, wrapped, `the id "1" is not the one`},
		"an id that was edited": {
			static.Config{CurrentKeyID: "2", CurrentKey: text(one)}, append([]byte("\x012"), wrapped[2:]...), `the id "2" is not the one`,
		},
	} {
		if got, err := mustNew(t, test.cfg).Unwrap(t.Context(), test.wrapped); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// FuzzUnwrap: nothing opens but to what was wrapped.
func FuzzUnwrap(f *testing.F) {
	s := mustNew(f, static.Config{CurrentKeyID: "current", CurrentKey: text(one)})
	wrapped := mustWrap(f, s)
	f.Add(wrapped)
	f.Add([]byte{})
	f.Add([]byte{0})
	f.Add([]byte{255, 'x'})
	f.Add(wrapped[:8])
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := s.Unwrap(t.Context(), b)
		if err == nil && !bytes.Equal(got, plain) {
			t.Errorf("%x opens to %q", b, got)
		}
		if err != nil && strings.Contains(fmt.Sprint(err), string(one)) {
			t.Errorf("the error holds the key: %v", err)
		}
	})
}

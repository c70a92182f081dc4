// Package secret holds values that must not be printed.
//
// A [Text] or [Bytes] shows itself as "[redacted]" in every format, encoder and logger. The value comes out by
// Reveal alone, so a search for Reveal lists the places where secrets leave the process.
package secret

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// Text is a secret string, such as a token or a password.
type Text struct{ value string }

// NewText wraps a string that was just generated or decoded.
func NewText(value string) Text { return Text{value} }

// Reveal returns the value.
func (t Text) Reveal() string { return t.value }

// Empty reports whether there is no value.
func (t Text) Empty() bool { return t.value == "" }

// Equal compares in constant time.
func (t Text) Equal(other Text) bool {
	return subtle.ConstantTimeCompare([]byte(t.value), []byte(other.value)) == 1
}

func (Text) String() string               { return redacted }
func (Text) GoString() string             { return redacted }
func (Text) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(redacted)) }
func (Text) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
func (Text) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (Text) LogValue() slog.Value         { return slog.StringValue(redacted) }

// Bytes is a secret byte string, such as a key.
type Bytes struct{ value []byte }

// NewBytes wraps b without copying it.
func NewBytes(b []byte) Bytes { return Bytes{b} }

// Reveal returns the value itself, not a copy.
func (b Bytes) Reveal() []byte { return b.value }

// Wipe overwrites the value. Go may have copied it before; those copies are out of reach.
func (b Bytes) Wipe() { clear(b.value) }

func (Bytes) String() string               { return redacted }
func (Bytes) GoString() string             { return redacted }
func (Bytes) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(redacted)) }
func (Bytes) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
func (Bytes) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (Bytes) LogValue() slog.Value         { return slog.StringValue(redacted) }

// Base62 is the charset of ids and tokens: it needs no quoting anywhere.
const Base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Random draws n characters of charset, each with equal probability. charset has 2 to 256 single-byte characters.
func Random(charset string, n int) Text {
	// Bytes at or above the largest multiple of the charset's size would favour its first characters.
	limit := 256 - 256%len(charset)
	out := make([]byte, 0, n)
	buf := make([]byte, n+n/4+8)
	for len(out) < n {
		_, _ = rand.Read(buf) // never fails: the runtime ends the process when the system has no randomness
		for _, b := range buf {
			if int(b) < limit && len(out) < n {
				out = append(out, charset[int(b)%len(charset)])
			}
		}
	}
	return Text{string(out)}
}

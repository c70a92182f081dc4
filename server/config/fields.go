package config

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"leasehold/engine"
	"leasehold/internal/secret"
)

// field reads the value of one key.
type field func(n node) error

// fields are the keys of a block.
type fields map[string]field

// errExpected says what a value should have been. It never holds the value.
func errExpected(what string) error { return fmt.Errorf("expected %s", what) }

func textField(into *string) field {
	return func(n node) error {
		if n.kind != text {
			return errExpected("a text")
		}
		*into = n.text
		return nil
	}
}

func secretField(into *secret.Text) field {
	return func(n node) error {
		if n.kind != text {
			return errExpected("a text")
		}
		*into = secret.NewText(n.text)
		return nil
	}
}

// boolField takes booleans, numbers and the texts of both.
func boolField(into *bool) field {
	return func(n node) error {
		if n.kind != boolean && n.kind != text && n.kind != number {
			return errExpected("true or false")
		}
		value, err := strconv.ParseBool(n.text)
		if err != nil {
			return errExpected("true or false")
		}
		*into = value
		return nil
	}
}

// notField is for keys that say the opposite of our name.
func notField(into *bool) field {
	return func(n node) error {
		value := false
		if err := boolField(&value)(n); err != nil {
			return err
		}
		*into = !value
		return nil
	}
}

func intField(into *int64) field {
	return func(n node) error {
		if n.kind != number && n.kind != text {
			return errExpected("a whole number")
		}
		value, err := strconv.ParseInt(strings.TrimSpace(n.text), 0, 64)
		if err != nil {
			return errExpected("a whole number")
		}
		*into = value
		return nil
	}
}

// durationField takes what the API takes: seconds, "90s", "768h", "2d".
func durationField(into *time.Duration) field {
	return func(n node) error {
		var given any
		switch n.kind {
		case number:
			given = json.Number(n.text)
		case text:
			given = n.text
		default:
			return errExpected(`a duration such as "30s", or seconds`)
		}
		value, err := engine.ParseDuration(given)
		if err != nil {
			return errExpected(`a duration such as "30s", or seconds`)
		}
		*into = value
		return nil
	}
}

// listField takes a list of texts, or a text with commas.
func listField(into *[]string) field {
	return func(n node) error {
		switch n.kind {
		case text:
			*into = nil
			for item := range strings.SplitSeq(n.text, ",") {
				if item = strings.TrimSpace(item); item != "" {
					*into = append(*into, item)
				}
			}
			return nil
		case list:
			out := make([]string, 0, len(n.items))
			for _, item := range n.items {
				if item.kind != text {
					return errExpected("a list of texts")
				}
				out = append(out, strings.TrimSpace(item.text))
			}
			*into = out
			return nil
		default:
			return errExpected("a list of texts")
		}
	}
}

func networksField(into *[]netip.Prefix) field {
	return func(n node) error {
		var given []string
		if err := listField(&given)(n); err != nil {
			return errExpected("a list of addresses or networks")
		}
		out := make([]netip.Prefix, 0, len(given))
		for _, item := range given {
			prefix, err := netip.ParsePrefix(item)
			if err != nil {
				address, err := netip.ParseAddr(item)
				if err != nil {
					return errExpected(`addresses or networks such as "10.0.0.0/8"`)
				}
				prefix = netip.PrefixFrom(address, address.BitLen())
			}
			out = append(out, prefix.Masked())
		}
		*into = out
		return nil
	}
}

// LevelTrace is the level below debug.
const LevelTrace = slog.LevelDebug - 4

// ParseLevel reads a log level: trace, debug, info, warn or error; any case.
func ParseLevel(name string) (slog.Level, error) {
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "trace":
		return LevelTrace, nil
	case "debug":
		return slog.LevelDebug, nil
	case "info", "notice", "":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error", "err":
		return slog.LevelError, nil
	default:
		return 0, errExpected("a log level: trace, debug, info, warn or error")
	}
}

func levelField(into *slog.Level) field {
	return func(n node) error {
		if n.kind != text {
			return errExpected("a log level: trace, debug, info, warn or error")
		}
		level, err := ParseLevel(n.text)
		if err == nil {
			*into = level
		}
		return err
	}
}

// requestLevelField also takes "off", which is nil.
func requestLevelField(into **slog.Level) field {
	return func(n node) error {
		if n.kind == text && strings.EqualFold(n.text, "off") {
			*into = nil
			return nil
		}
		level := new(slog.Level)
		if err := levelField(level)(n); err != nil {
			return errExpected(`"off" or a log level`)
		}
		*into = level
		return nil
	}
}

// LogFormats are the words that log_format may be.
var LogFormats = []string{"standard", "json"}

func formatField(into *string) field {
	return func(n node) error {
		if n.kind != text || !slices.Contains(LogFormats, n.text) {
			return errExpected(`"standard" or "json"`)
		}
		*into = n.text
		return nil
	}
}

var tlsVersions = map[string]uint16{
	"tls10": tls.VersionTLS10, "tls11": tls.VersionTLS11, "tls12": tls.VersionTLS12, "tls13": tls.VersionTLS13,
}

func tlsVersionField(into *uint16) field {
	return func(n node) error {
		version, known := tlsVersions[n.text]
		if n.kind != text || !known {
			return errExpected(`"tls10", "tls11", "tls12" or "tls13"`)
		}
		*into = version
		return nil
	}
}

func cipherSuitesField(into *[]uint16) field {
	return func(n node) error {
		var names []string
		if err := listField(&names)(n); err != nil {
			return err
		}
		var out []uint16
		for _, name := range names {
			i := slices.IndexFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool { return s.Name == name })
			if i < 0 {
				return errExpected("names of cipher suites that are held to be secure, such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
			}
			out = append(out, tls.CipherSuites()[i].ID)
		}
		*into = out
		return nil
	}
}

func modeField(into *os.FileMode) field {
	return func(n node) error {
		mode, err := strconv.ParseUint(n.text, 8, 9)
		if err != nil || (n.kind != text && n.kind != number) {
			return errExpected(`a file mode such as "0660"`)
		}
		*into = os.FileMode(mode)
		return nil
	}
}

// headersField reads custom_response_headers: "default", "4xx" or "404" to headers, each with a text or a list.
func headersField(into *map[string]http.Header) field {
	return func(n node) error {
		out := map[string]http.Header{}
		for _, status := range flatten(n) {
			if !headerStatus(status.key) {
				return at(status.line, `expected "default", a class such as "4xx" or a status such as "404"`)
			}
			headers := out[status.key]
			if headers == nil {
				headers = http.Header{}
				out[status.key] = headers
			}
			for _, header := range flatten(status.value) {
				if strings.HasPrefix(http.CanonicalHeaderKey(header.key), "X-Vault-") {
					return at(header.line, "headers that begin with X-Vault- cannot be set")
				}
				values := []string{header.value.text}
				if header.value.kind != text {
					if err := listField(&values)(header.value); err != nil {
						return at(header.line, "expected a text or a list of texts")
					}
				}
				headers[http.CanonicalHeaderKey(header.key)] = values
			}
		}
		if len(out) == 0 {
			return errExpected("a block of statuses and headers")
		}
		*into = out
		return nil
	}
}

func headerStatus(key string) bool {
	if key == "default" {
		return true
	}
	if len(key) != 3 || key[0] < '1' || key[0] > '5' {
		return false
	}
	if key[1:] == "xx" {
		return true
	}
	_, err := strconv.Atoi(key)
	return err == nil
}

// flatten is the entries of an object, or of a list of objects: HCL and JSON have both forms of the same thing.
func flatten(n node) []entry {
	if n.kind != list {
		return n.entries
	}
	var out []entry
	for _, item := range n.items {
		out = append(out, item.entries...)
	}
	return out
}

// decode reads a block. Keys that are in neither set are named in a warning.
func (l *loader) decode(block string, entries []entry, known fields, idle []string) error {
	for _, e := range entries {
		read, ok := known[e.key]
		if !ok {
			what := "unknown key"
			if slices.Contains(idle, e.key) {
				what = "no effect in this server:"
			}
			l.warn(e.line, "%s%s %q", block, what, e.key)
			continue
		}
		if err := read(e.value); err != nil {
			var already *Error // of a block inside
			if errors.As(err, &already) {
				return err
			}
			line := e.value.line
			var inside *lineError
			if errors.As(err, &inside) {
				line = inside.line
			}
			return l.fail(line, "%s%s: %s", block, e.key, err)
		}
	}
	return nil
}

func (l *loader) warn(line int, format string, args ...any) {
	l.config.Warnings = append(l.config.Warnings, fmt.Sprintf("%s:%d: %s", l.file, line, fmt.Sprintf(format, args...)))
}

// Error is a configuration that cannot be used. Its text is one line.
type Error struct {
	File string // "" when no one file is to blame
	Line int
	Text string
}

func (e *Error) Error() string {
	switch {
	case e.File == "":
		return e.Text
	case e.Line == 0:
		return e.File + ": " + e.Text
	default:
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
	}
}

func (l *loader) fail(line int, format string, args ...any) error {
	text := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ") // parsers may quote a piece of several lines
	return &Error{File: l.file, Line: line, Text: text}
}

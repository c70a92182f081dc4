package database

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/google/uuid"

	"leasehold/internal/secret"
)

// drawing is one execution of a template of names: its instant, and the random parts that it drew.
type drawing struct {
	now    time.Time
	values []string
}

// functions are the language of username_template. Source: the wire contract, section of that name. The value comes
// last, so that each can stand in a pipe. The built-in functions that make text are replaced by bounded ones.
func (d *drawing) functions() template.FuncMap {
	return template.FuncMap{
		"random":           d.random,
		"uuid":             d.uuid,
		"truncate":         truncate,
		"truncate_sha256":  truncateSHA256,
		"uppercase":        func(s string) (string, error) { return bounded(strings.ToUpper(s)) },
		"lowercase":        func(s string) (string, error) { return bounded(strings.ToLower(s)) },
		"replace":          replace,
		"sha256":           func(s string) string { return hexSHA256(s) },
		"base64":           func(s string) (string, error) { return bounded(base64.StdEncoding.EncodeToString([]byte(s))) },
		"decode_base64":    decoded(base64.StdEncoding.DecodeString),
		"hex":              func(s string) (string, error) { return bounded(hex.EncodeToString([]byte(s))) },
		"decode_hex":       decoded(hex.DecodeString),
		"unix_time":        func() string { return strconv.FormatInt(d.now.Unix(), 10) },
		"unix_time_millis": func() string { return strconv.FormatInt(d.now.UnixMilli(), 10) },
		"timestamp":        func(layout string) (string, error) { return bounded(d.now.UTC().Format(layout)) },
		"matches_glob":     matchesGlob,

		"printf":   printf,
		"print":    func(args ...any) (string, error) { return bounded(fmt.Sprint(args...)) },
		"println":  func(args ...any) (string, error) { return bounded(fmt.Sprintln(args...)) },
		"html":     func(args ...any) (string, error) { return bounded(template.HTMLEscaper(args...)) },
		"js":       func(args ...any) (string, error) { return bounded(template.JSEscaper(args...)) },
		"urlquery": func(args ...any) (string, error) { return bounded(template.URLQueryEscaper(args...)) },
	}
}

func bounded(s string) (string, error) {
	if len(s) > maxValue {
		return "", fmt.Errorf("a value is longer than %d bytes", maxValue)
	}
	return s, nil
}

func (d *drawing) random(n int) (string, error) {
	if n < 1 || n > maxValue {
		return "", fmt.Errorf("random: the length must be between 1 and %d", maxValue)
	}
	value := secret.Random(secret.Base62, n).Reveal() // a part of a user name, which is no secret
	d.values = append(d.values, value)
	return value, nil
}

func (d *drawing) uuid() string {
	value := uuid.NewString()
	d.values = append(d.values, value)
	return value
}

func truncate(n int, s string) (string, error) {
	if n < 1 {
		return "", errors.New("truncate: the length must be greater than 0")
	}
	return s[:min(n, len(s))], nil
}

// truncateSHA256 keeps different long names different: the hash of what it cuts off takes the last eight places.
func truncateSHA256(n int, s string) (string, error) {
	const sum = 8
	if n <= sum {
		return "", fmt.Errorf("truncate_sha256: the length must be greater than %d", sum)
	}
	if len(s) <= n {
		return s, nil
	}
	return s[:n-sum] + hexSHA256(s[n-sum:])[:sum], nil
}

func hexSHA256(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func replace(find, with, s string) (string, error) {
	// Counted first: the result is at most that long, and nothing is allocated in vain.
	if n := strings.Count(s, find); n > 0 && len(s)+n*(len(with)-len(find)) > maxValue {
		return "", fmt.Errorf("replace: the result is longer than %d bytes", maxValue)
	}
	return strings.ReplaceAll(s, find, with), nil
}

func decoded(decode func(string) ([]byte, error)) func(string) (string, error) {
	return func(s string) (string, error) {
		b, err := decode(s)
		return string(b), err
	}
}

// costlyVerb is a width or precision that makes a short format's result long.
var costlyVerb = regexp.MustCompile(`%[^a-zA-Z%]*(\d{4}|\*)`)

func printf(format string, args ...any) (string, error) {
	if costlyVerb.MatchString(format) {
		return "", errors.New("printf: widths and precisions have three digits at most, and * is not supported")
	}
	return bounded(fmt.Sprintf(format, args...))
}

// matchesGlob reports whether s fits a pattern in which each * stands for any text.
func matchesGlob(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, parts[0])
	if !ok {
		return false
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		at := strings.Index(s, part) // the leftmost place leaves most for the others
		if at < 0 {
			return false
		}
		s = s[at+len(part):]
	}
	return strings.HasSuffix(s, parts[last])
}

package plugins

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Text is a setting that is a text; a number or truth value is taken as it is written. Empty when it is not given. The errors of
// this and the methods below name the setting and hold no value.
func (s Settings) Text(name string) (string, error) {
	switch v := s[name].(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	default:
		return "", fmt.Errorf("invalid %s: want a text", name)
	}
}

// Int is a whole number of 32 bits, also one written as text; 0 when it is not given.
func (s Settings) Int(name string) (int, error) {
	text, err := s.Text(name)
	if err != nil || text == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("invalid %s: want a whole number", name)
	}
	return int(n), nil
}

// Bool is a truth value, also one written as text; false when it is not given.
func (s Settings) Bool(name string) (bool, error) {
	text, err := s.Text(name)
	if err != nil || text == "" {
		return false, err
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("invalid %s: want true or false", name)
	}
	return b, nil
}

// Duration is seconds, or a number with a unit: ns, us, ms, s, m, h, d. 0 when it is not given.
func (s Settings) Duration(name string) (time.Duration, error) {
	text, err := s.Text(name)
	if err != nil || text == "" {
		return 0, err
	}
	days, unit := time.Duration(1), text
	if n, ok := strings.CutSuffix(text, "d"); ok {
		days, unit = 24, n+"h"
	} else if _, err := strconv.Atoi(text); err == nil {
		unit = text + "s"
	}
	d, err := time.ParseDuration(unit)
	if err != nil || d < 0 || d*days/days != d {
		return 0, fmt.Errorf("invalid %s: want a duration such as 30m", name)
	}
	return d * days, nil
}

// Pool reads how many connections there may be at once, how many are kept open, and for how long (0: no limit).
// Source: the wire contract, "Settings per plugin".
func (s Settings) Pool() (maxOpen, maxIdle int, lifetime time.Duration, err error) {
	if maxOpen, err = s.Int("max_open_connections"); err != nil {
		return 0, 0, 0, err
	}
	if maxIdle, err = s.Int("max_idle_connections"); err != nil {
		return 0, 0, 0, err
	}
	if lifetime, err = s.Duration("max_connection_lifetime"); err != nil {
		return 0, 0, 0, err
	}
	switch {
	case maxOpen == 0:
		maxOpen = defaultMaxOpen
	case maxOpen < 0:
		return 0, 0, 0, fmt.Errorf("invalid max_open_connections: it cannot be negative")
	}
	switch {
	case maxIdle == 0 || maxIdle > maxOpen:
		maxIdle = maxOpen
	case maxIdle < 0:
		maxIdle = 0
	}
	return maxOpen, maxIdle, lifetime, nil
}

const defaultMaxOpen = 4

// Statements reads an item of a role's statements in each form that an operator may write: SQL, a JSON array of SQL as text, or
// the base64 of either.
func Statements(item string) []string {
	item = strings.TrimSpace(item)
	if plain, err := base64.StdEncoding.DecodeString(item); err == nil && isText(plain) {
		item = string(plain)
	}
	var list []string
	if json.Unmarshal([]byte(item), &list) == nil {
		return list
	}
	return []string{item}
}

// isText keeps words that happen to be base64, such as ROLLBACK, from being decoded.
func isText(b []byte) bool {
	return utf8.Valid(b) && !strings.ContainsFunc(string(b), func(r rune) bool { return !unicode.IsPrint(r) && !unicode.IsSpace(r) })
}

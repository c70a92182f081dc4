package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"

	"leasehold/internal/errs"
)

// Kind is how a field's value is read.
type Kind int

// The forms that each kind takes are those of the wire contract, "Values".
const (
	Any       Kind = iota // as it came
	Text                  // numbers and booleans become their text
	Int                   // a whole number, or text of one
	Bool                  // a boolean, "true"/"false", "1"/"0", 1/0
	Duration              // seconds, or text such as "90s", "1h30m", "2d"; never negative
	CommaList             // an array, or comma-separated text; items trimmed, empty items dropped
	TextList              // an array of text; a single text is one element
	TextMap               // an object of text, or an array of "k=v"
	Object                // an object of anything
)

// Schema names the fields of a path.
type Schema map[string]Kind

// Fields are the converted fields of a request. A field that was not given reads as its kind's zero value.
type Fields struct {
	values map[string]any // converted; only what was given and not null
	given  map[string]any // as it came
}

// Convert reads an object inside a request's data as [Path.Fields] are read. Unknown names are kept as they came.
//
// Errors: Invalid, which names the field.
func Convert(schema Schema, data map[string]any) (*Fields, error) { return convert(schema, data) }

// convert reads every field of the schema that is in data. Captures without a schema entry are text.
func convert(schema Schema, data map[string]any) (*Fields, error) {
	f := &Fields{values: make(map[string]any, len(data)), given: data}
	names := make([]string, 0, len(data))
	for name := range data {
		names = append(names, name)
	}
	sort.Strings(names) // so that the first complaint is always the same one
	for _, name := range names {
		value := data[name]
		if value == nil {
			continue
		}
		converted, err := convertValue(schema[name], value)
		if err != nil {
			return nil, errs.New(errs.Invalid, "Field validation failed: error converting input for field %q: %s", name, err)
		}
		f.values[name] = converted
	}
	return f, nil
}

// Has reports whether the field was given with a value other than null.
func (f *Fields) Has(name string) bool { _, ok := f.values[name]; return ok }

// Given reports whether the field was given at all, null included.
func (f *Fields) Given(name string) bool { _, ok := f.given[name]; return ok }

// Raw is the field as it came.
func (f *Fields) Raw(name string) any { return f.given[name] }

// All are the fields as they came, those unknown to the schema included, captures too.
func (f *Fields) All() map[string]any { return f.given }

func field[T any](f *Fields, name string) T {
	v, _ := f.values[name].(T)
	return v
}

// The accessors below read a field of that kind.

func (f *Fields) Text(name string) string            { return field[string](f, name) }
func (f *Fields) Int(name string) int                { return field[int](f, name) }
func (f *Fields) Bool(name string) bool              { return field[bool](f, name) }
func (f *Fields) Duration(name string) time.Duration { return field[time.Duration](f, name) }
func (f *Fields) List(name string) []string          { return field[[]string](f, name) }
func (f *Fields) Map(name string) map[string]string  { return field[map[string]string](f, name) }
func (f *Fields) Object(name string) map[string]any  { return field[map[string]any](f, name) }

// BoolOr is the field, or otherwise when it was not given.
func (f *Fields) BoolOr(name string, otherwise bool) bool {
	if !f.Has(name) {
		return otherwise
	}
	return f.Bool(name)
}

func convertValue(kind Kind, v any) (any, error) {
	switch kind {
	case Text:
		return toText(v)
	case Int:
		return toInt(v)
	case Bool:
		return toBool(v)
	case Duration:
		return ParseDuration(v)
	case CommaList:
		return toList(v)
	case TextList:
		return toStrings(v)
	case TextMap:
		return toMap(v)
	case Object:
		if m, ok := v.(map[string]any); ok {
			return m, nil
		}
		return nil, fmt.Errorf("expected an object, got %s", kindOf(v))
	default:
		return v, nil
	}
}

func kindOf(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case json.Number, float64, int:
		return "number"
	case bool:
		return "boolean"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	default:
		return "null"
	}
}

func toText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		if v {
			return "1", nil
		}
		return "0", nil
	default:
		return "", fmt.Errorf("expected type 'string', got unconvertible type '%s'", kindOf(v))
	}
}

func toInt(v any) (int, error) {
	text := ""
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case string:
		if text = strings.TrimSpace(v); text == "" {
			return 0, nil
		}
	case bool:
		if v {
			return 1, nil
		}
		return 0, nil
	default:
		return 0, fmt.Errorf("expected type 'int', got unconvertible type '%s'", kindOf(v))
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("'' cannot parse value as 'int': strconv.ParseInt: %w", cause(err))
	}
	return int(n), nil
}

func toBool(v any) (bool, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case json.Number:
		n, err := v.Float64()
		return n != 0, err
	case string:
		if v == "" {
			return false, nil
		}
		b, err := strconv.ParseBool(v)
		if err != nil {
			return false, fmt.Errorf("'' cannot parse value as 'bool': strconv.ParseBool: %w", cause(err))
		}
		return b, nil
	default:
		return false, fmt.Errorf("expected type 'bool', got unconvertible type '%s'", kindOf(v))
	}
}

// cause drops the part of a strconv error that quotes the input: the input may be a secret in the wrong field.
func cause(err error) error {
	var n *strconv.NumError
	if errors.As(err, &n) {
		return n.Err
	}
	return err
}

// maxSeconds keeps durations inside time.Duration.
const maxSeconds = math.MaxInt64 / int64(time.Second)

// ParseDuration reads a duration of the wire: whole seconds as number or text, Go's text form, or whole days ("2d").
// Fractions of a second are cut off, a JSON number with a fraction and negative values are refused.
func ParseDuration(v any) (time.Duration, error) {
	d, err := ParseSignedDuration(v)
	if err == nil && d < 0 {
		return 0, fmt.Errorf("cannot provide negative value '%v'", v)
	}
	return d, err
}

// ParseSignedDuration is ParseDuration for fields whose negative values have a refusal of their own.
func ParseSignedDuration(v any) (time.Duration, error) {
	switch v := v.(type) {
	case nil:
		return 0, nil
	case json.Number:
		n, err := strconv.ParseInt(v.String(), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("could not parse duration from input: %s", v)
		}
		return seconds(n)
	case string:
		if v == "" {
			return 0, nil
		}
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return seconds(n)
		}
		if days, ok := strings.CutSuffix(v, "d"); ok {
			if n, err := strconv.ParseInt(days, 10, 64); err == nil {
				if n > maxSeconds/86400 || n < -maxSeconds/86400 {
					return 0, fmt.Errorf("duration %q is too long", v)
				}
				return seconds(n * 86400)
			}
		}
		d, err := time.ParseDuration(v)
		if err != nil {
			return 0, err
		}
		return d.Truncate(time.Second), nil
	default:
		return 0, fmt.Errorf("could not parse duration from input of type %s", kindOf(v))
	}
}

func seconds(n int64) (time.Duration, error) {
	if n > maxSeconds || n < -maxSeconds {
		return 0, fmt.Errorf("duration of %d seconds is too long", n)
	}
	return time.Duration(n) * time.Second, nil
}

func toList(v any) ([]string, error) {
	if text, ok := v.(string); ok {
		out := []string{}
		for _, item := range strings.Split(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				out = append(out, item)
			}
		}
		return out, nil
	}
	items, err := toStrings(v)
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items, err
}

func toStrings(v any) ([]string, error) {
	items, ok := v.([]any)
	if !ok {
		text, err := toText(v)
		if err != nil {
			return nil, err
		}
		if text == "" {
			return []string{}, nil
		}
		return []string{text}, nil
	}
	out := make([]string, 0, len(items))
	for _, item := range items {
		text, err := toText(item)
		if err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, nil
}

func toMap(v any) (map[string]string, error) {
	out := map[string]string{}
	switch v := v.(type) {
	case map[string]any:
		for key, item := range v {
			text, err := toText(item)
			if err != nil {
				return nil, fmt.Errorf("key %q: %w", key, err)
			}
			out[key] = text
		}
		return out, nil
	case string, []any:
		items, err := toStrings(v)
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			key, value, ok := strings.Cut(item, "=")
			if !ok {
				return nil, fmt.Errorf("invalid key pair %q", item)
			}
			out[key] = value
		}
		return out, nil
	default:
		return nil, fmt.Errorf("expected a map, got %s", kindOf(v))
	}
}

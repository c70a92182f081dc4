package policy

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// parameters map lower-case names, or "*" for every name, to values. An empty list stands for every value.
type parameters map[string][]any

func parseParameters(v any) (parameters, error) {
	o, err := objects(v)
	if err != nil {
		return nil, err
	}
	out := parameters{}
	for _, m := range o {
		name := strings.ToLower(m.key)
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("%q is listed twice", m.key)
		}
		values, ok := m.value.([]any)
		if !ok {
			values = []any{m.value}
		}
		for i, item := range values {
			switch item.(type) {
			case nil:
				return nil, errors.New("null is not a value")
			case object:
				return nil, errors.New("an object is not a value")
			}
			values[i] = item
		}
		out[name] = values
	}
	return out, nil
}

// merge adds the parameters of the same path in another policy: lists concatenate, an empty list wins.
func (p parameters) merge(other parameters) parameters {
	if len(other) == 0 {
		return p
	}
	merged := make(parameters, len(p)+len(other))
	for name, values := range p {
		merged[name] = values
	}
	for name, values := range other {
		mine, ok := merged[name]
		switch {
		case !ok, len(values) == 0:
			merged[name] = values
		case len(mine) > 0:
			merged[name] = slices.Concat(mine, values)
		}
	}
	return merged
}

// admit judges the top-level keys of a request's body.
func (g *grant) admit(data map[string]any) bool {
	for _, name := range g.required {
		if !present(data, name) {
			return false
		}
	}
	if len(data) == 0 {
		return true
	}
	if _, all := g.denied["*"]; all {
		return false
	}
	_, anyName := g.allowed["*"]
	for key, value := range data {
		if len(g.denied) == 0 && len(g.allowed) == 0 {
			break
		}
		name := strings.ToLower(key)
		if values, listed := g.denied[name]; listed && among(values, value) {
			return false
		}
		if len(g.allowed) == 0 {
			continue
		}
		values, listed := g.allowed[name]
		if listed && !among(values, value) || !listed && !anyName {
			return false
		}
	}
	return true
}

func present(data map[string]any, name string) bool {
	if _, ok := data[name]; ok {
		return true
	}
	for key := range data {
		if strings.ToLower(key) == name {
			return true
		}
	}
	return false
}

// among reports whether value is one of values; none listed stands for all.
func among(values []any, value any) bool {
	if len(values) == 0 {
		return true
	}
	text, isText := value.(string)
	for _, v := range values {
		if pattern, ok := v.(string); ok {
			if isText && matchText(pattern, text) {
				return true
			}
		} else if !isText && reflect.DeepEqual(v, value) {
			return true
		}
	}
	return false
}

// matchText compares with a pattern that may begin or end in "*".
func matchText(pattern, text string) bool {
	head, prefix := strings.CutSuffix(pattern, "*")
	tail, suffix := strings.CutPrefix(head, "*")
	switch {
	case prefix && head == "":
		return true
	case prefix && suffix:
		return strings.Contains(text, tail)
	case prefix:
		return strings.HasPrefix(text, head)
	case suffix:
		return strings.HasSuffix(text, tail)
	default:
		return pattern == text
	}
}

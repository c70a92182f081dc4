package secretfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

func decodeJSON(text []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		return nil, jsonError(text, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one JSON value")
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s, not an object of keys and values", kind(value))
	}
	if key, twice := repeatedKey(text); twice {
		return nil, fmt.Errorf("key %q stands twice in one object", key)
	}
	return object, nil
}

// jsonError tells where the text is wrong; the decoder's own words quote it.
func jsonError(text []byte, err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) && syntax.Offset <= int64(len(text)) {
		return fmt.Errorf("not JSON, in line %d", 1+bytes.Count(text[:syntax.Offset], []byte("\n")))
	}
	return errors.New("not JSON")
}

// repeatedKey looks for a key that stands twice in an object of text, which is JSON. The decoder would keep the last one
// without a word.
func repeatedKey(text []byte) (key string, found bool) {
	type level struct {
		keys    map[string]bool // nil: a list
		atValue bool            // the next token is the value of a key
	}
	var stack []level
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	for {
		token, err := dec.Token()
		if err != nil {
			return "", false
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			stack = stack[:len(stack)-1]
			continue
		}
		if n := len(stack) - 1; n >= 0 && stack[n].keys != nil {
			if top := &stack[n]; !top.atValue {
				name := token.(string)
				if top.keys[name] {
					return name, true
				}
				top.keys[name], top.atValue = true, true
				continue
			} else {
				top.atValue = false
			}
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, level{keys: map[string]bool{}})
		case json.Delim('['):
			stack = append(stack, level{})
		}
	}
}

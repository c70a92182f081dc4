package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/parser"
	"github.com/hashicorp/hcl/hcl/scanner"
	"github.com/hashicorp/hcl/hcl/token"
)

// object is a policy document or a part of it, from either notation: members in order, repeated keys kept.
//
// A member's value is a string, a bool, a number, a []any of these and of objects, an object, or nil (JSON null).
type object []member

type member struct {
	key   string
	line  int // where it stands; Compat: 0 for a block, as in recording policy-crud-errors
	value any
}

// number is a number in a policy, as it is written. It equals no value that a client can send.
type number string

// maxDepth bounds the nesting of a document. The deepest rule needs six levels.
const maxDepth = 32

// parseDocument reads HCL 1, or JSON where the text begins with a brace.
//
// JSON does not go through the HCL library: its JSON parser drops booleans and nested lists from lists, which would
// turn a list of allowed values into "any value".
func parseDocument(text string) (object, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		return parseJSON(text)
	}
	return parseHCL(text)
}

func parseHCL(text string) (object, error) {
	if err := checkDepth(text); err != nil {
		return nil, err
	}
	file, err := parser.Parse([]byte(text))
	if err != nil {
		return nil, err
	}
	list, ok := file.Node.(*ast.ObjectList)
	if !ok {
		return nil, errors.New("the document is not a list of blocks")
	}
	return fromList(list)
}

// checkDepth keeps deep nesting away from the parser, which recurses, and copies its error text at each level.
func checkDepth(text string) error {
	s := scanner.New([]byte(text))
	s.Error = func(token.Pos, string) {} // the parser meets the same error and reports it
	for depth := 0; ; {
		t := s.Scan()
		switch t.Type {
		case token.EOF, token.ILLEGAL:
			return nil
		case token.LBRACE, token.LBRACK:
			if depth++; depth > maxDepth {
				return fmt.Errorf("At %s: nested too deeply", t.Pos)
			}
		case token.RBRACE, token.RBRACK:
			depth--
		}
	}
}

func fromList(list *ast.ObjectList) (object, error) {
	out := make(object, 0, len(list.Items))
	for _, item := range list.Items {
		value, err := fromNode(item.Val)
		if err != nil {
			return nil, err
		}
		// path "a" { ... } is the same as path { a { ... } }
		for i := len(item.Keys) - 1; i >= 0; i-- {
			key, err := literal(item.Keys[i].Token)
			if err != nil {
				return nil, err
			}
			name, ok := key.(string)
			if !ok {
				return nil, fmt.Errorf("At %s: a key must be text", item.Keys[i].Pos())
			}
			m := member{key: name, line: item.Assign.Line, value: value}
			if i == 0 {
				out = append(out, m)
			} else {
				value = object{m}
			}
		}
	}
	return out, nil
}

func fromNode(n ast.Node) (any, error) {
	switch n := n.(type) {
	case *ast.LiteralType:
		return literal(n.Token)
	case *ast.ObjectType:
		return fromList(n.List)
	case *ast.ListType:
		out := make([]any, 0, len(n.List))
		for _, item := range n.List {
			v, err := fromNode(item)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	default:
		return nil, fmt.Errorf("At %s: unexpected %T", n.Pos(), n)
	}
}

func literal(t token.Token) (v any, err error) {
	if t.Type == token.NUMBER || t.Type == token.FLOAT {
		return number(t.Text), nil
	}
	defer func() { // the library panics on text that it cannot unquote
		if p := recover(); p != nil {
			v, err = nil, fmt.Errorf("At %s: unreadable value", t.Pos)
		}
	}()
	return t.Value(), nil
}

func parseJSON(text string) (object, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	j := &jsonReader{decoder: d, text: text, line: 1}
	v, err := j.value(0)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("JSON: unexpected end of the text")
	case err != nil:
		return nil, fmt.Errorf("JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("JSON: text after the end of the object")
	}
	return v.(object), nil // the text begins with a brace
}

// jsonReader keeps what encoding/json's maps would lose: the order of members, repeated keys and lines.
type jsonReader struct {
	decoder *json.Decoder
	text    string
	counted int // text[:counted] has been searched for line ends
	line    int
}

func (j *jsonReader) value(depth int) (any, error) {
	t, err := j.decoder.Token()
	if err != nil {
		return nil, err
	}
	delim, nested := t.(json.Delim)
	if !nested {
		if n, ok := t.(json.Number); ok {
			return number(n), nil
		}
		return t, nil
	}
	if depth == maxDepth {
		return nil, errors.New("nested too deeply")
	}
	if delim == '[' {
		list := []any{}
		for j.decoder.More() {
			v, err := j.value(depth + 1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = j.decoder.Token()
		return list, err
	}
	o := object{}
	for j.decoder.More() {
		key, err := j.decoder.Token()
		if err != nil {
			return nil, err
		}
		at := int(j.decoder.InputOffset())
		j.line += strings.Count(j.text[j.counted:at], "\n")
		j.counted = at
		m := member{key: key.(string), line: j.line} // the decoder refuses other keys
		if m.value, err = j.value(depth + 1); err != nil {
			return nil, err
		}
		o = append(o, m)
	}
	_, err = j.decoder.Token()
	return o, err
}

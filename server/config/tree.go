package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/parser"
	hclstrconv "github.com/hashicorp/hcl/hcl/strconv"
	"github.com/hashicorp/hcl/hcl/token"
)

// node is a value of a configuration file, in whichever language it was written.
type node struct {
	line    int
	kind    kind
	text    string  // of a text, number or boolean: as it was written, without quotes
	items   []node  // of a list
	entries []entry // of an object, in the order of the file; a key may stand there several times
}

type entry struct {
	key   string
	line  int
	value node
}

type kind int

const (
	null kind = iota
	text
	number
	boolean
	list
	object
)

// parse reads one file. HCL and JSON are told apart by the first character.
func parse(src []byte) (node, error) {
	if trimmed := bytes.TrimSpace(src); len(trimmed) > 0 && trimmed[0] == '{' {
		return parseJSON(src)
	}
	return parseHCL(src)
}

// lineError is an error at a place in the file.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return e.err.Error() }
func (e *lineError) Unwrap() error { return e.err }

func at(line int, format string, args ...any) error {
	return &lineError{line, fmt.Errorf(format, args...)}
}

func parseHCL(src []byte) (n node, err error) {
	file, err := parser.Parse(src)
	if err != nil {
		var where *parser.PosError
		if errors.As(err, &where) {
			return node{}, &lineError{where.Pos.Line, where.Err}
		}
		return node{}, err
	}
	root, ok := file.Node.(*ast.ObjectList)
	if !ok {
		return node{}, errors.New("expected a list of settings")
	}
	entries, err := hclEntries(root)
	return node{kind: object, line: 1, entries: entries}, err
}

// hclEntries makes the labels of a block objects of one entry each: listener "tcp" {} is listener = {tcp = {}}.
func hclEntries(list *ast.ObjectList) ([]entry, error) {
	entries := make([]entry, 0, len(list.Items))
	for _, item := range list.Items {
		value, err := hclNode(item.Val)
		if err != nil {
			return nil, err
		}
		if len(item.Keys) == 0 {
			return nil, at(item.Pos().Line, "expected a key")
		}
		for i := len(item.Keys) - 1; ; i-- {
			key := item.Keys[i].Token
			name := key.Text
			if key.Type == token.STRING {
				if name, err = hclstrconv.Unquote(key.Text); err != nil {
					return nil, at(key.Pos.Line, "expected a key")
				}
			}
			e := entry{key: name, line: key.Pos.Line, value: value}
			if i == 0 {
				entries = append(entries, e)
				break
			}
			value = node{line: key.Pos.Line, kind: object, entries: []entry{e}}
		}
	}
	return entries, nil
}

func hclNode(n ast.Node) (node, error) {
	switch n := n.(type) {
	case *ast.ObjectType:
		entries, err := hclEntries(n.List)
		return node{line: n.Lbrace.Line, kind: object, entries: entries}, err
	case *ast.ListType:
		out := node{line: n.Lbrack.Line, kind: list}
		for _, item := range n.List {
			value, err := hclNode(item)
			if err != nil {
				return node{}, err
			}
			out.items = append(out.items, value)
		}
		return out, nil
	case *ast.LiteralType:
		return hclLiteral(n.Token)
	default:
		return node{}, errors.New("expected a value")
	}
}

func hclLiteral(t token.Token) (node, error) {
	out := node{line: t.Pos.Line, text: t.Text}
	switch t.Type {
	case token.STRING:
		value, err := hclstrconv.Unquote(t.Text)
		if err != nil {
			return node{}, at(t.Pos.Line, "a text is not closed or has a bad escape")
		}
		out.kind, out.text = text, value
	case token.HEREDOC:
		value, err := heredoc(t)
		if err != nil {
			return node{}, err
		}
		out.kind, out.text = text, value
	case token.NUMBER, token.FLOAT:
		out.kind = number
	case token.BOOL:
		out.kind = boolean
	default:
		return node{}, at(t.Pos.Line, "expected a value")
	}
	return out, nil
}

// heredoc is the text of a heredoc. The library has no other way to it than one that panics on a malformed one.
func heredoc(t token.Token) (value string, err error) {
	defer func() {
		if recover() != nil {
			err = at(t.Pos.Line, "malformed heredoc")
		}
	}()
	value, ok := t.Value().(string)
	if !ok {
		return "", at(t.Pos.Line, "malformed heredoc")
	}
	return value, nil
}

// maxDepth bounds how deep a file may nest.
const maxDepth = 64

func parseJSON(src []byte) (node, error) {
	d := &jsonDecoder{src: src, decoder: json.NewDecoder(bytes.NewReader(src)), line: 1}
	d.decoder.UseNumber()
	n, err := d.node(0)
	if err == nil {
		if _, more := d.decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("expected the end of the file after the object")
		}
	}
	if err != nil {
		var already *lineError
		if errors.As(err, &already) {
			return node{}, err
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the file ends too early")
		}
		return node{}, &lineError{d.here(), err}
	}
	return n, nil
}

// jsonDecoder reads JSON by tokens, so that lines and repeated keys are known.
type jsonDecoder struct {
	src     []byte
	decoder *json.Decoder
	line    int // at offset
	offset  int64
}

// here is the line that was read last.
func (d *jsonDecoder) here() int {
	to := min(d.decoder.InputOffset(), int64(len(d.src)))
	d.line += bytes.Count(d.src[d.offset:to], []byte("\n"))
	d.offset = to
	return d.line
}

func (d *jsonDecoder) node(depth int) (node, error) {
	token, err := d.decoder.Token()
	if err != nil {
		return node{}, err
	}
	n := node{line: d.here()}
	if depth > maxDepth {
		return n, at(n.line, "nested too deeply")
	}
	switch token := token.(type) {
	case string:
		n.kind, n.text = text, token
	case json.Number:
		n.kind, n.text = number, token.String()
	case bool:
		n.kind, n.text = boolean, strconv.FormatBool(token)
	case json.Delim:
		n.kind = list
		if token == '{' {
			n.kind = object
		}
		for d.decoder.More() {
			if n.kind == list {
				item, err := d.node(depth + 1)
				if err != nil {
					return n, err
				}
				n.items = append(n.items, item)
				continue
			}
			name, err := d.decoder.Token()
			if err != nil {
				return n, err
			}
			e := entry{line: d.here()}
			e.key, _ = name.(string) // the decoder has seen to it that a key is a string
			if e.value, err = d.node(depth + 1); err != nil {
				return n, err
			}
			n.entries = append(n.entries, e)
		}
		if _, err := d.decoder.Token(); err != nil { // the closing delimiter
			return n, err
		}
	}
	return n, nil
}

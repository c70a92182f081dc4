package secretfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

func decodeYAML(text []byte) (map[string]any, error) {
	var document yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&document); errors.Is(err, io.EOF) {
		return nil, errors.New("there are no keys in it")
	} else if err != nil {
		return nil, yamlError(err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, yamlError(err)
		}
		return nil, errors.New("there is more than one YAML document")
	}
	r := yamlReader{budget: 100_000 + len(text)}
	value, err := r.value(&document, "")
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s, not a mapping of keys to values", kind(value))
	}
	return object, nil
}

var yamlLine = regexp.MustCompile(`line [0-9]+`)

// yamlError keeps the line alone of what the parser says.
func yamlError(err error) error {
	if line := yamlLine.FindString(err.Error()); line != "" {
		return fmt.Errorf("not YAML, in %s", line)
	}
	return errors.New("not YAML")
}

// yamlReader makes values of nodes. The parser's own way would turn numbers into floating point.
type yamlReader struct {
	budget int // nodes that may still come: aliases can stand for far more than their text
}

// value reads a node; key is the one that it stands under, for errors.
func (r *yamlReader) value(n *yaml.Node, key string) (any, error) {
	if r.budget--; r.budget < 0 {
		return nil, errors.New("too much comes of its aliases")
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return r.value(n.Content[0], key)
	case yaml.AliasNode:
		return r.value(n.Alias, key)
	case yaml.MappingNode:
		if n.ShortTag() == "!!map" {
			return r.mapping(n)
		}
	case yaml.SequenceNode:
		if n.ShortTag() == "!!seq" {
			list := []any{}
			for _, item := range n.Content {
				value, err := r.value(item, key)
				if err != nil {
					return nil, err
				}
				list = append(list, value)
			}
			return list, nil
		}
	case yaml.ScalarNode:
		return scalar(n, key)
	}
	return nil, unknownTag(key)
}

func (r *yamlReader) mapping(n *yaml.Node) (any, error) {
	object := map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		if name.Kind == yaml.AliasNode {
			name = name.Alias
		}
		switch _, twice := object[name.Value]; {
		case name.Kind != yaml.ScalarNode:
			return nil, fmt.Errorf("in line %d a key is not text", name.Line)
		case name.ShortTag() == "!!merge":
			return nil, fmt.Errorf("merge keys (<<) are not read, in line %d", name.Line)
		case twice:
			return nil, fmt.Errorf("key %q stands twice in one mapping", name.Value)
		}
		value, err := r.value(n.Content[i+1], name.Value)
		if err != nil {
			return nil, err
		}
		object[name.Value] = value
	}
	return object, nil
}

// jsonNumber is the form in which JSON, and so a secret, can hold a number.
var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

func scalar(n *yaml.Node, key string) (any, error) {
	switch n.ShortTag() {
	case "!!str", "!!timestamp", "!!merge": // the latter is what << is as a value, too
		return n.Value, nil
	case "!!null":
		return nil, nil
	case "!!bool":
		switch strings.ToLower(n.Value) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
	case "!!int", "!!float":
		if jsonNumber.MatchString(n.Value) {
			return json.Number(n.Value), nil
		}
		return nil, fmt.Errorf("the value of key %q is a number in a form that a secret cannot hold: quote it if it is text", key)
	}
	return nil, unknownTag(key)
}

func unknownTag(key string) error {
	return fmt.Errorf("the value of key %q has a tag that is not read", key)
}

func encodeYAML(node *yaml.Node) ([]byte, error) {
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := enc.Encode(node); err != nil {
		return nil, errors.New("the secret cannot be written as yaml")
	}
	return buf.Bytes(), nil
}

// yamlNode writes text in quotes, so that every reader takes it for text, whichever version of YAML it knows.
func yamlNode(value any) *yaml.Node {
	switch v := value.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, key := range sorted(v) {
			n.Content = append(n.Content, yamlName(key), yamlNode(v[key]))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, item := range v {
			n.Content = append(n.Content, yamlNode(item))
		}
		return n
	case string:
		if literal(v) {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v, Style: yaml.LiteralStyle}
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v, Style: yaml.DoubleQuotedStyle}
	case json.Number:
		n := &yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}
		if tag := n.ShortTag(); tag != "!!int" && tag != "!!float" {
			n.Tag, n.Style = "!!float", yaml.TaggedStyle // too large to be taken for a number by itself
		}
		return n
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(v)}
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
}

var (
	yamlPlainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
	yamlWord      = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null)$`) // not text in some version of YAML
)

func yamlName(key string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}
	if !yamlPlainName.MatchString(key) || yamlWord.MatchString(key) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// literal reports whether text, such as a certificate, is best shown line by line as it is. Blanks at the ends of lines
// would be hard to see.
func literal(text string) bool {
	lines := strings.Split(text, "\n")
	if len(lines) < 2 || lines[0] == "" {
		return false
	}
	for _, line := range lines {
		if strings.TrimSpace(line) != line || strings.ContainsFunc(line, func(r rune) bool { return r != ' ' && !unicode.IsGraphic(r) }) {
			return false
		}
	}
	return true
}

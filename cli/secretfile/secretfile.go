// Package secretfile reads and writes the keys and values of a secret as a file: dotenv, JSON, YAML, or the manifest of a
// Kubernetes Secret.
//
// JSON and YAML hold every secret. Dotenv and Kubernetes hold text under names of a limited form; what does not fit is an
// error that names the key. [Encode] reads back what it has written, so a file that would give another secret is never
// made. [Decode] refuses what it could only guess at.
//
// Values are those of encoding/json with numbers as json.Number: a number keeps its text. No error of this package
// quotes a value.
package secretfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// Format is a form of file.
type Format string

// The formats, by the names that users give them.
const (
	Dotenv     Format = "dotenv"     // KEY=VALUE lines, as github.com/joho/godotenv reads them
	JSON       Format = "json"       // one object
	YAML       Format = "yaml"       // one mapping
	Kubernetes Format = "kubernetes" // the YAML or JSON manifest of one Secret; YAML is written
)

// Formats are all of them, for messages.
const Formats = "dotenv, json, yaml, kubernetes"

// Named is the format of that name, or of a usual short form of it.
func Named(name string) (f Format, known bool) {
	switch f := Format(strings.ToLower(name)); f {
	case Dotenv, JSON, YAML, Kubernetes:
		return f, true
	case "env":
		return Dotenv, true
	case "yml":
		return YAML, true
	case "k8s":
		return Kubernetes, true
	}
	return "", false
}

// OfFile is the format that a file's name tells: .env, app.env, .env.local, app.json, app.yaml. A manifest cannot be told from YAML.
func OfFile(path string) (f Format, known bool) {
	name := strings.ToLower(filepath.Base(path))
	switch filepath.Ext(name) {
	case ".json":
		return JSON, true
	case ".yaml", ".yml":
		return YAML, true
	case ".env":
		return Dotenv, true
	}
	return Dotenv, strings.HasPrefix(name, ".env.")
}

// Decode reads a file. Its errors may be shown.
func Decode(f Format, text []byte) (map[string]any, error) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(text) {
		return nil, errors.New("not UTF-8 text")
	}
	switch f {
	case Dotenv:
		return decodeDotenv(text)
	case JSON:
		return decodeJSON(text)
	case YAML:
		return decodeYAML(text)
	case Kubernetes:
		return decodeKubernetes(text)
	}
	return nil, fmt.Errorf("unknown format %q", f)
}

// Encode writes data as a file that Decode reads as the same data. name is that of a Kubernetes Secret; the other formats
// have none. Its errors may be shown.
func Encode(f Format, data map[string]any, name string) ([]byte, error) {
	text, err := encode(f, data, name)
	if err != nil {
		return nil, err
	}
	back, err := Decode(f, text)
	if err != nil {
		return nil, fmt.Errorf("the secret cannot be written as %s: it would read back as %w", f, err)
	}
	for _, key := range sorted(data) {
		if value, there := back[key]; !there || !reflect.DeepEqual(value, data[key]) {
			return nil, cannotHold(f, key)
		}
	}
	if len(back) != len(data) {
		return nil, fmt.Errorf("the secret cannot be written as %s", f)
	}
	return text, nil
}

func encode(f Format, data map[string]any, name string) ([]byte, error) {
	switch f {
	case Dotenv:
		return encodeDotenv(data)
	case JSON:
		return encodeJSON(data)
	case YAML:
		return encodeYAML(yamlNode(data))
	case Kubernetes:
		return encodeKubernetes(data, name)
	}
	return nil, fmt.Errorf("unknown format %q", f)
}

func encodeJSON(data map[string]any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(data); err != nil {
		return nil, errors.New("the secret cannot be written as json")
	}
	return buf.Bytes(), nil
}

func cannotHold(f Format, key string) error {
	return fmt.Errorf("%s cannot hold the value of key %q: use json or yaml", f, key)
}

// textOf is the value of a key in a format that holds nothing else.
func textOf(f Format, data map[string]any, key string) (string, error) {
	value, ok := data[key].(string)
	if ok {
		return value, nil
	}
	return "", fmt.Errorf("the value of key %q is %s, and %s holds text alone: use json or yaml", key, kind(data[key]), f)
}

// kind is what a value is, in words.
func kind(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case json.Number:
		return "a number"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return "text"
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

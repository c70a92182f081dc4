package secretfile

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// The names of Secrets and of their keys.
//
// Source: public reference of Kubernetes, "Object Names and IDs" and "Secrets".
var (
	kubernetesName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	kubernetesKey  = regexp.MustCompile(`^[-._a-zA-Z0-9]+$`)
)

const kubernetesNameMax = 253

// IsManifest reports whether data, read as JSON or YAML, is the manifest of a Secret.
func IsManifest(data map[string]any) bool {
	return data["apiVersion"] == "v1" && data["kind"] == "Secret"
}

// decodeKubernetes reads data (base64) and stringData, which wins as it does there.
func decodeKubernetes(text []byte) (map[string]any, error) {
	manifest, err := decodeYAML(text) // JSON is YAML
	if err != nil {
		return nil, err
	}
	if !IsManifest(manifest) {
		return nil, errors.New("not the manifest of a Secret (apiVersion: v1, kind: Secret)")
	}
	out := map[string]any{}
	for _, part := range []string{"data", "stringData"} {
		entries, ok := manifest[part].(map[string]any)
		if !ok && manifest[part] != nil {
			return nil, fmt.Errorf("%s is %s, not a mapping", part, kind(manifest[part]))
		}
		for _, key := range sorted(entries) {
			value, ok := entries[key].(string)
			if !ok {
				return nil, fmt.Errorf("the value of key %q in %s is %s, not text", key, part, kind(entries[key]))
			}
			if part == "data" {
				decoded, err := base64.StdEncoding.DecodeString(value)
				if err != nil {
					return nil, fmt.Errorf("the value of key %q in data is not base64", key)
				}
				if !utf8.Valid(decoded) {
					return nil, fmt.Errorf("the value of key %q in data is not text, and a secret holds no other bytes", key)
				}
				value = string(decoded)
			}
			out[key] = value
		}
	}
	return out, nil
}

func encodeKubernetes(data map[string]any, name string) ([]byte, error) {
	if len(name) > kubernetesNameMax || !kubernetesName.MatchString(name) {
		return nil, fmt.Errorf("%q is not a name for a Kubernetes Secret: lower case letters, digits, - and . alone", name)
	}
	entries := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, key := range sorted(data) {
		value, err := textOf(Kubernetes, data, key)
		if err != nil {
			return nil, err
		}
		if len(key) > kubernetesNameMax || !kubernetesKey.MatchString(key) {
			return nil, fmt.Errorf("%q is not a name for a key of a Kubernetes Secret: letters, digits, -, _ and . alone", key)
		}
		entries.Content = append(entries.Content, yamlName(key), yamlNode(base64.StdEncoding.EncodeToString([]byte(value))))
	}
	return encodeYAML(mapping(
		"apiVersion", yamlName("v1"),
		"kind", yamlName("Secret"),
		"metadata", mapping("name", yamlNode(name)),
		"type", yamlName("Opaque"),
		"data", entries))
}

// mapping keeps the order of its keys. Each is followed by its value, a node.
func mapping(pairs ...any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for i := 0; i < len(pairs); i += 2 {
		n.Content = append(n.Content, yamlName(pairs[i].(string)), pairs[i+1].(*yaml.Node))
	}
	return n
}

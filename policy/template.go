package policy

import (
	"errors"
	"strings"
)

// Identity is who a token belongs to, as far as templates may ask.
type Identity struct {
	EntityID   string
	EntityName string
	Metadata   map[string]string
	Aliases    map[string]Alias // by the accessor of the auth mount
	Groups     []Group          // all that the entity is a member of, inherited ones included
}

// Alias is the caller's name within one auth mount.
type Alias struct {
	ID             string
	Name           string
	Metadata       map[string]string
	CustomMetadata map[string]string
}

// Group is a group that the caller belongs to.
type Group struct {
	ID       string
	Name     string
	Metadata map[string]string
}

var errUnbalanced = errors.New("unbalanced templating characters")

// validateTemplate reports whether path holds a template. Variables are not looked at: an unknown one is never filled.
func validateTemplate(path string) (bool, error) {
	templated := false
	for rest := path; ; {
		before, after, opened := strings.Cut(rest, "{{")
		if strings.Contains(before, "}}") {
			return false, errUnbalanced
		}
		if !opened {
			return templated, nil
		}
		variable, tail, closed := strings.Cut(after, "}}")
		if !closed || strings.Contains(variable, "{{") {
			return false, errUnbalanced
		}
		templated, rest = true, tail
	}
}

// fill replaces the templates of a valid path; false when one has no value for this caller.
//
// A value must not widen the rule: one that would add a path segment or a wildcard counts as missing.
func fill(path string, id *Identity) (string, bool) {
	if id == nil {
		return "", false
	}
	var out strings.Builder
	for rest := path; ; {
		before, after, opened := strings.Cut(rest, "{{")
		out.WriteString(before)
		if !opened {
			return out.String(), true
		}
		variable, tail, _ := strings.Cut(after, "}}")
		value := id.value(strings.TrimSpace(variable))
		if value == "" || value == "+" || strings.ContainsAny(value, "/*") {
			return "", false
		}
		out.WriteString(value)
		rest = tail
	}
}

// value is a variable's value; empty when it has none.
func (id *Identity) value(variable string) string {
	if name, ok := strings.CutPrefix(variable, "identity.entity."); ok {
		if rest, ok := strings.CutPrefix(name, "aliases."); ok {
			accessor, name, _ := strings.Cut(rest, ".")
			return id.Aliases[accessor].value(name)
		}
		return attribute(name, id.EntityID, id.EntityName, id.Metadata)
	}
	if rest, ok := strings.CutPrefix(variable, "identity.groups.names."); ok {
		return id.group(rest, func(g Group) string { return g.Name })
	}
	if rest, ok := strings.CutPrefix(variable, "identity.groups.ids."); ok {
		return id.group(rest, func(g Group) string { return g.ID })
	}
	return ""
}

func (a Alias) value(name string) string {
	if key, ok := strings.CutPrefix(name, "custom_metadata."); ok {
		return a.CustomMetadata[key]
	}
	return attribute(name, a.ID, a.Name, a.Metadata)
}

// group finds "SELECTOR.attribute" among the caller's groups. A selector may hold dots.
func (id *Identity) group(rest string, selector func(Group) string) string {
	for _, g := range id.Groups {
		name, ok := strings.CutPrefix(rest, selector(g)+".")
		if !ok {
			continue
		}
		if v := attribute(name, g.ID, g.Name, g.Metadata); v != "" {
			return v
		}
	}
	return ""
}

func attribute(which, id, name string, metadata map[string]string) string {
	switch which {
	case "id":
		return id
	case "name":
		return name
	}
	if key, ok := strings.CutPrefix(which, "metadata."); ok {
		return metadata[key]
	}
	return ""
}

package kvcompat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/store"
)

// shownKey is all that is known of a key.
func (t tree) shownKey(k *key) (map[string]any, error) {
	all, err := t.versions(k)
	if err != nil {
		return nil, err
	}
	versions := make(map[string]any, len(all))
	for _, v := range all {
		versions[strconv.FormatInt(v.number, 10)] = map[string]any{
			"created_time": stamp(v.created), "deletion_time": stamp(v.ended), "destroyed": v.destroyed,
		}
	}
	return map[string]any{
		"versions": versions, "current_version": k.Current, "oldest_version": k.Oldest,
		"created_time": stamp(store.Time(k.CreatedAt)), "updated_time": stamp(store.Time(k.UpdatedAt)),
		"max_versions": k.MaxVersions, "cas_required": k.CASRequired, "delete_version_after": k.DeleteAfter.String(),
		"custom_metadata": k.custom(), "current_metadata_version": k.MetadataVersion, "metadata_cas_required": k.MetadataCASRequired,
	}, nil
}

func (e *Engine) readMetadata(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	var shown map[string]any
	err := e.view(ctx, r, func(t tree) error {
		shown = nil
		k, err := t.key(f.Text("path"))
		if k == nil || err != nil {
			return err
		}
		shown, err = t.shownKey(k)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read metadata: %w", err)
	}
	if shown == nil {
		return nil, nil
	}
	return &engine.Response{Data: shown}, nil
}

func (e *Engine) deleteMetadata(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	err := e.update(ctx, r, func(t tree) error { return t.drop(f.Text("path")) })
	if err != nil {
		return nil, fmt.Errorf("remove a key: %w", err)
	}
	return nil, nil
}

// metadataFields are those that change something.
var metadataFields = []string{
	"max_versions", "cas_required", "delete_version_after", "custom_metadata", "metadata_cas_required",
}

// writeMetadata changes the fields that were given, and makes the key when there is none.
func (e *Engine) writeMetadata(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return e.changeMetadata(ctx, r, f, f.Has, func(t tree) (*key, error) {
		return t.newKey(f.Text("path"))
	}, func(k *key) error {
		if !f.Has("custom_metadata") {
			return nil
		}
		k.Custom = nil
		return k.mergeCustom(f.Object("custom_metadata"), false)
	})
}

// patchMetadata is writeMetadata with a merge patch: null resets a field, or removes one key of custom_metadata. It makes
// no key.
func (e *Engine) patchMetadata(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return e.changeMetadata(ctx, r, f, f.Given, func(tree) (*key, error) {
		return nil, nil
	}, func(k *key) error {
		if !f.Given("custom_metadata") {
			return nil
		}
		if !f.Has("custom_metadata") {
			k.Custom = nil
		}
		return k.mergeCustom(f.Object("custom_metadata"), true)
	})
}

// changeMetadata is what a write and a patch share. given tells whether a field is to be changed; absent makes what
// stands in for a key that is not there.
func (e *Engine) changeMetadata(ctx context.Context, r *engine.Request, f *engine.Fields, given func(string) bool,
	absent func(tree) (*key, error), custom func(*key) error) (*engine.Response, error) {
	if f.Int("max_versions") < 0 {
		return nil, badField("max_versions", errNegative)
	}
	if r.Operation != engine.Patch && !slices.ContainsFunc(metadataFields, given) {
		return nil, nil
	}
	var resp *engine.Response
	err := e.update(ctx, r, func(t tree) error {
		resp = nil
		s, err := t.settings()
		if err != nil {
			return err
		}
		k, err := t.key(f.Text("path"))
		if err != nil {
			return err
		}
		isNew := k == nil
		if isNew {
			if k, err = absent(t); err != nil {
				return err
			}
		}
		if k == nil {
			resp = &engine.Response{Status: statusNotFound}
			return nil
		}
		if err := checkMetadata(f, k, s, isNew); err != nil {
			return err
		}
		if err := custom(k); err != nil {
			return err
		}
		if given("max_versions") {
			k.MaxVersions = f.Int("max_versions")
		}
		if given("delete_version_after") {
			k.DeleteAfter = f.Duration("delete_version_after")
		}
		if given("metadata_cas_required") {
			k.MetadataCASRequired = f.Bool("metadata_cas_required")
		}
		if given("cas_required") {
			k.CASRequired = f.Bool("cas_required")
			if s.CASRequired && !k.CASRequired {
				resp = &engine.Response{}
				resp.Warn(`"cas_required" is false for this key, but the mount's config demands check-and-set, and that rules.`)
			}
		}
		k.MetadataVersion++
		return t.putKey(k)
	})
	if err != nil {
		return nil, fmt.Errorf("write metadata: %w", err)
	}
	return resp, nil
}

// checkMetadata is the check-and-set of metadata.
func checkMetadata(f *engine.Fields, k *key, s settings, isNew bool) error {
	version := int64(f.Int("metadata_cas"))
	switch {
	case !f.Has("metadata_cas") && (s.MetadataCASRequired || k.MetadataCASRequired):
		return errs.New(errs.Invalid, "metadata check-and-set parameter required for this call")
	case !f.Has("metadata_cas"):
		return nil
	case isNew && version != 0:
		return errs.New(errs.Invalid, "metadata_cas must be 0 when creating new metadata")
	case version != k.MetadataVersion:
		return errs.New(errs.Invalid, "metadata check-and-set parameter does not match the current version")
	}
	return nil
}

// The limits of custom metadata. Source: the sheet on key/value engines.
const (
	maxCustomKeys  = 64
	maxCustomKey   = 128
	maxCustomValue = 512
)

// mergeCustom adds custom metadata, with nullRemoves after the rule that null takes a key away, and checks the result.
//
// Errors: Invalid, with all that is wrong.
func (k *key) mergeCustom(given map[string]any, nullRemoves bool) error {
	merged := make(map[string]string, len(k.Custom)+len(given))
	for name, value := range k.Custom {
		merged[name] = value
	}
	for name, value := range given {
		if value == nil && nullRemoves {
			delete(merged, name)
			continue
		}
		text, err := customText(value)
		if err != nil {
			return customRefusal(err.Error())
		}
		merged[name] = text
	}
	if faults := customFaults(merged); len(faults) > 0 {
		return customRefusal(faults...)
	}
	k.Custom = merged
	return nil
}

func customText(value any) (string, error) {
	switch value := value.(type) {
	case nil:
		return "", nil
	case string:
		return value, nil
	case json.Number:
		return value.String(), nil
	case bool:
		if value {
			return "1", nil
		}
		return "0", nil
	case []any:
		return "", errors.New("'' expected type 'string', got unconvertible type 'array'")
	default:
		return "", errors.New("'' expected type 'string', got unconvertible type 'object'")
	}
}

func customFaults(custom map[string]string) (faults []string) {
	if len(custom) > maxCustomKeys {
		return []string{fmt.Sprintf("payload must contain at most %d keys, provided %d", maxCustomKeys, len(custom))}
	}
	names := make([]string, 0, len(custom))
	for name := range custom {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		value := custom[name]
		if len(name) == 0 || len(name) > maxCustomKey {
			faults = append(faults, fmt.Sprintf("length of key %q is %d but must be 0 < len(key) <= %d", name, len(name), maxCustomKey))
		}
		if len(value) == 0 || len(value) > maxCustomValue {
			faults = append(faults, fmt.Sprintf("length of value for key %q is %d but must be 0 < len(value) <= %d", name, len(value), maxCustomValue))
		}
		if !printable(name) {
			faults = append(faults, fmt.Sprintf("key %q (%s) contains unprintable characters", name, strconv.Quote(name)))
		}
		if !printable(value) {
			faults = append(faults, fmt.Sprintf("value for key %q contains unprintable characters", name))
		}
	}
	return faults
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// customRefusal lists faults in the form that the wire has for several at once.
func customRefusal(faults ...string) error {
	const prefix = "custom_metadata validation failed: "
	if len(faults) == 1 {
		return errs.Framed(errs.Invalid, "%s%s", prefix, faults[0])
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%d errors occurred:\n", len(faults))
	for _, fault := range faults {
		text.WriteString("\t* " + prefix + fault + "\n")
	}
	return errs.New(errs.Invalid, "%s\n", text.String())
}

// names lists a folder, or all that is below it. A list may begin after a name and stop after some.
func (t tree) names(r *engine.Request, f *engine.Fields) ([]string, error) {
	if r.Operation == engine.Scan {
		return t.scan(f.Text("path"))
	}
	names, err := t.list(f.Text("path"))
	if after := f.Text("after"); after != "" {
		from, found := slices.BinarySearch(names, after)
		if found {
			from++
		}
		names = names[from:]
	}
	if limit := f.Int("limit"); limit > 0 && limit < len(names) {
		names = names[:limit]
	}
	return names, err
}

func (e *Engine) list(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	var names []string
	err := e.view(ctx, r, func(t tree) (err error) {
		names, err = t.names(r, f)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return &engine.Response{Data: map[string]any{"keys": names}}, nil
}

// listDetailed is a list with what is known of each key; nothing is known of folders.
func (e *Engine) listDetailed(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	var names []string
	var info map[string]any
	err := e.view(ctx, r, func(t tree) (err error) {
		if names, err = t.names(r, f); err != nil {
			return err
		}
		info = make(map[string]any, len(names))
		for _, name := range names {
			info[name] = map[string]any{}
			k, err := t.key(f.Text("path") + name)
			if err != nil {
				return err
			}
			if k == nil {
				continue
			}
			if info[name], err = t.shownKey(k); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list keys with metadata: %w", err)
	}
	return &engine.Response{Data: map[string]any{"keys": names, "key_info": info}}, nil
}

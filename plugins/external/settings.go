package external

import (
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"

	"leasehold/plugins"
)

// sendable is a setting as the protocol carries it: numbers are floating point there.
func sendable(value any) (any, error) {
	switch v := value.(type) {
	case nil, string, bool, float64:
		return v, nil
	case json.Number:
		f, err := v.Float64()
		if err != nil {
			return nil, errors.New("want a number that fits into 64 bits")
		}
		return f, nil
	case []string:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = item
		}
		return list, nil
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			var err error
			if list[i], err = sendable(item); err != nil {
				return nil, err
			}
		}
		return list, nil
	case map[string]any:
		object := make(map[string]any, len(v))
		for name, item := range v {
			var err error
			if object[name], err = sendable(item); err != nil {
				return nil, err
			}
		}
		return object, nil
	default:
		return nil, errors.New("want a text, a number, true or false, a list or an object")
	}
}

// secretWords mark settings whose values nobody may read. We do not know what a plugin's settings mean, but for their names.
var secretWords = []string{"password", "passwd", "secret", "key", "token", "credential", "json", "pem"}

// settingMasks are the values that no error and no line of the log may hold.
func settingMasks(s plugins.Settings) (masks []plugins.Mask) {
	for name, value := range s {
		name = strings.ToLower(name)
		hidden := slices.ContainsFunc(secretWords, func(word string) bool { return strings.Contains(name, word) })
		for _, text := range texts(value) {
			switch {
			case hidden:
				masks = append(masks, plugins.MaskPassword(forms(text)...)...)
			case strings.Contains(text, "://"):
				masks = append(masks, urlMasks(text)...)
			}
		}
	}
	return masks
}

// urlMasks hide a URL that may hold a password, and the password in it.
func urlMasks(text string) []plugins.Mask {
	u, err := url.Parse(text)
	if err != nil {
		return plugins.MaskURL(text)
	}
	password, has := u.User.Password()
	if !has || strings.Contains(password, "{{") {
		return nil
	}
	raw, _, _ := strings.Cut(strings.TrimPrefix(text, u.Scheme+"://"), "@")
	_, raw, _ = strings.Cut(raw, ":")
	return slices.Concat(plugins.MaskURL(text), plugins.MaskPassword(append(forms(password), raw)...))
}

// texts are the texts in a setting, however deep.
func texts(value any) (found []string) {
	switch v := value.(type) {
	case string:
		found = append(found, v)
	case []any:
		for _, item := range v {
			found = append(found, texts(item)...)
		}
	case map[string]any:
		for _, item := range v {
			found = append(found, texts(item)...)
		}
	}
	return found
}

// aLine is how long a line of a secret must be, in bytes, to be one by itself.
const aLine = 16

// forms are how a secret may be quoted: as it is, in a URL, in JSON, and one of several lines by line.
func forms(text string) []string {
	quoted, _ := json.Marshal(text) // a text has no error
	all := []string{text, url.QueryEscape(text), url.PathEscape(text), strings.Trim(string(quoted), `"`)}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != text && len(line) >= aLine && !strings.HasPrefix(line, "-----") {
			all = append(all, line)
		}
	}
	return all
}

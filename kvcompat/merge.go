package kvcompat

import "maps"

// merge applies a JSON merge patch to an object and returns a new one: null removes, objects merge, all else replaces.
//
// Source: RFC 7396, section 2.
func merge(target, patch map[string]any) map[string]any {
	out := make(map[string]any, len(target)+len(patch))
	maps.Copy(out, target)
	for name, change := range patch {
		switch change := change.(type) {
		case nil:
			delete(out, name)
		case map[string]any:
			inner, _ := out[name].(map[string]any) // anything but an object counts as an empty one
			out[name] = merge(inner, change)
		default:
			out[name] = change
		}
	}
	return out
}

// subkeys is an object without its values: what is not an object with keys in it becomes null, and so does all that is
// depth levels down. A depth of zero or less cuts nothing.
func subkeys(value map[string]any, depth int) map[string]any {
	out := make(map[string]any, len(value))
	for name, item := range value {
		inner, ok := item.(map[string]any)
		if !ok || len(inner) == 0 || depth == 1 {
			out[name] = nil
			continue
		}
		out[name] = subkeys(inner, max(depth-1, 0))
	}
	return out
}

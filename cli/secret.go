package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"leasehold/client"
	"leasehold/internal/ttl"
)

// showAnswer prints an answer in the envelope. done is the success text for an answer that says nothing; "" for none.
func (e *env) showAnswer(resp *client.Response, done string) error {
	if format, _ := e.format(); format == formatRaw {
		return mistake("The raw format is for read only")
	}
	if e.flags.field != "" {
		value, ok := field(&resp.Secret, e.flags.field)
		if !ok {
			return e.noField()
		}
		e.warn(resp.Warnings)
		return e.showField(value)
	}
	if !e.structured() {
		e.warn(resp.Warnings)
	}
	switch {
	case !resp.Empty():
		return e.show(view{rows: e.secretRows(&resp.Secret), object: resp.Secret})
	case e.structured() && len(resp.Warnings) > 0:
		return e.show(view{object: resp.Secret})
	case done != "":
		return e.success("%s", done)
	}
	return nil
}

// secretRows is the table of an envelope: lease, token or wrapping first, then the data sorted by key.
func (e *env) secretRows(s *client.Secret) [][]string {
	rows := keyValues()
	line := func(key string, value any) { rows = append(rows, []string{key, e.cell(value)}) }
	if w := s.WrapInfo; w != nil {
		line("wrapping_token:", w.Token)
		line("wrapping_accessor:", w.Accessor)
		line("wrapping_token_ttl:", seconds(w.TTL))
		line("wrapping_token_creation_time:", w.CreationTime)
		line("wrapping_token_creation_path:", w.CreationPath)
		if w.WrappedAccessor != "" {
			line("wrapped_accessor:", w.WrappedAccessor)
		}
		return rows
	}
	switch {
	case s.LeaseID != "":
		line("lease_id", s.LeaseID)
		line("lease_duration", seconds(s.LeaseDuration))
		line("lease_renewable", s.Renewable)
	case s.LeaseDuration > 0:
		line("refresh_interval", seconds(s.LeaseDuration)) // a hint how long the value may be kept
	}
	if a := s.Auth; a != nil {
		line("token", a.ClientToken)
		line("token_accessor", a.Accessor)
		if a.LeaseDuration == 0 {
			line("token_duration", "∞")
		} else {
			line("token_duration", seconds(a.LeaseDuration))
		}
		line("token_renewable", a.Renewable)
		line("token_policies", quoted(a.TokenPolicies))
		line("identity_policies", quoted(a.IdentityPolicies))
		line("policies", quoted(a.Policies))
		for _, key := range slices.Sorted(maps.Keys(a.Metadata)) {
			line("token_meta_"+key, a.Metadata[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.Data)) {
		line(key, humane(key, s.Data[key]))
	}
	return rows
}

// field is the value that -field=name asks for.
func field(s *client.Secret, name string) (any, bool) {
	if w := s.WrapInfo; w != nil {
		switch name {
		case "wrapping_token":
			return w.Token, true
		case "wrapping_accessor":
			return w.Accessor, true
		case "wrapping_token_ttl":
			return w.TTL, true
		case "wrapping_token_creation_time":
			return w.CreationTime, true
		case "wrapping_token_creation_path":
			return w.CreationPath, true
		case "wrapped_accessor":
			return w.WrappedAccessor, w.WrappedAccessor != ""
		}
		return nil, false
	}
	if a := s.Auth; a != nil {
		switch name {
		case "token":
			return a.ClientToken, true
		case "token_accessor":
			return a.Accessor, true
		case "token_duration":
			return a.LeaseDuration, true
		case "token_renewable":
			return a.Renewable, true
		case "token_policies":
			return a.TokenPolicies, true
		case "identity_policies":
			return a.IdentityPolicies, true
		case "policies":
			return a.Policies, true
		}
		if key, ok := strings.CutPrefix(name, "token_meta_"); ok {
			value, ok := a.Metadata[key]
			return value, ok
		}
	}
	// The data's own key wins: a secret may well have one of these names.
	if value, ok := s.Data[name]; ok {
		return value, true
	}
	switch name {
	case "data":
		return s.Data, s.Data != nil
	case "lease_id":
		return s.LeaseID, s.LeaseID != ""
	case "lease_duration", "refresh_interval":
		return s.LeaseDuration, true
	case "lease_renewable", "renewable":
		return s.Renewable, true
	case "request_id":
		return s.RequestID, true
	}
	return nil, false
}

// seconds is a wire duration for people: 3600 is 1h.
func seconds(n int64) string { return ttl.Format(time.Duration(n) * time.Second) }

// humane shows the data's durations as such. The names are those that the API uses for them.
func humane(key string, value any) any {
	n, ok := value.(json.Number)
	if !ok {
		return value
	}
	for _, name := range []string{"ttl", "period", "duration"} {
		if key == name || strings.HasSuffix(key, "_"+name) {
			if s, err := n.Int64(); err == nil {
				return seconds(s)
			}
		}
	}
	return value
}

// quoted shows a list of names so that an empty one and one with blanks can be told apart.
func quoted(names []string) string {
	if names == nil {
		names = []string{}
	}
	return fmt.Sprintf("%q", names)
}

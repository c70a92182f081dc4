package envelope

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"leasehold/engine"
	"leasehold/internal/secret"
)

// keys stand in every envelope; data's keys never replace them at the top level.
var keys = []string{
	"request_id", "lease_id", "renewable", "lease_duration", "data", "wrap_info", "warnings", "auth", "mount_type",
}

var errLogin = errors.New("a login came out of the broker without a token")

// Append writes the answer to the request with an id, with every key that clients count on; of a wrapped one it writes where
// it is to be had, and no id: the request is not what the client asks about later. An empty mountType is left out.
func Append(b []byte, id string, r *engine.Response, mountType string) ([]byte, error) {
	if r.Login != nil && r.Auth == nil {
		return b, errLogin
	}
	if r.Wrap != nil {
		id, r = "", &engine.Response{Wrap: r.Wrap} // whatever else there is must not be told
	}
	lease := engine.Secret{}
	if r.Secret != nil {
		lease = *r.Secret
	}
	b = append(b, `{"request_id":`...)
	b = AppendText(b, id)
	b = append(b, `,"lease_id":`...)
	b = AppendText(b, lease.LeaseID)
	b = append(b, `,"renewable":`...)
	b = strconv.AppendBool(b, lease.Renewable)
	b = append(b, `,"lease_duration":`...)
	b = appendSeconds(b, lease.Duration)
	b = append(b, `,"data":`...)
	var err error
	if r.Data == nil {
		b = append(b, "null"...)
	} else if b, err = appendMap(b, r.Data, AppendValue); err != nil {
		return b, err
	}
	b = append(b, `,"wrap_info":`...)
	b = appendWrap(b, r.Wrap)
	b = append(b, `,"warnings":`...)
	b = appendTexts(b, r.Warnings)
	b = append(b, `,"auth":`...)
	b = appendAuth(b, r.Auth)
	if mountType != "" {
		b = append(b, `,"mount_type":`...)
		b = AppendText(b, mountType)
	}
	if r.Duplicate {
		for _, key := range sortedKeys(r.Data) {
			if slices.Contains(keys, key) {
				continue
			}
			b = append(b, ',')
			b = append(AppendText(b, key), ':')
			if b, err = AppendValue(b, r.Data[key]); err != nil {
				return b, err
			}
		}
	}
	return append(b, '}', '\n'), nil
}

// appendWrap writes where a wrapped answer is to be had. Source: the wire contract's sheet on response wrapping.
func appendWrap(b []byte, w *engine.Wrap) []byte {
	if w == nil {
		return append(b, "null"...)
	}
	b = append(b, `{"token":`...)
	b = AppendText(b, w.Token.Reveal())
	b = append(b, `,"accessor":`...)
	b = AppendText(b, w.Accessor)
	b = append(b, `,"ttl":`...)
	b = appendSeconds(b, w.TTL)
	b = append(b, `,"creation_time":`...)
	b, _ = AppendValue(b, w.CreatedAt) // a time encodes
	b = append(b, `,"creation_path":`...)
	b = AppendText(b, w.CreationPath)
	if w.WrappedAccessor != "" {
		b = append(b, `,"wrapped_accessor":`...)
		b = AppendText(b, w.WrappedAccessor)
	}
	return append(b, '}')
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// appendSeconds writes a duration as whole seconds, as the wire has it.
func appendSeconds(b []byte, d time.Duration) []byte {
	return strconv.AppendInt(b, int64(d/time.Second), 10)
}

// appendAuth writes the token part. Source: the wire contract's sheet on tokens, "auth block".
func appendAuth(b []byte, a *engine.Auth) []byte {
	if a == nil {
		return append(b, "null"...)
	}
	b = append(b, `{"client_token":`...)
	b = AppendText(b, a.ClientToken.Reveal())
	b = append(b, `,"accessor":`...)
	b = AppendText(b, a.Accessor)
	b = append(b, `,"policies":`...)
	if a.Policies == nil {
		b = append(b, "[]"...)
	} else {
		b = appendTexts(b, a.Policies)
	}
	if len(a.TokenPolicies) > 0 {
		b = append(b, `,"token_policies":`...)
		b = appendTexts(b, a.TokenPolicies)
	}
	if len(a.IdentityPolicies) > 0 {
		b = append(b, `,"identity_policies":`...)
		b = appendTexts(b, a.IdentityPolicies)
	}
	b = append(b, `,"metadata":`...)
	b, _ = AppendValue(b, a.Metadata) // a map of texts encodes
	b = append(b, `,"lease_duration":`...)
	b = appendSeconds(b, a.Duration)
	b = append(b, `,"renewable":`...)
	b = strconv.AppendBool(b, a.Renewable)
	b = append(b, `,"entity_id":`...)
	b = AppendText(b, a.EntityID)
	b = append(b, `,"token_type":`...)
	b = AppendText(b, a.TokenType)
	b = append(b, `,"orphan":`...)
	b = strconv.AppendBool(b, a.Orphan)
	b = append(b, `,"mfa_requirement":null,"num_uses":`...)
	b = strconv.AppendInt(b, int64(a.NumUses), 10)
	return append(b, '}')
}

// Parse reads an answer that Append has written, but for its id and what it had at the top level only. Numbers in the data
// keep their text. The error says nothing of what was read.
func Parse(text []byte) (*engine.Response, error) {
	var e struct {
		LeaseID       string         `json:"lease_id"`
		Renewable     bool           `json:"renewable"`
		LeaseDuration int64          `json:"lease_duration"`
		Data          map[string]any `json:"data"`
		Warnings      []string       `json:"warnings"`
		Auth          *struct {
			ClientToken      string            `json:"client_token"`
			Accessor         string            `json:"accessor"`
			Policies         []string          `json:"policies"`
			TokenPolicies    []string          `json:"token_policies"`
			IdentityPolicies []string          `json:"identity_policies"`
			Metadata         map[string]string `json:"metadata"`
			LeaseDuration    int64             `json:"lease_duration"`
			Renewable        bool              `json:"renewable"`
			EntityID         string            `json:"entity_id"`
			TokenType        string            `json:"token_type"`
			Orphan           bool              `json:"orphan"`
			NumUses          int               `json:"num_uses"`
		} `json:"auth"`
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if decoder.Decode(&e) != nil { // its error could quote the answer
		return nil, errors.New("an answer that was kept cannot be read")
	}
	r := &engine.Response{Data: e.Data, Warnings: e.Warnings}
	if e.LeaseID != "" || e.Renewable || e.LeaseDuration != 0 {
		r.Secret = &engine.Secret{LeaseID: e.LeaseID, Duration: time.Duration(e.LeaseDuration) * time.Second, Renewable: e.Renewable}
	}
	if a := e.Auth; a != nil {
		r.Auth = &engine.Auth{
			ClientToken: secret.NewText(a.ClientToken), Accessor: a.Accessor, Policies: a.Policies, TokenPolicies: a.TokenPolicies,
			IdentityPolicies: a.IdentityPolicies, Metadata: a.Metadata, Duration: time.Duration(a.LeaseDuration) * time.Second,
			Renewable: a.Renewable, EntityID: a.EntityID, TokenType: a.TokenType, Orphan: a.Orphan, NumUses: a.NumUses,
		}
	}
	return r, nil
}

package httpapi

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"leasehold/engine"
)

// buffer is a piece of memory for one answer. Answers hold secrets, so it is wiped before it is used again.
type buffer struct{ b []byte }

// keptBuffer is how large a buffer may have grown to be kept.
const keptBuffer = 64 << 10

var buffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, 2048)} }}

func takeBuffer() *buffer { return buffers.Get().(*buffer) }

func (b *buffer) release() {
	clear(b.b)
	if cap(b.b) <= keptBuffer {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}

// answer writes what an engine answered.
func (x *exchange) answer(op engine.Operation, resp *engine.Response, mountType string) error {
	if resp == nil {
		resp = &engine.Response{}
	}
	if resp.Raw != nil && resp.Raw.Stream != nil {
		return x.stream(resp.Raw)
	}
	if resp.Raw != nil {
		status := resp.Status
		if status == 0 {
			status = http.StatusOK
		}
		x.respond(status, resp.Raw.ContentType, resp.Raw.Body)
		return nil
	}
	status := resp.Status
	if !says(resp) && status != http.StatusOK {
		switch {
		case status != 0:
			x.empty(status)
		case op == engine.Read || op == engine.List || op == engine.Scan:
			return errNothing
		default:
			x.empty(http.StatusNoContent)
		}
		return nil
	}
	if (op == engine.List || op == engine.Scan) && status == 0 && !hasKeys(resp.Data) {
		return errNothing
	}
	if status == 0 {
		status = http.StatusOK
	}
	buffer := takeBuffer()
	defer buffer.release()
	var err error
	if buffer.b, err = appendEnvelope(buffer.b[:0], x.requestID(), resp, mountType); err != nil {
		return err
	}
	x.json(status, buffer.b)
	return nil
}

// says reports whether there is anything to show.
func says(r *engine.Response) bool {
	return r.Data != nil || r.Secret != nil || r.Auth != nil || len(r.Warnings) > 0
}

func hasKeys(data map[string]any) bool {
	switch keys := data["keys"].(type) {
	case []string:
		return len(keys) > 0
	case []any:
		return len(keys) > 0
	default:
		return false
	}
}

// envelopeKeys stand in every envelope; data's keys never replace them at the top level.
var envelopeKeys = []string{
	"request_id", "lease_id", "renewable", "lease_duration", "data", "wrap_info", "warnings", "auth", "mount_type",
}

var errLogin = errors.New("a login came out of the broker without a token")

// appendEnvelope writes the answer with every key that clients count on.
func appendEnvelope(b []byte, id string, r *engine.Response, mountType string) ([]byte, error) {
	if r.Login != nil && r.Auth == nil {
		return b, errLogin
	}
	lease := engine.Secret{}
	if r.Secret != nil {
		lease = *r.Secret
	}
	b = append(b, `{"request_id":`...)
	b = appendText(b, id)
	b = append(b, `,"lease_id":`...)
	b = appendText(b, lease.LeaseID)
	b = append(b, `,"renewable":`...)
	b = strconv.AppendBool(b, lease.Renewable)
	b = append(b, `,"lease_duration":`...)
	b = appendSeconds(b, lease.Duration)
	b = append(b, `,"data":`...)
	var err error
	if r.Data == nil {
		b = append(b, "null"...)
	} else if b, err = appendMap(b, r.Data, appendValue); err != nil {
		return b, err
	}
	b = append(b, `,"wrap_info":null,"warnings":`...)
	b = appendTexts(b, r.Warnings)
	b = append(b, `,"auth":`...)
	b = appendAuth(b, r.Auth)
	b = append(b, `,"mount_type":`...)
	b = appendText(b, mountType)
	if r.Duplicate {
		for _, key := range sortedKeys(r.Data) {
			if slices.Contains(envelopeKeys, key) {
				continue
			}
			b = append(b, ',')
			b = append(appendText(b, key), ':')
			if b, err = appendValue(b, r.Data[key]); err != nil {
				return b, err
			}
		}
	}
	return append(b, '}', '\n'), nil
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
	b = appendText(b, a.ClientToken.Reveal())
	b = append(b, `,"accessor":`...)
	b = appendText(b, a.Accessor)
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
	b, _ = appendValue(b, a.Metadata) // a map of texts encodes
	b = append(b, `,"lease_duration":`...)
	b = appendSeconds(b, a.Duration)
	b = append(b, `,"renewable":`...)
	b = strconv.AppendBool(b, a.Renewable)
	b = append(b, `,"entity_id":`...)
	b = appendText(b, a.EntityID)
	b = append(b, `,"token_type":`...)
	b = appendText(b, a.TokenType)
	b = append(b, `,"orphan":`...)
	b = strconv.AppendBool(b, a.Orphan)
	b = append(b, `,"mfa_requirement":null,"num_uses":`...)
	b = strconv.AppendInt(b, int64(a.NumUses), 10)
	return append(b, '}')
}

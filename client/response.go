package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Response is the server's answer.
type Response struct {
	Secret // the envelope's fields; zero for an answer that is not in the envelope

	Status int         // HTTP status
	Header http.Header // headers of the answer
	Raw    []byte      // the body as it came
}

// Secret is the envelope of an answer. It encodes as the command line shows it.
type Secret struct {
	RequestID     string         `json:"request_id"`
	LeaseID       string         `json:"lease_id"`
	LeaseDuration int64          `json:"lease_duration"` // seconds
	Renewable     bool           `json:"renewable"`
	Data          map[string]any `json:"data"` // numbers are json.Number
	Warnings      []string       `json:"warnings"`
	Auth          *Auth          `json:"auth,omitempty"`
	WrapInfo      *WrapInfo      `json:"wrap_info,omitempty"`
	MountType     string         `json:"mount_type,omitempty"`
}

// Auth is the token that a login or a token request made.
type Auth struct {
	ClientToken      string          `json:"client_token"`
	Accessor         string          `json:"accessor"`
	Policies         []string        `json:"policies"`
	TokenPolicies    []string        `json:"token_policies"`
	IdentityPolicies []string        `json:"identity_policies"`
	Metadata         map[string]any  `json:"metadata"`
	Orphan           bool            `json:"orphan"`
	EntityID         string          `json:"entity_id"`
	LeaseDuration    int64           `json:"lease_duration"` // seconds; 0: never ends
	Renewable        bool            `json:"renewable"`
	TokenType        string          `json:"token_type,omitempty"`
	NumUses          int64           `json:"num_uses,omitempty"`
	MFARequirement   json.RawMessage `json:"mfa_requirement"`
}

// WrapInfo tells where a wrapped answer is to be had.
type WrapInfo struct {
	Token           string `json:"token"`
	Accessor        string `json:"accessor"`
	TTL             int64  `json:"ttl"`           // seconds
	CreationTime    string `json:"creation_time"` // RFC 3339
	CreationPath    string `json:"creation_path"`
	WrappedAccessor string `json:"wrapped_accessor,omitempty"`
}

// Empty reports whether the answer says nothing but, perhaps, warnings.
func (r *Response) Empty() bool {
	return r.Data == nil && r.Auth == nil && r.WrapInfo == nil && r.LeaseID == ""
}

// Decode reads the answer's data into v, whether it came in the envelope or, as some system paths answer, without. An
// answer without data, such as a wrapped one, is an error.
func (r *Response) Decode(v any) error {
	text := r.Raw
	var envelope struct {
		RequestID *string         `json:"request_id"`
		Data      json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(r.Raw, &envelope); err == nil && envelope.RequestID != nil {
		text = envelope.Data
	}
	if len(text) == 0 || string(text) == "null" {
		return errors.New("read answer: it has no data")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

// Error is a refusal of the server.
type Error struct {
	Method     string   // as it was sent
	URL        string   // without parameters, but for list=true
	StatusCode int      // HTTP status
	Errors     []string // the server's texts, in its order; may be empty
	Data       []byte   // what the server answers beside them, as JSON; nil: nothing
	Raw        string   // the body when it is not the API's own form, as from a proxy
}

// Error is one line; the parts are in the fields.
func (e *Error) Error() string {
	text := strings.Join(e.Errors, "; ")
	if text == "" {
		text = http.StatusText(e.StatusCode)
	}
	return fmt.Sprintf("%s %s: status %d: %s", e.Method, e.URL, e.StatusCode, text)
}

// IsNotFound reports whether err is the server's "nothing there".
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.StatusCode == http.StatusNotFound
}

// read makes the Response or the *Error of an answer.
func read(r Request, req *http.Request, answer *http.Response, raw []byte) (*Response, error) {
	resp := &Response{Status: answer.StatusCode, Header: answer.Header, Raw: raw}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&resp.Secret); err != nil {
		resp.Secret = Secret{} // not the envelope: Raw has it all
	}
	if answer.StatusCode < 300 {
		return resp, nil
	}
	refusal := &Error{Method: req.Method, URL: shown(req.URL, r.Method == "LIST"), StatusCode: answer.StatusCode}
	var body struct {
		Errors *[]string       `json:"errors"`
		Data   json.RawMessage `json:"data"`
	}
	switch err := json.Unmarshal(raw, &body); {
	case err == nil && body.Errors != nil:
		refusal.Errors, refusal.Data = *body.Errors, body.Data
	case answer.StatusCode == http.StatusNotFound && !resp.Empty():
		return resp, nil
	default:
		refusal.Raw = string(raw)
	}
	return nil, refusal
}

// shown is u for an error: parameters may be secret.
func shown(u *url.URL, list bool) string {
	bare := *u
	bare.RawQuery = ""
	if list {
		bare.RawQuery = "list=true"
	}
	return bare.Redacted()
}

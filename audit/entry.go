package audit

import (
	"net/http"
	"time"

	"leasehold/internal/secret"
)

// Entry is what one line tells. Empty fields leave no trace in it.
type Entry struct {
	Time     time.Time
	Auth     Auth // who asks; after a login, the new token
	Request  Request
	Response *Response // only in response lines
	Error    string    // clear: the outcome's text, without values from the request
}

// Auth is a token and what it may do.
type Auth struct {
	ClientToken      secret.Text
	Accessor         string
	DisplayName      string
	Policies         []string
	TokenPolicies    []string
	IdentityPolicies []string
	NoDefaultPolicy  bool
	Results          *PolicyResults // nil: the policies were not asked
	Metadata         map[string]string
	NumUses          int // how many requests the token is for; 0: any number
	RemainingUses    int // before this request
	EntityID         string
	EntityCreated    bool          // this login made the entity
	TokenType        string        // empty is written as "default"
	TTL              time.Duration // at issue or last renewal; 0: never ends
	IssuedAt         time.Time
}

// PolicyResults is the verdict of the policies.
type PolicyResults struct {
	Allowed  bool
	Granting []string // names of the policies that allowed the request
}

// Request is what was asked.
type Request struct {
	ID            string // the answer's request_id
	Operation     string // create, read, update, delete, list, patch
	Mount         Mount
	ClientToken   secret.Text // as presented, valid or not
	TokenAccessor string
	Path          string         // without leading slash; a list ends in "/"
	Data          map[string]any // the body, or the query
	RemoteAddr    string
	RemotePort    int
	WrapTTL       time.Duration
	Header        http.Header // all; only those that Broker.SetHeaders names are written
	CertSerial    string      // of the client's certificate
}

// Mount is where a request went. The zero value is no mount.
type Mount struct {
	Path     string // with a trailing slash
	Type     string
	Accessor string
	Class    string // "auth" or "secret"

	// Reached says that the engine was asked about the request. The accessor of a read, list or delete is written
	// only then, so never in a request line and not after a refusal.
	// Compat: recordings audit-entries and audit-errors.
	Reached bool

	ClearRequestKeys  []string // audit_non_hmac_request_keys of the mount
	ClearResponseKeys []string // audit_non_hmac_response_keys of the mount
}

// Response is what was answered.
type Response struct {
	Auth     *Auth          // a new or renewed token
	Secret   *Secret        // a lease came with it
	Data     map[string]any // after an error: {"error": text}
	Warnings []string
	Wrap     *Wrap // instead of data
}

// Secret is the lease of an answer.
type Secret struct{ LeaseID string }

// Wrap describes a wrapped answer.
type Wrap struct {
	TTL             time.Duration
	Token           secret.Text
	Accessor        string
	CreatedAt       time.Time
	CreationPath    string
	WrappedAccessor string // of the token inside
}

// Package engine is the contract of secrets engines and auth methods.
//
// An engine is mounted at a path and answers the requests below it. It decides nothing about tokens or policies: the
// broker has looked at those before [Engine.Handle] is called. One engine value serves every mount of its type and
// keeps its rows apart by [Mount.UUID]; it holds no state but pools and caches that can be thrown away.
//
// Most engines are a [Router] of [Path] values: a pattern, its fields, and a handler for each operation.
package engine

import (
	"context"
	"crypto/x509"
	"io"
	"net/http"
	"time"

	"leasehold/internal/secret"
)

// Engine answers the requests below one type's mounts. Safe for concurrent use.
type Engine interface {
	// Handle runs one authorised request. A nil response means success with nothing to say. Errors a client may
	// see are *errs.Error.
	Handle(ctx context.Context, r *Request) (*Response, error)
}

// Describer is an optional ability: what the broker must know about a path before it lets a request pass.
// A [Router] has it.
type Describer interface {
	// Describe never answers with an error: an unknown path has the zero value, and Handle refuses it later.
	Describe(ctx context.Context, r *Request) (Facts, error)
}

// Facts are what authorisation needs to know of a path.
type Facts struct {
	Unauthenticated bool // no token needed
	Sudo            bool // the policy's rule must carry sudo, too
	Creates         bool // a write is the ACL operation create: the path can tell, and nothing is there yet

	// InURL are the fields that the URL of a write may give as well. The broker moves them to the body, where it has none of
	// that name, before the policies look at it.
	InURL []string
}

// Unmounter is an optional ability: an engine that keeps rows by mount removes them here.
type Unmounter interface {
	// Unmount removes what the engine stores for the mount. Its leases are revoked already.
	Unmount(ctx context.Context, m Mount) error
}

// Duty is an optional ability: work that is due by itself, on any of the engine's mounts.
type Duty interface {
	// RunOnce does what is due and returns. The broker calls it each second while the store is unsealed.
	RunOnce(ctx context.Context) error
}

// Forgetter is an optional ability: an engine that keeps secrets in memory drops them here.
type Forgetter interface {
	// Forget drops every secret that the engine keeps. The store was locked before.
	Forget()
}

// LoginRenewer is an optional ability of auth methods: may a login go on?
type LoginRenewer interface {
	RenewLogin(ctx context.Context, m Mount, l *Login) error
}

// Operation is what a request wants, after method and path were looked at.
type Operation string

// A POST or PUT arrives as Create where [Facts.Creates] says so, else as Update. A router that has only an Update
// handler serves both.
const (
	Read   Operation = "read"
	List   Operation = "list"
	Scan   Operation = "scan" // a list of all that is below
	Create Operation = "create"
	Update Operation = "update"
	Delete Operation = "delete"
	Patch  Operation = "patch"
	Header Operation = "header"
)

// Mount is where an engine is mounted, as its handlers see it.
type Mount struct {
	UUID       string // the key of the engine's rows; a mount keeps it when it is moved
	Path       string // with a trailing slash; auth methods begin with "auth/"
	Type       string
	Accessor   string
	Options    map[string]string
	DefaultTTL time.Duration // effective: the system's where the mount has none
	MaxTTL     time.Duration // effective
	TokenType  string        // auth methods: default-service, default-batch, service, batch
}

// Request is one request below a mount.
type Request struct {
	ID         string // the answer's request_id
	Operation  Operation
	Mount      Mount
	Path       string         // below the mount, no leading slash; a list ends in "/"
	Data       map[string]any // the decoded body, or the query of a read; numbers are json.Number
	Header     http.Header    // all of the request's headers
	RemoteAddr string         // the client's IP address
	RemotePort int
	Peer       []*x509.Certificate // the client's certificates, not verified
	Caller     *Caller             // nil where no token is needed or none was given
	WrapTTL    time.Duration       // zero: the answer is not wrapped
}

// FullPath is the path that the client asked for, without "/v1/".
func (r *Request) FullPath() string { return r.Mount.Path + r.Path }

// Caller is the token that made a request.
type Caller struct {
	TokenSeq    int64       // the token's row; 0 for a batch token
	LeaseParent int64       // the token whose end ends this caller's leases and children: its own row, or a batch token's parent; 0: none
	Token       secret.Text // as presented
	Accessor    string
	DisplayName string
	EntityID    string
	Policies    []string // all that apply, sorted
	Type        string   // "service" or "batch"
	Root        bool     // has the root policy
	Sudo        bool     // root, or the rule that allowed this request carries sudo
	NumUses     int      // left after this request; 0: unlimited; -1: this was the last
	ExpiresAt   time.Time
}

// Response is what an engine answers.
type Response struct {
	Status    int            // 0: 200, or 204 when there is nothing to show
	Data      map[string]any // nil: none
	Secret    *Secret        // a lease came with it
	Auth      *Auth          // a token came with it
	Login     *Login         // auth methods: who logged in; the broker makes the token and fills Auth
	Warnings  []string
	Duplicate bool  // data's keys stand at the top level of the envelope, too
	Raw       *Raw  // outside the envelope
	Wrap      *Wrap // the answer is kept for whoever has the token in here; nothing else is shown
}

// Empty reports whether there is nothing to show in the envelope.
func (r *Response) Empty() bool {
	return r.Data == nil && r.Secret == nil && r.Auth == nil && r.Login == nil && r.Wrap == nil && len(r.Warnings) == 0
}

// Warn adds a warning.
func (r *Response) Warn(text ...string) { r.Warnings = append(r.Warnings, text...) }

// Wrap is where a wrapped answer is to be had.
type Wrap struct {
	TTL             time.Duration
	Token           secret.Text
	Accessor        string
	CreatedAt       time.Time
	CreationPath    string // of the request whose answer it is
	WrappedAccessor string // of the token inside, or of what else inside lets a client log in; empty: there is none
}

// Secret is the lease part of a response.
type Secret struct {
	LeaseID   string
	Duration  time.Duration
	Renewable bool
}

// Auth is the token part of a response.
type Auth struct {
	ClientToken      secret.Text
	Accessor         string
	DisplayName      string // audited, not shown
	Policies         []string
	TokenPolicies    []string
	IdentityPolicies []string
	Metadata         map[string]string
	Duration         time.Duration
	Renewable        bool
	EntityID         string
	TokenType        string
	Orphan           bool
	NumUses          int
}

// Login is an auth method's verdict.
type Login struct {
	DisplayName string
	Policies    []string
	Metadata    map[string]string
	Alias       string // name of the user or machine within the method
	Internal    map[string]any
	TTL         time.Duration
	MaxTTL      time.Duration
	Period      time.Duration
	ExplicitMax time.Duration
	NumUses     int
	BoundCIDRs  []string
	TokenType   string
	NoDefault   bool // do not add the default policy
	Renewable   bool
}

// Raw is an answer outside the envelope.
type Raw struct {
	ContentType string
	Body        []byte
	// Stream, when not nil, writes the body instead, until it is done or ctx is. Each Write is sent at once, even an empty
	// one, which tells the client that the stream has begun. The time limit of requests does not hold for it.
	Stream func(ctx context.Context, w io.Writer) error
}

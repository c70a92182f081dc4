package broker

import (
	"crypto/x509"
	"net/http"
	"time"

	"leasehold/engine"
	"leasehold/internal/secret"
)

// Request is one request of the HTTP API, decoded, with its canonical path. [Broker.Handle] may change it.
type Request struct {
	ID         string           // a UUID: the answer's request_id
	Operation  engine.Operation // a POST or PUT is an Update; Handle turns it into a Create where the path can tell
	Path       string           // canonical, without "/v1/"; a list ends in "/"
	Data       map[string]any   // the decoded body, or the query of a read; numbers are json.Number
	Query      map[string]any   // the parameters in the URL of a write; engines see those of [engine.Facts] alone
	Header     http.Header      // all headers
	RemoteAddr string           // the client's IP address
	RemotePort int
	Peer       []*x509.Certificate // the client's certificates, not verified
	Token      secret.Text         // as presented; may be empty
	WrapTTL    time.Duration       // zero: the answer is not wrapped
}

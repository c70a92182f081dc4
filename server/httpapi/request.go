package httpapi

import (
	"crypto/x509"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"leasehold/broker"
	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
)

// decode makes the broker's request of the HTTP request.
func (x *exchange) decode() (*broker.Request, error) {
	r := x.r
	req := &broker.Request{ID: x.requestID(), Path: x.path, Header: r.Header, Token: token(r.Header), Peer: peer(r)}
	req.RemoteAddr, req.RemotePort = x.remote()
	var err error
	if req.WrapTTL, err = wrapTTL(r.Header); err != nil {
		return nil, err
	}
	var query url.Values
	if r.URL.RawQuery != "" {
		query = r.URL.Query()
	}
	switch r.Method {
	case http.MethodGet:
		req.Operation = engine.Read
		for _, op := range []engine.Operation{engine.List, engine.Scan} {
			wanted := query.Get(string(op))
			if wanted == "" {
				continue
			}
			asked, err := strconv.ParseBool(wanted)
			if err != nil {
				return nil, errBadValue
			}
			if asked {
				req.Operation = op
			}
		}
	case "LIST":
		req.Operation = engine.List
	case "SCAN":
		req.Operation = engine.Scan
	case http.MethodHead:
		req.Operation = engine.Header
	case http.MethodDelete:
		req.Operation = engine.Delete
	case http.MethodPost, http.MethodPut:
		req.Operation = engine.Update
	case http.MethodPatch:
		req.Operation = engine.Patch
		if err := patchType(r.Header.Get("Content-Type")); err != nil {
			return nil, err
		}
	default:
		return nil, errBadMethod
	}
	switch req.Operation {
	case engine.Update, engine.Patch:
		req.Query = queryFields(query)
		req.Data, err = decodeBody(x.w, r, x.h.limits)
		return req, err
	case engine.List, engine.Scan:
		if !strings.HasSuffix(req.Path, "/") {
			req.Path += "/"
		}
	}
	req.Data = queryFields(query)
	return req, nil
}

// token is the client's token: X-Vault-Token, or else a bearer token.
func token(h http.Header) secret.Text {
	if t := h.Get("X-Vault-Token"); t != "" {
		return secret.NewText(t)
	}
	for _, value := range h["Authorization"] {
		if t, ok := strings.CutPrefix(value, "Bearer "); ok {
			return secret.NewText(strings.TrimSpace(t))
		}
	}
	return secret.Text{}
}

func wrapTTL(h http.Header) (time.Duration, error) {
	value := h.Get("X-Vault-Wrap-TTL")
	if value == "" {
		return 0, nil
	}
	ttl, err := engine.ParseSignedDuration(value)
	if err != nil {
		return 0, errs.New(errs.Invalid, "error parsing X-Vault-Wrap-TTL header: %s", err)
	}
	if ttl < 0 {
		return 0, errs.New(errs.Invalid, "error parsing X-Vault-Wrap-TTL header: requested wrap ttl cannot be negative")
	}
	if ttl > 0 && strings.EqualFold(h.Get("X-Vault-Wrap-Format"), "jwt") {
		return 0, errs.New(errs.Invalid, "this server has no wrapping tokens in the form of a JWT: ask without X-Vault-Wrap-Format")
	}
	return ttl, nil
}

// patchType demands a merge patch. Parameters of the type do not matter.
func patchType(given string) error {
	const wanted = "application/merge-patch+json"
	media, _, _ := strings.Cut(given, ";")
	switch media = strings.ToLower(strings.TrimSpace(media)); media {
	case wanted:
		return nil
	case "":
		return errs.New(errs.Invalid, "mime: no media type")
	default:
		return errs.New(errs.MediaType, "PATCH requires Content-Type of %s, provided %s", wanted, media)
	}
}

// queryFields makes fields of the query. The parameters that steer the protocol itself are none.
func queryFields(query url.Values) map[string]any {
	var data map[string]any
	for name, values := range query {
		if name == "list" || name == "scan" || name == "help" {
			continue
		}
		if data == nil {
			data = make(map[string]any, len(query))
		}
		if len(values) == 1 {
			data[name] = values[0]
			continue
		}
		items := make([]any, len(values))
		for i, value := range values {
			items[i] = value
		}
		data[name] = items
	}
	return data
}

func peer(r *http.Request) []*x509.Certificate {
	if r.TLS == nil {
		return nil
	}
	return r.TLS.PeerCertificates
}

// remote is the client's address; "" and 0 where there is none, as on a unix socket.
func (x *exchange) remote() (string, int) {
	address, err := netip.ParseAddrPort(x.r.RemoteAddr)
	if err != nil {
		return "", 0
	}
	return address.Addr().Unmap().WithZone("").String(), int(address.Port())
}

// rootOnly are the parts of sys that no namespace has.
var rootOnly = []string{
	"init", "seal", "unseal", "health", "rekey", "generate-root", "raw", "metrics", "pprof", "step-down", "storage", "in-flight-req",
}

// namespace refuses every namespace but the root: there are no others.
func namespace(h http.Header, path string) error {
	name := strings.Trim(h.Get("X-Vault-Namespace"), "/")
	if name == "" || name == "root" {
		return nil
	}
	if sub, ok := strings.CutPrefix(path, "sys/"); ok {
		for _, only := range rootOnly {
			if sub == only || strings.HasPrefix(sub, only+"/") {
				return errs.New(errs.Invalid, "operation unavailable in namespaces")
			}
		}
	}
	return errs.New(errs.NotFound, "namespace not found")
}

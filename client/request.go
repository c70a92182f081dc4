package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Request is one call of the API.
type Request struct {
	Method string     // GET, PUT, POST, DELETE, PATCH, HEAD or LIST; LIST is sent as GET with list=true
	Path   string     // below /v1/, not percent-encoded: "database/creds/app"
	Query  url.Values // further parameters
	Body   any        // nil: none; []byte: sent as it is; anything else: as JSON
}

// Do sends one request without parameters; see Send.
func (c *Client) Do(ctx context.Context, method, path string, body any) (*Response, error) {
	return c.Send(ctx, Request{Method: method, Path: path, Body: body})
}

// Send sends r, follows redirects, and tries again as Config.MaxRetries says.
//
// Errors: *Error when the server answered with a status of 400 or more (a 404 that carries data is an answer, not an
// error); any other error means that there was no answer.
func (c *Client) Send(ctx context.Context, r Request) (*Response, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout,
		fmt.Errorf("no answer within %s", c.cfg.Timeout))
	defer cancel()
	for attempt := 0; ; attempt++ {
		resp, err := c.attempt(ctx, r)
		if attempt >= c.cfg.MaxRetries || !transient(err) {
			return resp, err
		}
		select {
		case <-time.After(c.cfg.RetryWait + rand.N(c.cfg.RetryWait/2+1)):
		case <-ctx.Done():
			return resp, err
		}
	}
}

// Prepare is the HTTP request that Send would send for r.
func (c *Client) Prepare(ctx context.Context, r Request) (*http.Request, error) {
	method, query := r.Method, url.Values{}
	for name, values := range r.Query {
		query[name] = values
	}
	if method == "LIST" {
		method = http.MethodGet
		query.Set("list", "true")
	}
	body, err := encode(r.Body)
	if err != nil {
		return nil, err
	}
	target := *c.base
	target.Path += "/v1/" + r.Path
	target.RawQuery = query.Encode()
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), reader)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	for name, values := range c.cfg.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	req.Header.Set("X-Vault-Request", "true")
	setUnlessEmpty(req.Header, "X-Vault-Token", c.cfg.Token.Reveal())
	setUnlessEmpty(req.Header, "X-Vault-Namespace", c.cfg.Namespace)
	setUnlessEmpty(req.Header, "X-Vault-Wrap-TTL", c.cfg.WrapTTL)
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	return req, nil
}

func (c *Client) attempt(ctx context.Context, r Request) (*Response, error) {
	if c.limiter != nil {
		if err := c.limiter.Wait(ctx); err != nil {
			return nil, fmt.Errorf("wait for the rate limit: %w", err)
		}
	}
	req, err := c.Prepare(ctx, r)
	if err != nil {
		return nil, err
	}
	answer, err := c.http.Do(req)
	if err != nil {
		return nil, noAnswer(ctx, err)
	}
	defer func() { _ = answer.Body.Close() }()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, noAnswer(ctx, err)
	}
	return read(r, req, answer, raw)
}

// noAnswer prefers the reason why ctx ended to the bare word of the transport.
func noAnswer(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// transient reports whether the same request may well succeed in a moment.
func transient(err error) bool {
	var refused *Error
	if errors.As(err, &refused) {
		return refused.StatusCode >= 500 && refused.StatusCode != http.StatusNotImplemented
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op == "dial" || op.Op == "read" || op.Op == "write" // others are refusals of the TLS layer
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func encode(body any) ([]byte, error) {
	switch b := body.(type) {
	case nil:
		return nil, nil
	case []byte:
		return b, nil
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		return nil, fmt.Errorf("encode body: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

func setUnlessEmpty(h http.Header, name, value string) {
	if value != "" {
		h.Set(name, strings.TrimSpace(value))
	}
}

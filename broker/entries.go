package broker

import (
	"context"

	"leasehold/audit"
	"leasehold/engine"
	"leasehold/internal/errs"
)

// auditRequest writes the line of a request before it runs. An error means that it must not.
func (c *call) auditRequest(ctx context.Context, refused error) error {
	if !c.b.audit.Enabled() {
		return nil
	}
	e := c.entry()
	if refused != nil {
		e.Error = shown(refused)
	}
	c.audited = true
	return c.b.timed(false, func() error { return c.b.audit.Request(ctx, e) })
}

// auditResponse writes the line of an answer before it is sent. An error means that it must not be.
func (c *call) auditResponse(ctx context.Context, resp *engine.Response, failed error) error {
	if !c.b.audit.Enabled() {
		if c.audited && c.b.Sealed() { // the devices went with the keys, not by anybody's choice
			return errSealed
		}
		return nil
	}
	e := c.entry()
	e.Response = &audit.Response{}
	switch {
	case failed != nil:
		e.Error = c.responseError(failed)
		if text := shown(failed); text != "" {
			e.Response.Data = map[string]any{"error": text}
		}
		if c.facts.Unauthenticated {
			e.Auth = audit.Auth{}
		}
	case resp != nil:
		c.auditAnswer(e, resp)
	}
	return c.b.timed(true, func() error { return c.b.audit.Response(ctx, e) })
}

// auditUnknown writes the only line of a request whose wrapping token is not good, and returns the answer. The request is not
// routed, and nobody asks what else its own token may do.
//
// Compat: recording audit-wrap.
func (c *call) auditUnknown(ctx context.Context, refused error) error {
	if !c.b.audit.Enabled() {
		return refused
	}
	e := c.entry()
	e.Auth = audit.Auth{ClientToken: c.Token, Accessor: c.token.Accessor}
	e.Request.Mount = audit.Mount{Path: "sys/"}
	e.Error = shown(refused)
	if err := c.b.timed(false, func() error { return c.b.audit.Request(ctx, e) }); err != nil {
		return err
	}
	return refused
}

// auditAnswer fills in what is answered. Of what a wrapped answer stands for, the line says nothing but who has logged in.
func (c *call) auditAnswer(e *audit.Entry, resp *engine.Response) {
	if resp.Wrap != nil {
		wrap := audit.Wrap(*resp.Wrap)
		e.Response.Wrap = &wrap
		if c.wrapped != nil && c.wrapped.Login != nil {
			e.Auth = *auditMade(c.wrapped)
		}
		return
	}
	e.Response.Data, e.Response.Warnings = resp.Data, resp.Warnings
	if resp.Secret != nil {
		e.Response.Secret = &audit.Secret{LeaseID: resp.Secret.LeaseID}
	}
	if resp.Auth == nil {
		return
	}
	e.Response.Auth = auditMade(resp)
	if resp.Login != nil {
		e.Auth = *e.Response.Auth // who asks is whom the login found
	}
}

// auditMade is the token that an answer tells of.
func auditMade(resp *engine.Response) *audit.Auth {
	made := &audit.Auth{
		ClientToken: resp.Auth.ClientToken, Accessor: resp.Auth.Accessor, DisplayName: resp.Auth.DisplayName, Policies: resp.Auth.Policies,
		TokenPolicies:    resp.Auth.TokenPolicies,
		IdentityPolicies: resp.Auth.IdentityPolicies, Metadata: resp.Auth.Metadata, NumUses: resp.Auth.NumUses, EntityID: resp.Auth.EntityID,
		TokenType: resp.Auth.TokenType, TTL: resp.Auth.Duration,
	}
	if resp.Login != nil {
		made.NoDefaultPolicy = resp.Login.NoDefault
	}
	return made
}

// entry is what both lines of the request have in common.
func (c *call) entry() *audit.Entry {
	e := &audit.Entry{
		Time: c.b.clock.Now(),
		Request: audit.Request{
			ID: c.ID, Operation: string(c.Operation), ClientToken: c.Token, TokenAccessor: c.token.Accessor, Path: c.Path, Data: c.Data,
			RemoteAddr: c.RemoteAddr, RemotePort: c.RemotePort, WrapTTL: c.WrapTTL, Header: c.Header,
		},
	}
	if len(c.Peer) > 0 {
		e.Request.CertSerial = c.Peer[0].SerialNumber.String()
	}
	if m := c.mount; m != nil {
		e.Request.Mount = audit.Mount{
			Path: m.Path, Type: m.Type, Accessor: m.Accessor, Class: string(m.Kind), Reached: c.reached,
			ClearRequestKeys: m.Config.AuditRequest, ClearResponseKeys: m.Config.AuditResponse,
		}
	}
	if c.tokenErr == nil {
		t := &c.token
		e.Auth = audit.Auth{
			ClientToken: c.Token, Accessor: t.Accessor, DisplayName: t.DisplayName, Policies: t.Policies, TokenPolicies: t.Policies,
			NoDefaultPolicy: t.NoDefault, Metadata: t.Meta, RemainingUses: c.usesBefore(), EntityID: t.EntityID, TokenType: t.Type,
			TTL: t.Granted, IssuedAt: t.CreatedAt,
		}
	}
	if c.asked {
		e.Auth.Results = &audit.PolicyResults{Allowed: c.verdict.Allowed, Granting: c.verdict.Granting}
	}
	return e
}

// usesBefore is how many requests the token was good for before this one; 0: unlimited.
func (c *call) usesBefore() int {
	switch {
	case c.token.NumUses < 0:
		return 1
	case c.token.NumUses > 0 && !c.facts.Unauthenticated:
		return c.token.NumUses + 1
	default:
		return c.token.NumUses
	}
}

// shown is the text that the client gets; empty for an answer that says only that nothing is there.
func shown(err error) string {
	if e := errs.From(err); e != nil && e.Code != errs.Internal {
		return e.Shown()
	}
	return "internal error"
}

// responseError is the error text of a line after the request. It names the kind of refusal: what the client was told
// stands, hashed, in the data, since it may quote the request.
//
// Compat: recordings audit-errors and audit-auth.
func (c *call) responseError(err error) string {
	kinds := map[errs.Code]string{
		errs.Unauthenticated: "permission denied",
		errs.Denied:          "permission denied",
		errs.Invalid:         "invalid request",
		errs.NotFound:        "unsupported path",
		errs.Unsupported:     "unsupported operation",
	}
	text := shown(err)
	if text == "" {
		return ""
	}
	code := errs.CodeOf(err)
	if code == errs.Invalid && c.facts.Unauthenticated && c.mount.Kind == Auth {
		return "invalid credentials" // a login that was refused
	}
	kind, known := kinds[code]
	if !known {
		kind = "internal error"
	}
	return errs.Framed(errs.Internal, "%s", kind).Shown()
}

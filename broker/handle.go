package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"leasehold/auth"
	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/policy"
	"leasehold/store"
)

// call is one request on its way.
type call struct {
	*Request
	b      *Broker
	mount  *Mount        // nil: none holds the path
	engine engine.Engine // nil: no mount, or none of its type in this program
	inner  engine.Request
	facts  engine.Facts

	token    auth.Token
	tokenErr error // why there is no token: none was given, or it is not good

	acl     *policy.ACL
	verdict policy.Verdict
	asked   bool             // the policies, or the path's need for none, decided
	reached bool             // the engine was asked
	wrapped *engine.Response // what a wrapped answer stands for; nil: the answer is not wrapped
	audited bool             // the request line was written
}

// Handle runs one request: the package comment draws its way. It also returns the type of the mount that answered.
//
// Errors: Sealed; Unauthenticated (no token or a bad one) and Denied (a policy), of which the wire shows only the words
// "permission denied"; NotFound; Invalid; whatever *errs.Error the engine has. All others are internal.
//
// Measured with SQLite by BenchmarkHandle.
func (b *Broker) Handle(ctx context.Context, r *Request) (*engine.Response, string, error) {
	began := b.clock.Now()
	c, err := b.admit(ctx, r)
	if c == nil {
		return nil, "", unsealedOnly(err)
	}
	defer b.cfg.Observer.handled(c, began)
	if c.token.NumUses < 0 {
		// Crash: the token has no uses left, and the reaper ends it.
		defer func() {
			if err := b.tokens.Revoke(context.WithoutCancel(ctx), c.token.Seq); err != nil {
				b.log.Error("a used-up token was not revoked", "error", err, "request_id", r.ID)
			}
		}()
	}
	var resp *engine.Response
	if err == nil {
		resp, err = c.run(ctx)
	}
	if err == nil {
		resp, err = c.wrap(ctx, resp)
	}
	if failed := c.auditResponse(ctx, resp, err); failed != nil {
		c.withhold(ctx, resp)
		return nil, "", failed
	}
	mountType := ""
	if c.mount != nil {
		mountType = c.mount.Type
	}
	if err != nil {
		return nil, mountType, unsealedOnly(err)
	}
	return resp, mountType, nil
}

// unsealedOnly words the error of a request that met a store without keys.
func unsealedOnly(err error) error {
	if errors.Is(err, store.ErrSealed) {
		return errSealed
	}
	return err
}

// admit decides whether the request may run, and writes its audit entry. A nil call was not audited, and its error is
// the answer; another call's error is, too, once it was audited.
func (b *Broker) admit(ctx context.Context, r *Request) (*call, error) {
	if !b.store.Unlocked() {
		return nil, errSealed
	}
	c := &call{Request: r, b: b}
	var s *snapshot
	var unknown error // the wrapping token that the request names
	err := b.store.View(ctx, func(tx *store.Tx) (err error) {
		if s, err = b.current(tx); err != nil {
			return err
		}
		if unknown, err = b.checkWrapping(tx, r); err != nil {
			return err
		}
		c.tokenErr = nil
		c.token, err = b.tokens.AuthenticateTx(tx, r.Token, r.RemoteAddr)
		if errs.CodeOf(err) == errs.Unauthenticated {
			c.tokenErr, err = err, nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the token and the configuration: %w", err)
	}
	if err := b.openDevices(ctx, s); err != nil {
		return nil, err
	}
	if unknown != nil {
		return nil, c.auditUnknown(ctx, unknown)
	}
	refused := c.decide(ctx, s)
	if err := c.auditRequest(ctx, refused); err != nil {
		return nil, err
	}
	return c, refused
}

// decide finds the mount and asks the policies.
func (c *call) decide(ctx context.Context, s *snapshot) error {
	c.prepare(s)
	if c.tokenErr == nil {
		c.acl = s.policies.acl(c.token.Policies, c.b.clock.Now())
		c.inner.Caller = c.caller() // what a path holds may depend on whose it is
	}
	if describer, ok := c.engine.(engine.Describer); ok {
		var err error
		if c.facts, err = describer.Describe(ctx, &c.inner); err != nil {
			return fmt.Errorf("describe the path: %w", err)
		}
	}
	c.takeFromURL(c.facts.InURL)
	if c.facts.Creates && c.Operation == engine.Update {
		c.Operation, c.inner.Operation = engine.Create, engine.Create
	}
	if c.facts.Unauthenticated {
		c.asked, c.verdict.Allowed = true, true
		return nil
	}
	if c.tokenErr != nil {
		return c.tokenErr
	}
	if err := c.b.tokens.Use(ctx, &c.token); err != nil {
		return err
	}
	c.asked = true
	c.verdict = c.acl.Check(policy.Request{Operation: string(c.Operation), Path: c.Path, Data: c.Data, WrapTTL: c.WrapTTL})
	if c.facts.Sudo && !c.verdict.Sudo {
		c.verdict = policy.Verdict{}
	}
	if !c.verdict.Allowed {
		return errs.Framed(errs.Denied, "permission denied")
	}
	c.inner.Caller = c.caller()
	return nil
}

// takeFromURL moves parameters of a write's URL to its body, where it has none of that name.
func (c *call) takeFromURL(names []string) {
	for _, name := range names {
		value, given := c.Query[name]
		if _, twice := c.Data[name]; !given || twice {
			continue
		}
		if c.Data = maps.Clone(c.Data); c.Data == nil {
			c.Data = map[string]any{}
		}
		c.Data[name] = value
	}
	c.inner.Data = c.Data
}

// prepare routes the request and makes what its engine sees.
func (c *call) prepare(s *snapshot) {
	c.inner = engine.Request{
		ID: c.ID, Operation: c.Operation, Data: c.Data, Header: c.Header, RemoteAddr: c.RemoteAddr, RemotePort: c.RemotePort,
		Peer: c.Peer, WrapTTL: c.WrapTTL,
	}
	if c.mount, c.inner.Path = s.routes.find(c.Path); c.mount != nil {
		c.engine = c.b.engineOf(c.mount)
		c.inner.Mount = c.b.view(c.mount)
	}
}

// caller is the token as engines see it.
func (c *call) caller() *engine.Caller {
	t := &c.token
	return &engine.Caller{
		TokenSeq: t.Seq, LeaseParent: t.LeaseParent(), Token: c.Token, Accessor: t.Accessor, DisplayName: t.DisplayName,
		EntityID: t.EntityID, Policies: t.Policies, Type: t.Type, Root: c.acl.Root(), Sudo: c.acl.Root() || c.verdict.Sudo,
		NumUses: t.NumUses, ExpiresAt: t.ExpiresAt,
	}
}

// run has the engine answer, and makes the token of a login.
func (c *call) run(ctx context.Context) (*engine.Response, error) {
	writes := c.Operation == engine.Create || c.Operation == engine.Update
	switch {
	case writes && strings.HasSuffix(c.Path, "/"):
		return nil, errs.New(errs.Invalid, "cannot write to a path ending in '/'")
	case c.mount == nil:
		return nil, errs.New(errs.NotFound, "no handler for route %q. route entry not found.", c.Path)
	case c.engine == nil:
		return nil, errs.Framed(errs.NotFound, "unsupported path")
	}
	c.reached = true
	resp, err := c.engine.Handle(ctx, &c.inner)
	if err != nil {
		return nil, c.unlisted(err)
	}
	if resp != nil && resp.Login != nil {
		return resp, c.login(ctx, resp)
	}
	if c.nothing(resp) {
		return nil, c.unlisted(errs.New(errs.NotFound, ""))
	}
	return resp, nil
}

// unlisted words the refusal of a list that has nothing in it, where the answer was to be wrapped.
//
// Compat: recording wrap-any-response.
func (c *call) unlisted(err error) error {
	shown := errs.From(err)
	if c.WrapTTL > 0 && (c.Operation == engine.List || c.Operation == engine.Scan) &&
		shown != nil && shown.Code == errs.NotFound && shown.Text == "" {
		return errs.New(errs.NotFound, "unsupported path")
	}
	return err
}

// nothing reports whether a question was answered by there being nothing.
func (c *call) nothing(resp *engine.Response) bool {
	switch c.Operation {
	case engine.Read, engine.Header:
		return resp == nil
	case engine.List, engine.Scan:
		if resp == nil {
			return true
		}
		names, ok := resp.Data["keys"].([]string)
		return ok && len(names) == 0
	default:
		return false
	}
}

// login makes the token of a successful login.
func (c *call) login(ctx context.Context, resp *engine.Response) error {
	token, text, warnings, err := c.b.tokens.CreateLogin(ctx, c.inner.Mount, c.Path, resp.Login)
	if err != nil {
		return err
	}
	// The method may have been disabled meanwhile. Disabling hides the mount first and revokes its tokens then, so a
	// mount that is live here has its tokens found; for one that is not, this token might have come too late.
	live := false
	err = c.b.store.View(ctx, func(tx *store.Tx) error {
		var err error
		live, err = c.b.MountLive(tx, c.mount.UUID)
		return err
	})
	if err != nil || !live {
		// Crash: a token that nobody was told of is left to expire.
		return errors.Join(errs.New(errs.Unauthenticated, "permission denied"), err, c.b.tokens.Revoke(context.WithoutCancel(ctx), token.Seq))
	}
	resp.Auth = token.Auth(text)
	resp.Warn(warnings...)
	return nil
}

const selectMountState = `select state from mounts where uuid = $1`

// MountLive reports whether a mount takes requests, in a transaction that issues something for it. A mount that is being
// disabled or moved revokes what it has issued before; nothing may come after.
func (b *Broker) MountLive(tx *store.Tx, mountUUID string) (bool, error) {
	var state string
	err := tx.QueryRow(selectMountState, mountUUID).Scan(&state)
	if isNoRow(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the state of a mount: %w", err)
	}
	return state == stateLive, nil
}

// withhold undoes, as far as can be, what the client is not told of: a lease is set due at once.
func (c *call) withhold(ctx context.Context, resp *engine.Response) {
	if c.wrapped != nil {
		resp = c.wrapped
	}
	if resp == nil || resp.Secret == nil || resp.Secret.LeaseID == "" {
		return
	}
	if c.mount.Type == "system" && c.Path != unwrap { // a renewal: the client has had the lease for long
		return
	}
	// Crash: the lease stands, and ends at its expiry or with its token.
	if err := c.b.leases.Revoke(context.WithoutCancel(ctx), resp.Secret.LeaseID, false); err != nil {
		c.b.log.Error("the lease of an answer that was withheld stays until it expires", "error", err, "request_id", c.ID)
	}
}

// Seal takes the keys from memory; the node stays sealed until shares open it, or it is started again. It needs a token whose
// policies have update and sudo on sys/seal; a store that is sealed already needs none.
func (b *Broker) Seal(ctx context.Context, r *Request) error {
	if !b.store.Unlocked() {
		return nil
	}
	r.Path, r.Operation = "sys/seal", engine.Update
	c, err := b.admit(ctx, r)
	if err == nil && !c.verdict.Sudo {
		err = errs.Framed(errs.Denied, "permission denied")
	}
	if err != nil {
		if c != nil {
			err = errors.Join(err, c.auditResponse(ctx, nil, err))
		}
		return unsealedOnly(err)
	}
	if err := c.auditResponse(ctx, nil, nil); err != nil {
		return err
	}
	b.hold()
	return nil
}

// helper is an engine that can explain its paths.
type helper interface {
	Help(path string) (text string, known bool)
}

// Help is the help text of a path. Any token that is good may ask.
//
// Errors: Sealed, Unauthenticated, NotFound.
func (b *Broker) Help(ctx context.Context, r *Request) (string, error) {
	if !b.store.Unlocked() {
		return "", errSealed
	}
	c := &call{Request: r, b: b}
	err := b.store.View(ctx, func(tx *store.Tx) error {
		s, err := b.current(tx)
		if err != nil {
			return err
		}
		c.prepare(s)
		_, err = b.tokens.AuthenticateTx(tx, r.Token, r.RemoteAddr)
		return err
	})
	if err != nil {
		return "", unsealedOnly(err)
	}
	if c.mount == nil {
		return "", errs.New(errs.NotFound, "no handler for route %q. route entry not found.", r.Path)
	}
	if h, ok := c.engine.(helper); ok {
		if text, known := h.Help(c.inner.Path); known {
			return text, nil
		}
	}
	return "", errs.Framed(errs.NotFound, "unsupported path")
}

package external

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/database/dbplugin/v5/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"leasehold/plugins"
)

// callTimeout is how long a call may take whose caller sets no deadline.
const callTimeout = 30 * time.Second

// A plugin that ends within soon of its start is started again at once the first time, and then after pauses that double from the
// first to the last.
const (
	soon       = 10 * time.Second
	firstPause = time.Second
	lastPause  = time.Minute
)

// database is one configured target. It implements [plugins.Database], [plugins.Namer] and [plugins.Chooser].
type database struct {
	driver  Driver
	config  *structpb.Struct
	masks   []plugins.Mask
	maxOpen int
	naming  map[string]*naming // by the users' kind of credential: a certificate's subject may be the user's name; constant
	turn    chan struct{}      // holds an item while a process is being started

	mu       sync.Mutex
	current  *process  // takes new calls; nil: none; guarded by mu
	program  string    // the SHA-256 that naming is about; guarded by mu
	failures int       // starts in a row that failed, or whose process ended soon; guarded by mu
	resume   time.Time // no start before; guarded by mu
	why      error     // the last failure; guarded by mu
	closed   bool      // guarded by mu
}

var (
	_ plugins.Database = (*database)(nil)
	_ plugins.Namer    = (*database)(nil)
	_ plugins.Chooser  = (*database)(nil)
)

// MaxOpen implements [plugins.Database].
func (d *database) MaxOpen() int { return d.maxOpen }

// Verify implements [plugins.Database]. The protocol can log in only while it initialises, so this is done by a new process, which
// takes the place of the present one.
func (d *database) Verify(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, callTimeout)
	defer done()
	if err := d.enter(ctx); err != nil {
		return unreachable("connect", err)
	}
	defer d.leave()
	if err := d.start(ctx, true); err != nil {
		return unreachable("connect", err)
	}
	return nil
}

// CreateUser implements [plugins.Database]. A plugin that makes up a name of its own is told apart by CreateNamed.
func (d *database) CreateUser(ctx context.Context, u plugins.User) error {
	name, err := d.CreateNamed(ctx, u)
	if err == nil && name != u.Name {
		err = &plugins.Error{Op: "create user", Class: plugins.Unknown, Err: fmt.Errorf("the plugin made the user %q instead of %q", name, u.Name)}
	}
	return err
}

// CreateNamed implements [plugins.Namer].
func (d *database) CreateNamed(ctx context.Context, u plugins.User) (name string, err error) {
	req := &proto.NewUserRequest{
		UsernameConfig: &proto.UsernameConfig{DisplayName: u.Name, RoleName: u.Name},
		Password:       u.Password.Reveal(),
		Statements:     &proto.Statements{Commands: u.Statements},
		Expiration:     timestamppb.New(u.Expiration), // plugins refuse a request without one
	}
	kind := plugins.TypePassword
	if u.Key != nil {
		kind = u.Key.Type
		req.CredentialType, req.PublicKey, req.Subject = credentialNumbers[kind], u.Key.PublicKey, u.Key.Subject
	}
	err = d.call(ctx, "create user", forms(u.Password.Reveal()), func(ctx context.Context, p *process) error {
		if err := p.demand(kind); err != nil {
			return err
		}
		p.remember(u.Password)
		resp, err := p.rpc.NewUser(ctx, req)
		name = resp.GetUsername()
		return err
	})
	if err != nil {
		return "", err
	}
	if problem := unusable(name); problem != "" {
		return "", &plugins.Error{Op: "create user", Class: plugins.Unknown, Err: errors.New("the plugin made a user and answered with " + problem)}
	}
	if d.naming[kind].note(u.Name, name) {
		d.driver.Log.Warn("a plugin does not call its users as it is told: a user whose making is interrupted at the wrong moment has to be looked for by hand; "+
			"a username_template in its letter case, or shorter, may help", "plugin", d.driver.Name, "credential_type", kind, "told", u.Name, "called", name)
	}
	return name, nil
}

// maxName is how long a user's name may be, in bytes.
const maxName = 1024

func unusable(name string) string {
	switch {
	case name == "":
		return "no name"
	case len(name) > maxName:
		return "a name that is too long to keep"
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "a name that has control characters"
	}
	return ""
}

// Obeys implements [plugins.Namer].
func (d *database) Obeys(name, credentialType string) bool {
	known := d.naming[credentialType]
	return known != nil && known.covers(name)
}

// Takes implements [plugins.Chooser]: it asks the plugin's process, and starts it if there is none.
func (d *database) Takes(ctx context.Context, credentialType string) (takes bool, err error) {
	err = d.call(ctx, "start the plugin", nil, func(_ context.Context, p *process) error {
		takes = p.takes(credentialType)
		return nil
	})
	return takes, err
}

// AlterUser implements [plugins.Database].
func (d *database) AlterUser(ctx context.Context, name string, c plugins.Change) error {
	req := &proto.UpdateUserRequest{Username: name}
	var secrets []string
	if !c.Password.Empty() {
		secrets = forms(c.Password.Reveal())
		req.Password = &proto.ChangePassword{NewPassword: c.Password.Reveal(), Statements: &proto.Statements{Commands: c.Statements}}
	}
	kind := plugins.TypePassword
	if c.Key != nil {
		kind = c.Key.Type
		req.CredentialType = credentialNumbers[kind]
		req.PublicKey = &proto.ChangePublicKey{NewPublicKey: c.Key.PublicKey, Statements: &proto.Statements{Commands: c.Statements}}
	}
	if !c.Expiration.IsZero() {
		req.Expiration = &proto.ChangeExpiration{NewExpiration: timestamppb.New(c.Expiration), Statements: &proto.Statements{Commands: c.Statements}}
	}
	return d.call(ctx, "alter user", secrets, func(ctx context.Context, p *process) error {
		if err := p.demand(kind); err != nil {
			return err
		}
		p.remember(c.Password)
		_, err := p.rpc.UpdateUser(ctx, req)
		return err
	})
}

// DropUser implements [plugins.Database]. That the user is gone is the plugin's word: the protocol has nothing to look with.
func (d *database) DropUser(ctx context.Context, name string, statements []string) error {
	req := &proto.DeleteUserRequest{Username: name, Statements: &proto.Statements{Commands: statements}}
	return d.call(ctx, "drop user", nil, func(ctx context.Context, p *process) error {
		_, err := p.rpc.DeleteUser(ctx, req)
		return err
	})
}

// Close implements [plugins.Database].
func (d *database) Close() error {
	d.mu.Lock()
	d.closed = true
	old := d.replaceLocked(nil)
	d.mu.Unlock()
	if old != nil {
		old.end()
	}
	return nil
}

// call runs fn with a process, under a deadline. secrets are what no error of it may hold.
func (d *database) call(ctx context.Context, op string, secrets []string, fn func(ctx context.Context, p *process) error) error {
	ctx, done := context.WithTimeout(ctx, callTimeout)
	defer done()
	p, err := d.acquire(ctx)
	if err != nil {
		return unreachable(op, err)
	}
	defer d.release(p)
	err = fn(ctx, p)
	if err == nil {
		return nil
	}
	class := classOf(err)
	if class == plugins.Unknown && p.sign(ctx) != nil {
		d.discard(p)
	}
	return &plugins.Error{
		Op: op, Class: class, Err: plugins.Conceal(explained(err), context.Cause(ctx), d.masks, plugins.MaskPassword(secrets...)),
	}
}

// unreachable is what a call says that had no process to talk to.
func unreachable(op string, err error) error {
	return &plugins.Error{Op: op, Class: plugins.Unreachable, Err: err}
}

// acquire is a running process, which is started if there is none. Each success is answered by one release.
func (d *database) acquire(ctx context.Context) (*process, error) {
	if p := d.running(); p != nil {
		return p, nil
	}
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.leave()
	if p := d.running(); p != nil { // another has started it meanwhile
		return p, nil
	}
	if err := d.start(ctx, false); err != nil {
		return nil, err
	}
	if p := d.running(); p != nil {
		return p, nil
	}
	return nil, errors.New("the plugin ended as soon as it was started")
}

// enter waits until nobody starts a process.
func (d *database) enter(ctx context.Context) error {
	select {
	case d.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errors.New("the plugin was not started in time")
	}
}

func (d *database) leave() { <-d.turn }

// running is the present process, used once more; nil: there is none, or it has ended.
func (d *database) running() *process {
	d.mu.Lock()
	p := d.current
	if p != nil && !p.ended() {
		p.users++
		d.mu.Unlock()
		return p
	}
	d.mu.Unlock()
	if p != nil {
		d.discard(p)
	}
	return nil
}

// release ends one use.
func (d *database) release(p *process) {
	d.mu.Lock()
	p.users--
	last := p.retired && p.users == 0
	d.mu.Unlock()
	if last {
		p.end()
	}
}

// discard gives up a process that has ended or hangs. The calls that it still has are broken off.
func (d *database) discard(p *process) {
	d.mu.Lock()
	mine := d.current == p
	if mine {
		d.current = nil
		if d.driver.Clock.Now().Sub(p.began) < soon {
			d.failedLocked(errors.New("the plugin ended or hung soon after it was started"))
		} else {
			d.failures = 0
		}
	}
	d.mu.Unlock()
	if mine {
		d.driver.Log.Warn("a plugin has ended or does not answer; it is started again when it is needed", "plugin", d.driver.Name)
		p.kill()
	}
}

// start makes a new process the present one. The caller has entered. verify has the plugin log in.
func (d *database) start(ctx context.Context, verify bool) error {
	if err := d.mayStart(); err != nil {
		return err
	}
	p, err := d.launch(ctx)
	if err != nil {
		err = plugins.Conceal(err, nil, d.masks, nil)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.failedLocked(err)
		return err
	}
	answer, err := p.rpc.Initialize(ctx, &proto.InitializeRequest{ConfigData: d.config, VerifyConnection: verify})
	if err != nil {
		p.kill() // answered or not: nothing else has been asked of it
		return plugins.Conceal(explained(err), context.Cause(ctx), d.masks, nil)
	}
	p.types = announced(answer.GetConfigData())
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		p.end()
		return errors.New("the connection was closed")
	}
	if d.program != p.sha256 {
		d.program = p.sha256
		for _, known := range d.naming {
			known.forget()
		}
	}
	old := d.replaceLocked(p)
	d.mu.Unlock()
	if old != nil {
		old.end()
	}
	return nil
}

// replaceLocked makes p the present process. The former one is returned when nobody uses it: the caller ends it.
func (d *database) replaceLocked(p *process) (idle *process) {
	old := d.current
	d.current = p
	if old == nil {
		return nil
	}
	old.retired = true
	if old.users > 0 {
		return nil
	}
	return old
}

// failedLocked plans the next start after a failure.
func (d *database) failedLocked(why error) {
	d.failures++
	d.why = why
	if d.failures > 1 {
		d.resume = d.driver.Clock.Now().Add(min(firstPause<<min(d.failures-2, 10), lastPause))
	}
}

func (d *database) mayStart() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := d.resume.Sub(d.driver.Clock.Now())
	switch {
	case d.closed:
		return errors.New("the connection was closed")
	case left <= 0 || left > lastPause: // longer than any pause: the clock was set back
		return nil
	}
	return fmt.Errorf("the plugin has failed %d times in a row and is started again in %s: %w", d.failures, left.Round(time.Second), d.why)
}

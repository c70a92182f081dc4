package tdstest

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"time"

	"leasehold/internal/clock"
)

// conn is a session.
type conn struct {
	server *Server
	net    net.Conn
	wire   net.Conn // net, or TLS over it

	id       int
	since    time.Time
	user     string // name of the login or contained user
	sid      []byte
	authDB   int // of a contained user: its database
	program  string
	home     string // the database that it logged in to
	database string // the one that it is in

	tx          *state // what the transaction has changed; nil: nothing
	transaction int    // how many BEGIN TRANSACTION there were
	lockTimeout time.Duration
	abortOnFail bool // XACT_ABORT

	variables map[string]any
	reply     *reply
	attention chan struct{} // the client wants the statement to end
	over      chan struct{} // the session was killed
	once      sync.Once
	gone      chan struct{} // the client is
	deaf      bool          // the client is gone, and the server does not know
}

var (
	errAttention = errors.New("cancelled by the client")
	errOver      = errors.New("the session is over")
)

func (c *conn) kill() {
	c.once.Do(func() {
		close(c.over)
		_ = c.net.Close()
	})
}

func (s *Server) serve(client net.Conn) {
	c := &conn{server: s, net: client, wire: client, since: clock.System{}.Now(), lockTimeout: -1,
		attention: make(chan struct{}, 1), over: make(chan struct{}), gone: make(chan struct{})}
	defer c.net.Close()
	if err := c.logIn(); err != nil {
		return
	}
	defer s.forget(c)
	defer c.rollback()
	requests := make(chan message)
	var reader sync.WaitGroup
	reader.Go(func() { c.listen(requests) })
	defer reader.Wait()
	defer c.kill()
	for {
		select {
		case m := <-requests:
			if c.answer(m) != nil {
				return
			}
		case <-c.attention:
			if writeMessage(c.wire, packetReply, (&reply{}).finish(doneAttention)) != nil {
				return
			}
		case <-c.over:
			return
		case <-c.gone:
			if c.deaf {
				<-c.over
			}
			return
		}
	}
}

// listen reads what the client says, an attention also while it is being served.
func (c *conn) listen(requests chan<- message) {
	defer close(c.gone)
	for {
		m, err := readMessage(c.wire)
		if err != nil {
			return
		}
		if m.kind == packetAttention {
			c.attention <- struct{}{}
			continue
		}
		select {
		case requests <- m:
		case <-c.over:
			return
		}
	}
}

// logIn speaks PRELOGIN, TLS and LOGIN7.
func (c *conn) logIn() error {
	m, err := readMessage(c.wire)
	if err != nil {
		return err
	}
	wanted, err := preloginEncryption(m.body)
	if err != nil || m.kind != packetPrelogin {
		return errors.New("no PRELOGIN")
	}
	c.server.mu.Lock()
	plain := c.server.plain
	c.server.mu.Unlock()
	offered := byte(encryptOn)
	switch {
	case plain || wanted == encryptNotSupported:
		offered = encryptNotSupported
	case wanted == encryptOff:
		offered = encryptOff // the login alone is encrypted
	}
	if err := writeMessage(c.wire, packetReply, preloginAnswer(offered)); err != nil {
		return err
	}
	if offered != encryptNotSupported {
		if c.wire, err = startTLS(c.net, c.server.config); err != nil {
			return err
		}
	}
	if m, err = readMessage(c.wire); err != nil || m.kind != packetLogin {
		return errors.New("no LOGIN7")
	}
	login, err := parseLogin(m.body)
	if err != nil {
		return err
	}
	if offered == encryptOff {
		c.wire = c.net
	}
	r := &reply{}
	refused := c.server.register(c, func(s *state) error { return c.authenticate(s, login) })
	var told *serverError
	if errors.As(refused, &told) {
		r.failure(told)
		_ = writeMessage(c.wire, packetReply, r.finish(doneError))
		return refused
	}
	if refused != nil {
		return refused
	}
	r.database(c.database, "")
	r.loginAck()
	if err := writeMessage(c.wire, packetReply, r.finish(0)); err != nil {
		c.server.forget(c)
		return err
	}
	return nil
}

// authenticate finds who logs in: a user of a contained database that is asked for, or a login.
func (c *conn) authenticate(s *state, l loginRequest) error {
	failed := &serverError{number: 18456, class: 14, text: "Login failed for user '" + l.user + "'."}
	noDatabase := &serverError{number: 4060, class: 11, text: "Cannot open database \"" + l.database + "\" requested by the login. The login failed."}
	c.program = l.program
	if d := s.databases[fold(l.database)]; d != nil && d.contained {
		if u := d.principals[fold(l.user)]; u != nil && u.hasPassword(l.password) {
			if !d.mayConnect(u) {
				return noDatabase
			}
			c.user, c.sid, c.authDB, c.home, c.database = u.name, bytes.Clone(u.sid), d.id, d.name, d.name
			return nil
		}
	}
	p := s.principals[fold(l.user)]
	if p == nil || p.role || !p.hasPassword(l.password) {
		return failed
	}
	if p.disabled {
		return &serverError{number: 18470, class: 14, text: "Login failed for user '" + l.user + "'. Reason: The account is disabled."}
	}
	c.user, c.sid = p.name, bytes.Clone(p.sid)
	name := l.database
	if name == "" {
		name = p.defaultDB
	}
	d := s.databases[fold(name)]
	if d == nil || !c.entersOf(s, d) {
		return noDatabase
	}
	c.home, c.database = d.name, d.name
	return nil
}

// answer serves a request. An error ends the session.
func (c *conn) answer(m message) error {
	c.reply = &reply{}
	if m.reset {
		c.reset()
	}
	sql, variables, err := c.request(m)
	if err != nil {
		return err
	}
	if c.server.loses(sql) {
		c.deaf = true
		_ = c.net.Close()
	}
	c.server.note(sql)
	c.variables = variables
	failed := 0
	if sql != "" {
		err = c.batch(sql)
	}
	var told *serverError
	switch {
	case errors.Is(err, errAttention):
		return writeMessage(c.wire, packetReply, c.reply.finish(doneAttention))
	case errors.As(err, &told):
		failed = doneError
	case err != nil:
		return err
	}
	if c.deaf {
		return nil // and the session stays
	}
	return writeMessage(c.wire, packetReply, c.reply.finish(failed))
}

// request reads what is to be run.
func (c *conn) request(m message) (sql string, variables map[string]any, err error) {
	body, err := withoutHeaders(m.body)
	if err != nil {
		return "", nil, err
	}
	variables = map[string]any{}
	switch m.kind {
	case packetBatch:
		return fromUTF16(body), variables, nil
	case packetRPC:
		one, err := parseCall(body)
		return one.sql, one.variables, err
	case packetTransMgr:
		if len(body) < 2 {
			break
		}
		switch body[0] {
		case 5:
			return "BEGIN TRANSACTION", variables, nil
		case 7:
			return "COMMIT TRANSACTION", variables, nil
		case 8:
			return "ROLLBACK TRANSACTION", variables, nil
		}
	}
	return "", nil, errors.New("tdstest: a request of another kind")
}

// reset makes the session as it was after the login, unless the server is told not to.
func (c *conn) reset() {
	c.server.mu.Lock()
	stale := c.server.stale
	c.server.mu.Unlock()
	if stale {
		return
	}
	c.rollback()
	if c.database != c.home {
		c.reply.database(c.home, c.database)
	}
	c.database, c.lockTimeout, c.abortOnFail = c.home, -1, false
}

// batch runs a batch.
func (c *conn) batch(sql string) error {
	statements, err := parse(sql)
	if err == nil {
		return c.run(statements)
	}
	var told *serverError
	if errors.As(err, &told) {
		c.reply.failure(told)
		told.told = true
	}
	return err
}

// run runs statements. One that fails does not keep the next from being run, unless its error says so, as on SQL Server.
func (c *conn) run(statements []statement) error {
	var failed error
	for _, one := range statements {
		err := c.statement(one)
		var told *serverError
		if err != nil && !errors.As(err, &told) {
			return err
		}
		if err != nil {
			failed = err
			if told.endBatch {
				break
			}
		}
	}
	return failed
}

// statement runs one and tells its error.
func (c *conn) statement(run statement) error {
	select {
	case <-c.over:
		return errOver
	case <-c.attention:
		return errAttention
	default:
	}
	err := run(c)
	var told *serverError
	if errors.As(err, &told) {
		if !told.told {
			c.reply.failure(told)
			told.told = true
		}
		if c.abortOnFail {
			c.endTransaction(10)
			told.endBatch = true
		}
	}
	return err
}

// read is the state that the session sees.
func (c *conn) read() *state {
	if c.tx != nil {
		return c.tx
	}
	return c.server.current()
}

// change changes the state, all or nothing, and waits until nobody else does.
func (c *conn) change(f func(*state) error) error {
	if c.tx == nil {
		if err := c.lock(); err != nil {
			return err
		}
	}
	changed := c.read().clone()
	err := f(changed)
	switch {
	case c.transaction > 0 && err == nil:
		c.tx = changed
	case c.transaction > 0 && c.tx == nil, c.transaction == 0:
		if err == nil {
			c.server.commit(changed)
		}
		<-c.server.writer
	}
	return err
}

func (c *conn) lock() error {
	var timeout <-chan time.Time
	if c.lockTimeout >= 0 {
		timer := time.NewTimer(c.lockTimeout)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case c.server.writer <- struct{}{}:
		return nil
	case <-timeout:
		return abort(1222, "Lock request time out period exceeded.")
	case <-c.attention:
		return errAttention
	case <-c.over:
		return errOver
	}
}

// endTransaction commits (9) or rolls back (10) and tells the client.
func (c *conn) endTransaction(how byte) {
	if c.transaction == 0 {
		return
	}
	if c.tx != nil {
		if how == 9 {
			c.server.commit(c.tx)
		}
		c.tx = nil
		<-c.server.writer
	}
	c.transaction = 0
	if c.reply != nil {
		c.reply.transaction(how, uint64(c.id))
	}
}

func (c *conn) rollback() { c.endTransaction(10) }

package tdstest

import (
	"strconv"
	"strings"
	"time"
)

// statement runs a statement for a session. A batch is parsed as a whole before any of it is run.
type statement func(c *conn) error

type parser struct {
	tokens []token
	at     int
}

func parse(sql string) (statements []statement, err error) {
	tokens, err := lex(sql)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	defer func() {
		if failed := recover(); failed != nil {
			told, ok := failed.(*serverError)
			if !ok {
				panic(failed)
			}
			err = told
		}
	}()
	for {
		for p.symbol(";") {
		}
		if p.peek().kind == end {
			return statements, nil
		}
		statements = append(statements, p.statement())
	}
}

func (p *parser) peek() token {
	if p.at < len(p.tokens) {
		return p.tokens[p.at]
	}
	return token{}
}

func (p *parser) next() token {
	t := p.peek()
	p.at++
	return t
}

// fail is a syntax error at the current token. It says that this is not SQL Server.
func (p *parser) fail() {
	t := p.peek()
	panic(sqlError(102, "Incorrect syntax near '%s'. (tdstest knows only a part of T-SQL.)", t.text))
}

// is reports whether the next tokens are these key words.
func (p *parser) is(words ...string) bool {
	for i, w := range words {
		if p.at+i >= len(p.tokens) || p.tokens[p.at+i].kind != word || !strings.EqualFold(p.tokens[p.at+i].text, w) {
			return false
		}
	}
	return true
}

// accept takes these key words when they come next.
func (p *parser) accept(words ...string) bool {
	if !p.is(words...) {
		return false
	}
	p.at += len(words)
	return true
}

func (p *parser) expect(words ...string) {
	if !p.accept(words...) {
		p.fail()
	}
}

func (p *parser) symbol(s string) bool {
	if t := p.peek(); t.kind != symbol || t.text != s {
		return false
	}
	p.at++
	return true
}

func (p *parser) expectSymbol(s string) {
	if !p.symbol(s) {
		p.fail()
	}
}

// reserved are words that are no bare names.
var reserved = strings.Fields("ADD ALTER AND AS AUTHORIZATION BEGIN BY CASE COMMIT CREATE DATABASE DECLARE DENY DROP ELSE END EXEC EXECUTE EXISTS FOR FROM GRANT IF IN IS JOIN KILL LEFT LIKE NOT NULL ON OR ORDER REVOKE ROLLBACK SCHEMA SELECT SET TABLE TO UNION USE USER VALUES WAITFOR WHERE WHILE WITH")

// name is an identifier.
func (p *parser) name() string {
	t := p.peek()
	switch t.kind {
	case quoted:
		p.at++
		return t.text
	case word:
		if strings.HasPrefix(t.text, "@") {
			break
		}
		for _, r := range reserved {
			if strings.EqualFold(r, t.text) {
				panic(sqlError(156, "Incorrect syntax near the keyword '%s'.", t.text))
			}
		}
		p.at++
		return t.text
	}
	p.fail()
	return ""
}

// names are identifiers with dots between them.
func (p *parser) names() []string {
	all := []string{p.name()}
	for p.symbol(".") {
		all = append(all, p.name())
	}
	return all
}

func (p *parser) text() string {
	if p.peek().kind != text {
		p.fail()
	}
	return p.next().text
}

func (p *parser) number() int {
	n, err := strconv.Atoi(p.peek().text)
	if p.peek().kind != number || err != nil {
		p.fail()
	}
	p.at++
	return n
}

func (p *parser) statement() statement {
	switch {
	case p.accept("BEGIN"):
		return p.begin()
	case p.accept("COMMIT"):
		p.transactionWord()
		return func(c *conn) error {
			switch c.transaction {
			case 0:
				return sqlError(3902, "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.")
			case 1:
				c.endTransaction(9)
			default:
				c.transaction--
			}
			return nil
		}
	case p.accept("ROLLBACK"):
		p.transactionWord()
		return func(c *conn) error {
			if c.transaction == 0 {
				return sqlError(3903, "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.")
			}
			c.rollback()
			return nil
		}
	case p.accept("IF"):
		return p.condition()
	case p.accept("WHILE"):
		return p.loop()
	case p.accept("USE"):
		database := p.name()
		return func(c *conn) error { return c.use(database) }
	case p.accept("SET"):
		return p.set()
	case p.accept("DECLARE"):
		return p.declare()
	case p.accept("EXEC"), p.accept("EXECUTE"):
		return p.execute()
	case p.is("SELECT"):
		return p.selection()
	case p.accept("KILL"):
		id := p.number()
		return func(c *conn) error { return c.killSession(id) }
	case p.accept("WAITFOR", "DELAY"):
		delay := p.text()
		return func(c *conn) error { return c.waitFor(delay) }
	case p.accept("RAISERROR"):
		p.expectSymbol("(")
		message := p.expression()
		p.expectSymbol(",")
		severity := p.number()
		p.expectSymbol(",")
		p.number()
		p.expectSymbol(")")
		return raise(message, func() *serverError { return &serverError{number: 50000, class: uint8(severity)} })
	case p.accept("THROW"):
		n := p.number()
		p.expectSymbol(",")
		message := p.expression()
		p.expectSymbol(",")
		p.number()
		return raise(message, func() *serverError { return abort(int32(n), "") })
	case p.is("GRANT"), p.is("DENY"), p.is("REVOKE"):
		return p.permission()
	}
	return p.definition()
}

func raise(message expression, make func() *serverError) statement {
	return func(c *conn) error {
		v, err := message(c, nil)
		if err != nil {
			return err
		}
		e := make()
		e.text, _ = v.(string)
		return e
	}
}

// transactionWord passes over the word that may follow BEGIN, COMMIT and ROLLBACK.
func (p *parser) transactionWord() bool { return p.accept("TRANSACTION") || p.accept("TRAN") }

// begin is a block, or the begin of a transaction.
func (p *parser) begin() statement {
	if p.transactionWord() {
		return func(c *conn) error {
			c.transaction++
			if c.transaction == 1 {
				c.reply.transaction(8, uint64(c.id))
			}
			return nil
		}
	}
	var block []statement
	for {
		for p.symbol(";") {
		}
		if p.accept("END") {
			break
		}
		block = append(block, p.statement())
	}
	if len(block) == 0 {
		p.fail()
	}
	return func(c *conn) error { return c.run(block) }
}

func (p *parser) condition() statement {
	holds, yes := p.expression(), p.statement()
	mark := p.at
	for p.symbol(";") {
	}
	var no statement
	if p.accept("ELSE") {
		no = p.statement()
	} else {
		p.at = mark
	}
	return func(c *conn) error {
		v, err := holds(c, nil)
		switch {
		case err != nil:
			return err
		case v == true:
			return c.statement(yes)
		case no != nil:
			return c.statement(no)
		}
		return nil
	}
}

func (p *parser) loop() statement {
	holds, body := p.expression(), p.statement()
	return func(c *conn) error {
		for {
			v, err := holds(c, nil)
			if err != nil || v != true {
				return err
			}
			if err := c.statement(body); err != nil {
				return err
			}
		}
	}
}

// set is SET of a variable or of an option. Options that say nothing here are taken when they are what a driver has set.
func (p *parser) set() statement {
	if t := p.peek(); t.kind == word && strings.HasPrefix(t.text, "@") {
		p.at++
		p.expectSymbol("=")
		return assign(t.text, p.expression())
	}
	switch {
	case p.accept("LOCK_TIMEOUT"):
		sign := 1
		if p.symbol("-") {
			sign = -1
		}
		n := sign * p.number()
		return func(c *conn) error { c.lockTimeout = time.Duration(n) * time.Millisecond; return nil }
	case p.accept("XACT_ABORT"):
		on := p.onOff()
		return func(c *conn) error { c.abortOnFail = on; return nil }
	case p.accept("NOCOUNT"), p.accept("QUOTED_IDENTIFIER", "ON"), p.accept("ANSI_NULLS", "ON"):
		if p.is("ON") || p.is("OFF") {
			p.at++
		}
		return func(*conn) error { return nil }
	}
	p.fail()
	return nil
}

func (p *parser) onOff() bool {
	if p.accept("ON") {
		return true
	}
	p.expect("OFF")
	return false
}

func assign(variable string, value expression) statement {
	return func(c *conn) error {
		if _, declared := c.variables[fold(variable)]; !declared {
			return abort(137, "Must declare the scalar variable \"%s\".", variable)
		}
		v, err := value(c, nil)
		c.variables[fold(variable)] = v
		return err
	}
}

func (p *parser) declare() statement {
	var all []statement
	for {
		variable := p.next()
		if variable.kind != word || !strings.HasPrefix(variable.text, "@") {
			p.at--
			p.fail()
		}
		p.accept("AS")
		p.typeName()
		set := statement(func(*conn) error { return nil })
		if p.symbol("=") {
			set = assign(variable.text, p.expression())
		}
		all = append(all, func(c *conn) error {
			c.variables[fold(variable.text)] = nil
			return set(c)
		})
		if !p.symbol(",") {
			break
		}
	}
	return func(c *conn) error { return c.run(all) }
}

// typeName passes over a type.
func (p *parser) typeName() string {
	name := strings.ToLower(p.name())
	switch name {
	case "int", "bigint", "sysname", "nvarchar", "varchar", "varbinary", "bit":
	default:
		p.fail()
	}
	if p.symbol("(") {
		if !p.accept("MAX") {
			p.number()
		}
		p.expectSymbol(")")
	}
	return name
}

// use goes to another database.
func (c *conn) use(name string) error {
	d := c.read().databases[fold(name)]
	switch {
	case d == nil:
		return abort(911, "Database '%s' does not exist. Make sure that the name is entered correctly.", name)
	case c.authDB != 0 && c.authDB != d.id, !c.enters(d):
		return abort(916, "The server principal \"%s\" is not able to access the database \"%s\" under the current security context.", c.user, d.name)
	}
	c.reply.database(d.name, c.database)
	c.database = d.name
	return nil
}

// waitFor waits as long as hh:mm:ss says.
func (c *conn) waitFor(delay string) error {
	at, err := time.Parse("15:04:05", delay)
	if err != nil {
		return sqlError(148, "Incorrect time syntax in time string '%s' used with WAITFOR.", delay)
	}
	timer := time.NewTimer(at.Sub(at.Truncate(24 * time.Hour)))
	defer timer.Stop()
	gone := c.gone
	if c.deaf {
		gone = nil
	}
	select {
	case <-timer.C:
		return nil
	case <-c.attention:
		return errAttention
	case <-gone:
		return errOver
	case <-c.over:
		return errOver
	}
}

// killSession ends another session.
func (c *conn) killSession(id int) error {
	if !c.hasServer("ALTER ANY CONNECTION") {
		return sqlError(6102, "User does not have permission to use the KILL statement.")
	}
	switch {
	case c.transaction > 0:
		return sqlError(6115, "KILL command cannot be used inside user transactions.")
	case id == c.id:
		return sqlError(6104, "Cannot use KILL to kill your own process.")
	}
	for _, other := range c.server.sessions() {
		if other.id == id {
			other.kill()
			return nil
		}
	}
	return sqlError(6106, "Process ID %d is not an active process ID.", id)
}

package tdstest

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf16"
)

// definition is CREATE, ALTER or DROP.
func (p *parser) definition() statement {
	for _, one := range []struct {
		words string
		parse func() statement
	}{
		{"CREATE LOGIN", p.createLogin}, {"ALTER LOGIN", p.alterLogin}, {"DROP LOGIN", p.dropLogin},
		{"CREATE SERVER ROLE", p.createServerRole}, {"ALTER SERVER ROLE", p.alterServerRole}, {"DROP SERVER ROLE", p.dropServerRole},
		{"CREATE DATABASE", p.createDatabase}, {"DROP DATABASE", p.dropDatabase},
		{"CREATE USER", p.createUser}, {"ALTER USER", p.alterUser}, {"DROP USER", p.dropUser},
		{"CREATE ROLE", p.createRole}, {"ALTER ROLE", p.alterRole}, {"DROP ROLE", p.dropRole},
		{"CREATE SCHEMA", p.createSchema}, {"DROP SCHEMA", p.dropSchema}, {"CREATE TABLE", p.createTable}, {"DROP TABLE", p.dropTable},
		{"ALTER AUTHORIZATION ON", p.authorization},
	} {
		if p.accept(strings.Fields(one.words)...) {
			return one.parse()
		}
	}
	p.fail()
	return nil
}

// options are those after WITH.
type options struct {
	password, oldPassword       *string
	name, schema, login, deflDB string
	sid                         []byte
}

func (p *parser) options() (o options) {
	for {
		switch {
		case p.accept("PASSWORD"):
			p.expectSymbol("=")
			password := p.text()
			o.password = &password
			if p.accept("OLD_PASSWORD") {
				p.expectSymbol("=")
				old := p.text()
				o.oldPassword = &old
			}
		case p.accept("SID"):
			p.expectSymbol("=")
			v, err := p.atom()(nil, nil)
			if raw, is := v.([]byte); is && err == nil {
				o.sid = raw
				break
			}
			p.fail()
		case p.accept("NAME"):
			p.expectSymbol("=")
			o.name = p.name()
		case p.accept("LOGIN"):
			p.expectSymbol("=")
			o.login = p.name()
		case p.accept("DEFAULT_SCHEMA"):
			p.expectSymbol("=")
			o.schema = p.name()
		case p.accept("DEFAULT_DATABASE"):
			p.expectSymbol("=")
			o.deflDB = p.name()
		case p.accept("CHECK_POLICY"), p.accept("CHECK_EXPIRATION"):
			p.expectSymbol("=")
			p.onOff()
		default:
			p.fail()
		}
		if !p.symbol(",") {
			return o
		}
	}
}

// knows reports whether the old password is the right one, where one is given. What the server does with a wrong one of somebody who
// need not give any is not documented; here it is refused.
func (o options) knows(p *principal) bool {
	return o.oldPassword == nil || p.hasPassword(*o.oldPassword)
}

// changesOwn reports whether the options are what a login or user may do to itself without a right to do it to others.
func (o options) changesOwn() bool { return o.oldPassword != nil && o.name == "" && o.login == "" }

// policy refuses passwords, where that is asked for, as Windows' policy does: eight characters, three of four kinds.
func (c *conn) policy(password string) error {
	c.server.mu.Lock()
	strict := c.server.strict
	c.server.mu.Unlock()
	if !strict {
		return nil
	}
	kinds := map[int]bool{}
	for _, r := range password {
		switch {
		case unicode.IsUpper(r):
			kinds[0] = true
		case unicode.IsLower(r):
			kinds[1] = true
		case unicode.IsDigit(r):
			kinds[2] = true
		default:
			kinds[3] = true
		}
	}
	if len(password) < 8 {
		return sqlError(15116, "Password validation failed. The password does not meet the operating system policy requirements because it is too short.")
	}
	if len(kinds) < 3 {
		return sqlError(15118, "Password validation failed. The password does not meet the operating system policy requirements because it is not complex enough.")
	}
	return nil
}

// checkName refuses what is no name.
func checkName(name string) error {
	if name == "" || strings.ContainsAny(name, "\\\x00") || strings.TrimSpace(name) == "" {
		return sqlError(15006, "'%s' is not a valid name because it contains invalid characters.", name)
	}
	if len(utf16.Encode([]rune(name))) > 128 {
		return sqlError(103, "The identifier that starts with '%.20s' is too long. Maximum length is 128.", name)
	}
	return nil
}

var errNoRight = func() *serverError { return sqlError(15247, "User does not have permission to perform this action.") }

func (p *parser) createLogin() statement {
	name := p.name()
	p.expect("WITH")
	o := p.options()
	if o.password == nil {
		p.fail()
	}
	return func(c *conn) error {
		if !c.hasServer("ALTER ANY LOGIN") {
			return errNoRight()
		}
		return c.change(func(s *state) error {
			if err := checkName(name); err != nil {
				return err
			}
			if s.principals[fold(name)] != nil {
				return sqlError(15025, "The server principal '%s' already exists.", name)
			}
			if err := c.policy(*o.password); err != nil {
				return err
			}
			login := &principal{name: strings.TrimRight(name, " "), id: s.id(), sid: o.sid, defaultDB: o.deflDB}
			if login.sid == nil {
				login.sid = random(16)
			}
			if login.defaultDB == "" {
				login.defaultDB = "master"
			}
			login.setPassword(*o.password)
			s.principals[fold(name)] = login
			return nil
		})
	}
}

// serverPrincipal finds one that may be touched.
func (c *conn) serverPrincipal(s *state, do, what, name string) (*principal, error) {
	p := s.principals[fold(name)]
	if p == nil || p.role != (what == "server role") {
		return nil, sqlError(15151, "Cannot %s the %s '%s', because it does not exist or you do not have permission.", do, what, name)
	}
	return p, nil
}

func (p *parser) alterLogin() statement {
	name := p.name()
	var o options
	disable, enable := p.accept("DISABLE"), p.accept("ENABLE")
	if !disable && !enable {
		p.expect("WITH")
		o = p.options()
	}
	return func(c *conn) error {
		return c.change(func(s *state) error {
			login, err := c.serverPrincipal(s, "alter", "login", name)
			if err != nil {
				return err
			}
			if !o.knows(login) {
				return cannot("alter", "login", name)
			}
			own := o.changesOwn() && c.authDB == 0 && bytes.Equal(login.sid, c.sid)
			strong := circle(s.principals, login.id)[s.principals["sysadmin"].id]
			if !own && (!c.hasServer("ALTER ANY LOGIN") || strong && !c.hasServer("CONTROL SERVER")) {
				return cannot("alter", "login", name)
			}
			if o.password != nil {
				if err := c.policy(*o.password); err != nil {
					return err
				}
				login.setPassword(*o.password)
			}
			if disable || enable {
				login.disabled = disable
			}
			if o.deflDB != "" {
				login.defaultDB = o.deflDB
			}
			if o.name != "" {
				if s.principals[fold(o.name)] != nil {
					return sqlError(15025, "The server principal '%s' already exists.", o.name)
				}
				delete(s.principals, fold(login.name))
				login.name = o.name
				s.principals[fold(o.name)] = login
			}
			return nil
		})
	}
}

func (p *parser) dropLogin() statement {
	name := p.name()
	return func(c *conn) error {
		return c.change(func(s *state) error {
			login, err := c.serverPrincipal(s, "drop", "login", name)
			if err != nil || !c.hasServer("ALTER ANY LOGIN") {
				return sqlError(15151, "Cannot drop the login '%s', because it does not exist or you do not have permission.", name)
			}
			for _, other := range c.server.sessions() {
				if other.authDB == 0 && bytes.Equal(other.sid, login.sid) {
					return sqlError(15434, "Could not drop login '%s' as the user is currently logged in.", name)
				}
			}
			for _, d := range s.databases {
				if bytes.Equal(d.owner, login.sid) {
					return sqlError(15174, "Login '%s' owns one or more database(s). Change the owner of the database(s) before dropping the login.", name)
				}
			}
			for _, role := range s.principals {
				if role.role && role.owner == login.id {
					return sqlError(15141, "The server principal owns one or more server role(s) and cannot be dropped.")
				}
			}
			for _, g := range s.grants {
				if g.grantor == login.id {
					return sqlError(15173, "Server principal '%s' has granted one or more permission(s). Revoke the permission(s) before dropping the server principal.", name)
				}
			}
			delete(s.principals, fold(name))
			s.grants = dropMember(s.principals, s.grants, login.id)
			return nil
		})
	}
}

func (p *parser) createServerRole() statement {
	name := p.name()
	return func(c *conn) error {
		if !c.hasServer("CREATE SERVER ROLE") && !c.hasServer("ALTER ANY SERVER ROLE") {
			return errNoRight()
		}
		return c.change(func(s *state) error {
			if err := checkName(name); err != nil {
				return err
			}
			if s.principals[fold(name)] != nil {
				return sqlError(15025, "The server principal '%s' already exists.", name)
			}
			s.principals[fold(name)] = &principal{name: name, id: s.id(), role: true, sid: random(16), owner: c.login(s).id, members: map[int]bool{}}
			return nil
		})
	}
}

// member reads ADD MEMBER or DROP MEMBER, and a name.
func (p *parser) member() (add bool, name string) {
	if add = p.accept("ADD"); !add {
		p.expect("DROP")
	}
	p.expect("MEMBER")
	return add, p.name()
}

func (p *parser) alterServerRole() statement {
	name := p.name()
	add, member := p.member()
	return func(c *conn) error { return c.setServerMember(name, member, add) }
}

func (c *conn) setServerMember(name, member string, add bool) error {
	return c.change(func(s *state) error {
		role, err := c.serverPrincipal(s, "alter", "server role", name)
		if err != nil || !c.ownsServerRole(role) && !c.hasServer("ALTER ANY SERVER ROLE") {
			return sqlError(15151, "Cannot alter the server role '%s', because it does not exist or you do not have permission.", name)
		}
		who := s.principals[fold(member)]
		if who == nil {
			return sqlError(15151, "Cannot add the principal '%s', because it does not exist or you do not have permission.", member)
		}
		delete(role.members, who.id)
		if add {
			role.members[who.id] = true
		}
		return nil
	})
}

func (p *parser) dropServerRole() statement {
	name := p.name()
	return func(c *conn) error {
		return c.change(func(s *state) error {
			role, err := c.serverPrincipal(s, "drop", "server role", name)
			switch {
			case err != nil || role.fixed || !c.ownsServerRole(role) && !c.hasServer("ALTER ANY SERVER ROLE"):
				return sqlError(15151, "Cannot drop the server role '%s', because it does not exist or you do not have permission.", name)
			case len(role.members) > 0:
				return sqlError(15144, "The role has members. It must be empty before it can be dropped.")
			}
			delete(s.principals, fold(name))
			s.grants = dropMember(s.principals, s.grants, role.id)
			return nil
		})
	}
}

func (p *parser) createDatabase() statement {
	name, contained := p.name(), false
	if p.accept("CONTAINMENT") {
		p.expectSymbol("=")
		if contained = p.accept("PARTIAL"); !contained {
			p.expect("NONE")
		}
	}
	return func(c *conn) error {
		if !c.hasServer("CREATE ANY DATABASE") {
			return sqlError(262, "CREATE DATABASE permission denied in database 'master'.")
		}
		if c.transaction > 0 {
			return abort(226, "CREATE DATABASE statement not allowed within multi-statement transaction.")
		}
		return c.change(func(s *state) error {
			if s.databases[fold(name)] != nil {
				return sqlError(1801, "Database '%s' already exists. Choose a different database name.", name)
			}
			d := s.newDatabase(name, s.id(), bytes.Clone(c.sid))
			d.contained = contained
			s.databases[fold(name)] = d
			return nil
		})
	}
}

func (p *parser) dropDatabase() statement {
	name := p.name()
	return func(c *conn) error {
		return c.change(func(s *state) error {
			d := s.databases[fold(name)]
			if d == nil || !c.has(d, "CONTROL", "DATABASE", "") {
				return sqlError(3701, "Cannot drop the database '%s', because it does not exist or you do not have permission.", name)
			}
			for _, other := range c.server.sessions() {
				if fold(other.database) == fold(name) {
					return sqlError(3702, "Cannot drop database \"%s\" because it is currently in use.", name)
				}
			}
			delete(s.databases, fold(name))
			return nil
		})
	}
}

package tdstest

import (
	"bytes"
	"strings"
)

// inDatabase changes the database that the session is in.
func (c *conn) inDatabase(f func(s *state, d *database) error) error {
	return c.change(func(s *state) error { return f(s, s.databases[fold(c.database)]) })
}

func cannot(do, what, name string) error {
	return sqlError(15151, "Cannot %s the %s '%s', because it does not exist or you do not have permission.", do, what, name)
}

func (p *parser) createUser() statement {
	name, login := p.name(), ""
	var o options
	without := false
	switch {
	case p.accept("FOR", "LOGIN"), p.accept("FROM", "LOGIN"):
		login = p.name()
	case p.accept("WITHOUT", "LOGIN"):
		without = true
	}
	if p.accept("WITH") {
		o = p.options()
	}
	return func(c *conn) error {
		if !c.has(c.here(), "ALTER ANY USER", "DATABASE", "") {
			return errNoRight()
		}
		return c.inDatabase(func(s *state, d *database) error {
			if err := checkName(name); err != nil {
				return err
			}
			if d.principals[fold(name)] != nil {
				return sqlError(15023, "User, group, or role '%s' already exists in the current database.", name)
			}
			u := &principal{name: strings.TrimRight(name, " "), id: s.id(), property: map[string]string{}}
			switch {
			case o.password != nil && !d.contained:
				return sqlError(33233, "You can only create a user with a password in a contained database.")
			case o.password != nil:
				if err := c.policy(*o.password); err != nil {
					return err
				}
				u.setPassword(*o.password)
				u.sid = random(28)
			case without:
				u.sid = random(28)
			default:
				if login == "" {
					login = name
				}
				p := s.principals[fold(login)]
				if p == nil || p.role {
					return sqlError(15007, "'%s' is not a valid login or you do not have permission.", login)
				}
				if other := bySID(d.principals, p.sid); other != nil {
					return sqlError(15063, "The login already has an account under a different user name.")
				}
				u.sid = bytes.Clone(p.sid)
			}
			d.principals[fold(name)] = u
			d.grants = append(d.grants, grant{grantee: u.id, grantor: 1, permission: "CONNECT", class: "DATABASE", kind: 'G'})
			return nil
		})
	}
}

func (p *parser) alterUser() statement {
	name := p.name()
	p.expect("WITH")
	o := p.options()
	return func(c *conn) error {
		return c.inDatabase(func(s *state, d *database) error {
			u := d.principals[fold(name)]
			if u == nil || u.role || !o.knows(u) {
				return cannot("alter", "user", name)
			}
			own := o.changesOwn() && c.authDB == d.id && bytes.Equal(u.sid, c.sid)
			if !own && !c.has(d, "ALTER ANY USER", "DATABASE", "") {
				return cannot("alter", "user", name)
			}
			if o.password != nil {
				if u.salt == nil {
					return sqlError(33234, "The parameter PASSWORD cannot be provided for users that cannot authenticate in a database.")
				}
				if err := c.policy(*o.password); err != nil {
					return err
				}
				u.setPassword(*o.password)
			}
			if o.login != "" {
				p := s.principals[fold(o.login)]
				if p == nil {
					return sqlError(15007, "'%s' is not a valid login or you do not have permission.", o.login)
				}
				u.sid = bytes.Clone(p.sid)
			}
			return nil
		})
	}
}

func (p *parser) ifExists() bool { return p.accept("IF", "EXISTS") }

func (p *parser) dropUser() statement {
	lenient, name := p.ifExists(), p.name()
	return func(c *conn) error {
		return c.inDatabase(func(s *state, d *database) error {
			u := d.principals[fold(name)]
			if u == nil && lenient {
				return nil
			}
			if u == nil || u.role || u.fixed || !c.has(d, "ALTER ANY USER", "DATABASE", "") {
				return cannot("drop", "user", name)
			}
			return dropPrincipal(d, u)
		})
	}
}

// dropPrincipal drops a user or role that owns nothing.
func dropPrincipal(d *database, p *principal) error {
	for _, schema := range d.schemas {
		if schema.owner == p.id {
			return sqlError(15138, "The database principal owns a schema in the database, and cannot be dropped.")
		}
	}
	for _, role := range d.principals {
		if role.role && role.owner == p.id {
			return sqlError(15421, "The database principal owns a database role and cannot be dropped.")
		}
	}
	for _, object := range d.objects {
		if object.owner == p.id {
			return sqlError(15183, "The database principal owns objects in the database and cannot be dropped.")
		}
	}
	for _, g := range d.grants {
		if g.grantor == p.id {
			return sqlError(15284, "The database principal has granted or denied permissions to objects in the database and cannot be dropped.")
		}
	}
	if p.role && len(p.members) > 0 {
		return sqlError(15144, "The role has members. It must be empty before it can be dropped.")
	}
	delete(d.principals, fold(p.name))
	d.grants = dropMember(d.principals, d.grants, p.id)
	return nil
}

// authorizationWord reads the owner of what is created.
func (p *parser) authorizationWord() string {
	if p.accept("AUTHORIZATION") {
		return p.name()
	}
	return ""
}

// ownerID is who is to own what is created: whoever creates it, when nobody is named.
func (c *conn) ownerID(s *state, d *database, name string) (int, error) {
	if name == "" {
		return c.userOf(s, d).id, nil
	}
	p := d.principals[fold(name)]
	if p == nil {
		return 0, cannot("find", "user", name)
	}
	return p.id, nil
}

func (p *parser) createRole() statement {
	name, owner := p.name(), p.authorizationWord()
	return func(c *conn) error {
		if !c.has(c.here(), "CREATE ROLE", "DATABASE", "") && !c.has(c.here(), "ALTER ANY ROLE", "DATABASE", "") {
			return errNoRight()
		}
		return c.inDatabase(func(s *state, d *database) error {
			if d.principals[fold(name)] != nil {
				return sqlError(15023, "User, group, or role '%s' already exists in the current database.", name)
			}
			id, err := c.ownerID(s, d, owner)
			d.principals[fold(name)] = &principal{name: name, id: s.id(), role: true, owner: id, members: map[int]bool{}, property: map[string]string{}}
			return err
		})
	}
}

func (p *parser) alterRole() statement {
	name := p.name()
	add, member := p.member()
	return func(c *conn) error { return c.setMember(name, member, add) }
}

func (c *conn) setMember(name, member string, add bool) error {
	return c.inDatabase(func(s *state, d *database) error {
		role := d.principals[fold(name)]
		if role == nil || !role.role || !c.has(d, "ALTER ANY ROLE", "DATABASE", "") && !c.has(d, "ALTER", "ROLE", fold(name)) {
			return cannot("alter", "role", name)
		}
		if u := c.userOf(s, d); role.fixed && u.name != "dbo" && !circle(d.principals, u.id)[d.principals["db_owner"].id] {
			return cannot("alter", "role", name)
		}
		who := d.principals[fold(member)]
		if who == nil {
			return sqlError(15410, "User or role '%s' does not exist in this database.", member)
		}
		delete(role.members, who.id)
		if add {
			role.members[who.id] = true
		}
		return nil
	})
}

func (p *parser) dropRole() statement {
	lenient, name := p.ifExists(), p.name()
	return func(c *conn) error {
		return c.inDatabase(func(s *state, d *database) error {
			role := d.principals[fold(name)]
			if role == nil && lenient {
				return nil
			}
			if role == nil || !role.role || role.fixed || !c.has(d, "ALTER ANY ROLE", "DATABASE", "") && !c.has(d, "CONTROL", "ROLE", fold(name)) {
				return cannot("drop", "role", name)
			}
			return dropPrincipal(d, role)
		})
	}
}

func (p *parser) createSchema() statement {
	name, owner := p.name(), p.authorizationWord()
	return func(c *conn) error {
		if !c.has(c.here(), "CREATE SCHEMA", "DATABASE", "") {
			return sqlError(2759, "CREATE SCHEMA failed due to previous errors.")
		}
		return c.inDatabase(func(s *state, d *database) error {
			if d.schemas[fold(name)] != nil {
				return sqlError(2714, "There is already an object named '%s' in the database.", name)
			}
			id, err := c.ownerID(s, d, owner)
			d.schemas[fold(name)] = &owned{name: name, id: s.id(), owner: id}
			return err
		})
	}
}

func (p *parser) dropSchema() statement {
	name := p.name()
	return func(c *conn) error {
		return c.inDatabase(func(s *state, d *database) error {
			if d.schemas[fold(name)] == nil || !c.has(d, "CONTROL", "SCHEMA", fold(name)) {
				return cannot("drop", "schema", name)
			}
			for _, object := range d.objects {
				if fold(object.schema) == fold(name) {
					return sqlError(3729, "Cannot drop schema '%s' because it is being referenced by object '%s'.", name, object.name)
				}
			}
			delete(d.schemas, fold(name))
			return nil
		})
	}
}

// tableName reads [schema.]name.
func (p *parser) tableName() (schema, name string) {
	names := p.names()
	if len(names) > 2 {
		p.fail()
	}
	if len(names) == 2 {
		return names[0], names[1]
	}
	return "dbo", names[0]
}

// createTable passes over the columns: tables are there to be owned and to be read, and are empty.
func (p *parser) createTable() statement {
	schema, name := p.tableName()
	p.expectSymbol("(")
	for depth := 1; depth > 0; {
		switch t := p.next(); {
		case t.kind == end:
			p.fail()
		case t == token{symbol, "("}:
			depth++
		case t == token{symbol, ")"}:
			depth--
		}
	}
	return func(c *conn) error {
		if !c.has(c.here(), "CREATE TABLE", "DATABASE", "") {
			return sqlError(262, "CREATE TABLE permission denied in database '%s'.", c.database)
		}
		return c.inDatabase(func(s *state, d *database) error {
			key := fold(schema) + "." + fold(name)
			if d.schemas[fold(schema)] == nil || d.objects[key] != nil {
				return sqlError(2714, "There is already an object named '%s' in the database, or no schema '%s'.", name, schema)
			}
			d.objects[key] = &owned{schema: schema, name: name, id: s.id()}
			return nil
		})
	}
}

func (p *parser) dropTable() statement {
	schema, name := p.tableName()
	return func(c *conn) error {
		return c.inDatabase(func(s *state, d *database) error {
			key := fold(schema) + "." + fold(name)
			if d.objects[key] == nil || !c.has(d, "CONTROL", "OBJECT", key) {
				return sqlError(3701, "Cannot drop the table '%s', because it does not exist or you do not have permission.", name)
			}
			delete(d.objects, key)
			return nil
		})
	}
}

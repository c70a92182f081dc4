package tdstest

import (
	"bytes"
	"slices"
)

// fixedRights are what roles that come with the server or database may do.
var fixedRights = map[string][]string{
	"securityadmin":     {"ALTER ANY LOGIN", "CONNECT SQL"},
	"processadmin":      {"ALTER ANY CONNECTION", "VIEW SERVER STATE"},
	"dbcreator":         {"CREATE ANY DATABASE"},
	"db_accessadmin":    {"ALTER ANY USER", "CONNECT", "CREATE SCHEMA"},
	"db_securityadmin":  {"ALTER ANY ROLE", "CREATE SCHEMA", "VIEW DEFINITION"},
	"db_ddladmin":       {"ALTER ANY SCHEMA", "CREATE SCHEMA", "CREATE TABLE", "CREATE ROLE", "VIEW DEFINITION"},
	"db_datareader":     {"SELECT"},
	"db_datawriter":     {"INSERT", "UPDATE", "DELETE"},
	"db_backupoperator": {"BACKUP DATABASE"},
}

// here is the database that the session is in.
func (c *conn) here() *database { return c.read().databases[fold(c.database)] }

// login is the session's login; nil for a contained user, and when it is not there any more.
func (c *conn) login(s *state) *principal {
	if c.authDB != 0 {
		return nil
	}
	return bySID(s.principals, c.sid)
}

// hasServer reports whether the session has a right on the server.
func (c *conn) hasServer(permission string) bool { return c.hasServerOf(c.read(), permission) }

func (c *conn) hasServerOf(s *state, permission string) bool {
	p := c.login(s)
	if p == nil {
		return false
	}
	in := circle(s.principals, p.id)
	if in[s.principals["sysadmin"].id] {
		return true
	}
	if permission == "VIEW ANY DATABASE" || permission == "CONNECT SQL" {
		return true
	}
	for _, g := range s.grants {
		if in[g.grantee] && g.class == "SERVER" && g.kind == 'D' && g.permission == permission {
			return false
		}
	}
	for name, role := range s.principals {
		if role.fixed && role.role && in[role.id] && slices.Contains(fixedRights[name], permission) {
			return true
		}
	}
	return slices.ContainsFunc(s.grants, func(g grant) bool {
		return in[g.grantee] && g.class == "SERVER" && g.kind != 'D' && (g.permission == permission || g.permission == "CONTROL SERVER")
	})
}

// ownsServerRole reports whether the session's login, or a role of its, owns a server role.
func (c *conn) ownsServerRole(role *principal) bool {
	p := c.login(c.read())
	return p != nil && circle(c.read().principals, p.id)[role.owner]
}

// userOf is who the session is in a database; nil: nobody. A login that owns the database or may do everything is dbo.
func (c *conn) userOf(s *state, d *database) *principal {
	if c.authDB != 0 {
		if c.authDB != d.id {
			return nil
		}
		return bySID(d.principals, c.sid)
	}
	if c.hasServerOf(s, "CONTROL SERVER") || c.login(s) != nil && bytes.Equal(d.owner, c.sid) {
		return d.principals["dbo"]
	}
	if c.login(s) == nil {
		return nil
	}
	if u := bySID(d.principals, c.sid); u != nil {
		return u
	}
	if slices.Contains([]string{"master", "tempdb", "msdb"}, d.name) {
		return d.principals["guest"]
	}
	return nil
}

// mayConnect reports whether a user has CONNECT, which each has from the start, and nobody took it.
func (d *database) mayConnect(u *principal) bool {
	in := circle(d.principals, u.id)
	denied, granted := false, u.fixed
	for _, g := range d.grants {
		if in[g.grantee] && g.permission == "CONNECT" && g.class == "DATABASE" {
			denied, granted = denied || g.kind == 'D', granted || g.kind != 'D'
		}
	}
	return granted && !denied
}

func (c *conn) entersOf(s *state, d *database) bool {
	u := c.userOf(s, d)
	return u != nil && d.mayConnect(u)
}

func (c *conn) enters(d *database) bool { return c.entersOf(c.read(), d) }

// has reports whether the session has a right on something in a database.
func (c *conn) has(d *database, permission, class, target string) bool {
	u := c.userOf(c.read(), d)
	if u == nil {
		return false
	}
	in := circle(d.principals, u.id)
	if u.name == "dbo" || in[d.principals["db_owner"].id] {
		return true
	}
	covers := func(g grant) bool {
		switch g.class {
		case "DATABASE":
			return true
		case "SCHEMA":
			return class == "SCHEMA" && g.target == target || class == "OBJECT" && d.objects[target] != nil && fold(d.objects[target].schema) == g.target
		}
		return g.class == class && g.target == target
	}
	for _, g := range d.grants {
		if in[g.grantee] && g.kind == 'D' && g.permission == permission && covers(g) {
			return false
		}
	}
	if owner, owned := ownerOf(d, class, target); owned && in[owner] {
		return true
	}
	for name, rights := range fixedRights {
		if role := d.principals[name]; role != nil && in[role.id] && slices.Contains(rights, permission) {
			return true
		}
	}
	return slices.ContainsFunc(d.grants, func(g grant) bool {
		return in[g.grantee] && g.kind != 'D' && covers(g) && (g.permission == permission || g.permission == "CONTROL" ||
			g.permission == "ALTER" && (permission == "VIEW DEFINITION" || g.class == "DATABASE" && (permission == "ALTER ANY USER" || permission == "ALTER ANY ROLE" || permission == "ALTER ANY SCHEMA")))
	})
}

// ownerOf is to whom something belongs.
func ownerOf(d *database, class, target string) (owner int, owned bool) {
	switch class {
	case "SCHEMA":
		if s := d.schemas[target]; s != nil {
			return s.owner, true
		}
	case "OBJECT":
		if o := d.objects[target]; o != nil && o.owner != 0 {
			return o.owner, true
		} else if o != nil {
			return d.schemas[fold(o.schema)].owner, true
		}
	case "ROLE":
		if r := d.principals[target]; r != nil && r.role {
			return r.owner, true
		}
	}
	return 0, false
}

// sees reports whether the session sees a user or role in the catalogue.
func (c *conn) sees(d *database, p *principal) bool {
	u := c.userOf(c.read(), d)
	if p.fixed || u != nil && circle(d.principals, u.id)[p.id] || c.has(d, "VIEW DEFINITION", "DATABASE", "") {
		return true
	}
	if p.role {
		return c.has(d, "ALTER ANY ROLE", "DATABASE", "") || c.has(d, "CONTROL", "ROLE", fold(p.name))
	}
	return c.has(d, "ALTER ANY USER", "DATABASE", "")
}

// seesSchema is sees for a schema.
func (c *conn) seesSchema(d *database, key string) bool {
	if d.schemas[key].owner <= 4 {
		return true
	}
	return slices.ContainsFunc([]string{"VIEW DEFINITION", "SELECT", "ALTER ANY SCHEMA", "CONTROL"}, func(right string) bool { return c.has(d, right, "SCHEMA", key) })
}

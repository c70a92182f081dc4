package tdstest

import (
	"slices"
	"strings"
)

// permissions are the rights that can be given, by where they are.
var permissions = map[string][]string{
	"SERVER": {"ALTER ANY LOGIN", "ALTER ANY CONNECTION", "VIEW SERVER STATE", "CONTROL SERVER", "CREATE SERVER ROLE", "ALTER ANY SERVER ROLE",
		"VIEW ANY DEFINITION", "VIEW ANY DATABASE", "CREATE ANY DATABASE", "CONNECT SQL"},
	"DATABASE": {"CONNECT", "ALTER ANY USER", "ALTER ANY ROLE", "ALTER ANY SCHEMA", "CONTROL", "ALTER", "SELECT", "INSERT", "UPDATE", "DELETE", "EXECUTE",
		"VIEW DEFINITION", "VIEW DATABASE STATE", "CREATE TABLE", "CREATE SCHEMA", "CREATE ROLE"},
	"SCHEMA": {"SELECT", "INSERT", "UPDATE", "DELETE", "EXECUTE", "ALTER", "CONTROL", "VIEW DEFINITION", "TAKE OWNERSHIP"},
	"OBJECT": {"SELECT", "INSERT", "UPDATE", "DELETE", "EXECUTE", "ALTER", "CONTROL", "VIEW DEFINITION", "TAKE OWNERSHIP", "REFERENCES"},
	"ROLE":   {"ALTER", "CONTROL", "VIEW DEFINITION", "TAKE OWNERSHIP"},
}

// securable reads what a right is on: a database by default, or the server where the right is one of the server's.
func (p *parser) securable() (class string, names []string) {
	for _, class := range []string{"SCHEMA", "OBJECT", "ROLE", "DATABASE"} {
		if p.is(class) && p.at+1 < len(p.tokens) && p.tokens[p.at+1] == (token{symbol, "::"}) {
			p.at += 2
			return class, p.names()
		}
	}
	return "OBJECT", p.names()
}

// key is the folded name of a securable, which must be there.
func key(d *database, class string, names []string) (string, error) {
	name := fold(names[len(names)-1])
	missing := sqlError(15151, "Cannot find the %s '%s', because it does not exist or you do not have permission.", strings.ToLower(class), names[len(names)-1])
	switch class {
	case "SCHEMA":
		if d.schemas[name] == nil {
			return "", missing
		}
	case "ROLE":
		if r := d.principals[name]; r == nil || !r.role {
			return "", missing
		}
	case "OBJECT":
		schema := "dbo"
		if len(names) == 2 {
			schema = fold(names[0])
		}
		name = schema + "." + name
		if d.objects[name] == nil {
			return "", missing
		}
	case "DATABASE":
		if fold(d.name) != name {
			return "", missing
		}
		return "", nil
	}
	return name, nil
}

// permission is GRANT, DENY or REVOKE.
func (p *parser) permission() statement {
	do := strings.ToUpper(p.next().text)
	var rights []string
	for {
		var words []string
		for p.peek().kind == word && !p.is("ON") && !p.is("TO") && !p.is("FROM") {
			words = append(words, strings.ToUpper(p.next().text))
		}
		if len(words) == 0 {
			p.fail()
		}
		rights = append(rights, strings.Join(words, " "))
		if !p.symbol(",") {
			break
		}
	}
	class := "DATABASE"
	var target []string
	if p.accept("ON") {
		class, target = p.securable()
	} else if slices.Contains(permissions["SERVER"], rights[0]) {
		class = "SERVER"
	}
	for _, right := range rights {
		if !slices.Contains(permissions[class], right) {
			panic(sqlError(102, "Incorrect syntax near '%s'. (tdstest knows no such right on this.)", right))
		}
	}
	if !p.accept("TO") {
		p.expect("FROM")
	}
	to := []string{p.name()}
	for p.symbol(",") {
		to = append(to, p.name())
	}
	kind := map[string]byte{"GRANT": 'G', "DENY": 'D', "REVOKE": 0}[do]
	if do == "GRANT" && p.accept("WITH", "GRANT", "OPTION") {
		kind = 'W'
	}
	if do != "GRANT" {
		p.accept("CASCADE")
	}
	return func(c *conn) error {
		if class == "SERVER" {
			return c.change(func(s *state) (err error) {
				if !c.hasServer("CONTROL SERVER") {
					return sqlError(4613, "Grantor does not have GRANT permission.")
				}
				s.grants, err = give(s.principals, s.grants, to, grant{grantor: 1, class: class, kind: kind}, rights)
				return err
			})
		}
		return c.inDatabase(func(s *state, d *database) error {
			one := grant{grantor: c.userOf(s, d).id, class: class, kind: kind}
			var err error
			if target != nil {
				if one.target, err = key(d, class, target); err != nil {
					return err
				}
			}
			for _, right := range rights {
				if !c.mayGive(d, right, class, one.target) {
					if class == "DATABASE" {
						return sqlError(4613, "Grantor does not have GRANT permission.")
					}
					return sqlError(15151, "Cannot find the %s '%s', because it does not exist or you do not have permission.", strings.ToLower(class), target[len(target)-1])
				}
			}
			if owner, owned := ownerOf(d, class, one.target); owned { // it is the owner's to give
				one.grantor = owner
			}
			if c.has(d, "CONTROL", "DATABASE", "") {
				one.grantor = 1
			}
			d.grants, err = give(d.principals, d.grants, to, one, rights)
			return err
		})
	}
}

// mayGive reports whether the session may pass a right on.
func (c *conn) mayGive(d *database, right, class, target string) bool {
	u := c.userOf(c.read(), d)
	if c.has(d, "CONTROL", class, target) || right == "CONNECT" && c.has(d, "ALTER ANY USER", "DATABASE", "") {
		return true
	}
	in := circle(d.principals, u.id)
	if in[d.principals["db_securityadmin"].id] {
		return true
	}
	return slices.ContainsFunc(d.grants, func(g grant) bool {
		return in[g.grantee] && g.kind == 'W' && g.permission == right && (g.class == class && g.target == target || g.class == "DATABASE")
	})
}

// give changes grants.
func give(all map[string]*principal, grants []grant, to []string, one grant, rights []string) ([]grant, error) {
	for _, name := range to {
		p := all[fold(name)]
		if p == nil {
			return grants, sqlError(15151, "Cannot find the user '%s', because it does not exist or you do not have permission.", name)
		}
		for _, right := range rights {
			grants = slices.DeleteFunc(grants, func(g grant) bool {
				return g.grantee == p.id && g.permission == right && g.class == one.class && g.target == one.target
			})
			if one.grantee, one.permission = p.id, right; one.kind != 0 {
				grants = append(grants, one)
			}
		}
	}
	return grants, nil
}

// authorization is ALTER AUTHORIZATION.
func (p *parser) authorization() statement {
	class, names := p.securable()
	p.expect("TO")
	to := ""
	if !p.accept("SCHEMA", "OWNER") {
		to = p.name()
	} else if class != "OBJECT" {
		p.fail()
	}
	return func(c *conn) error {
		return c.inDatabase(func(s *state, d *database) error {
			if class == "DATABASE" {
				other, login := s.databases[fold(names[0])], s.principals[fold(to)]
				if other == nil || login == nil || !c.hasServer("CONTROL SERVER") {
					return cannot("find", "database", names[0])
				}
				other.owner, other.principals["dbo"].sid = login.sid, login.sid
				return nil
			}
			target, err := key(d, class, names)
			if err != nil {
				return err
			}
			owner := 0
			if to != "" {
				p := d.principals[fold(to)]
				if p == nil {
					return cannot("find", "user", to)
				}
				owner = p.id
			}
			me := c.userOf(s, d).id
			takes := c.has(d, "TAKE OWNERSHIP", class, target) && (owner == me || owner == 0)
			if !c.has(d, "CONTROL", "DATABASE", "") && !takes {
				return cannot("find", strings.ToLower(class), names[len(names)-1])
			}
			switch class {
			case "SCHEMA":
				d.schemas[target].owner = owner
			case "ROLE":
				d.principals[target].owner = owner
			case "OBJECT":
				d.objects[target].owner = owner
			}
			return nil
		})
	}
}

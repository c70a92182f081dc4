package tdstest

import "time"

// allColumns are the columns of all views, for a join that finds none.
var allColumns = []string{"name", "principal_id", "sid", "type", "is_disabled", "role_principal_id", "member_principal_id", "database_id", "state", "is_read_only",
	"owning_principal_id", "schema_id", "object_id", "class", "major_id", "value", "session_id", "login_time", "login_name", "original_login_name",
	"security_id", "original_security_id", "authenticating_database_id", "program_name", "open_transaction_count", "owner_sid", "containment"}

// table reads a catalogue view or a user's table.
func (c *conn) table(names []string) ([]map[string]any, error) {
	d, rest := c.here(), names
	if len(names) == 3 {
		d, rest = c.read().databases[fold(names[0])], names[1:]
		switch {
		case d == nil:
			return nil, abort(911, "Database '%s' does not exist. Make sure that the name is entered correctly.", names[0])
		case c.authDB != 0 && c.authDB != d.id, !c.enters(d):
			return nil, abort(916, "The server principal \"%s\" is not able to access the database \"%s\" under the current security context.", c.user, d.name)
		}
	}
	schema, name := "dbo", rest[len(rest)-1]
	if len(rest) == 2 {
		schema = rest[0]
	}
	if fold(schema) == "sys" {
		if view, known := serverViews[fold(name)]; known {
			return view(c), nil
		}
		if view, known := databaseViews[fold(name)]; known {
			return view(c, d), nil
		}
	}
	key := fold(schema) + "." + fold(name)
	if d.objects[key] == nil {
		return nil, abort(208, "Invalid object name '%s'.", schema+"."+name)
	}
	if !c.has(d, "SELECT", "OBJECT", key) {
		return nil, sqlError(229, "The SELECT permission was denied on the object '%s', database '%s', schema '%s'.", name, d.name, schema)
	}
	return nil, nil
}

func number64(n int) any { return int64(n) }

func flag(b bool) any {
	if b {
		return int64(1)
	}
	return int64(0)
}

func kindOf(p *principal) any {
	if p.role {
		return "R"
	}
	return "S"
}

func orNull(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

var serverViews = map[string]func(c *conn) []map[string]any{
	"server_principals": func(c *conn) (rows []map[string]any) {
		all := c.hasServer("ALTER ANY LOGIN") || c.hasServer("VIEW ANY DEFINITION")
		for _, p := range c.read().principals {
			if all || p.fixed || p.id == 1 || fold(p.name) == fold(c.user) || p.role && c.ownsServerRole(p) {
				rows = append(rows, map[string]any{"name": p.name, "principal_id": number64(p.id), "sid": orNull(p.sid), "type": kindOf(p), "is_disabled": flag(p.disabled)})
			}
		}
		return rows
	},
	"server_role_members": func(c *conn) (rows []map[string]any) {
		all := c.hasServer("VIEW ANY DEFINITION")
		for _, role := range c.read().principals {
			for id := range role.members {
				if all || role.fixed || c.ownsServerRole(role) {
					rows = append(rows, map[string]any{"role_principal_id": number64(role.id), "member_principal_id": number64(id)})
				}
			}
		}
		return rows
	},
	"databases": func(c *conn) (rows []map[string]any) {
		for _, d := range c.read().databases {
			rows = append(rows, map[string]any{"name": d.name, "database_id": number64(d.id), "state": number64(0), "is_read_only": flag(false),
				"owner_sid": d.owner, "containment": flag(d.contained)})
		}
		return rows
	},
	"dm_exec_sessions": func(c *conn) (rows []map[string]any) {
		for _, other := range c.server.sessions() {
			if other != c && !c.hasServer("VIEW SERVER STATE") {
				continue
			}
			shown := other.user
			if other.authDB != 0 {
				shown = "S-1-9-3-1-2-3-4" // in place of the name
			}
			rows = append(rows, map[string]any{"session_id": number64(other.id), "login_time": other.since.UTC().Format(timeFormat), "login_name": shown,
				"original_login_name": shown, "security_id": other.sid, "original_security_id": other.sid,
				"authenticating_database_id": number64(other.authDB), "program_name": other.program})
		}
		return rows
	},
}

// timeFormat is that of style 121.
const timeFormat = time.DateOnly + " 15:04:05.000"

var databaseViews = map[string]func(c *conn, d *database) []map[string]any{
	"database_principals": func(c *conn, d *database) (rows []map[string]any) {
		for _, p := range d.principals {
			if !c.sees(d, p) {
				continue
			}
			var owner any
			if p.role {
				owner = number64(p.owner)
			}
			rows = append(rows, map[string]any{"name": p.name, "principal_id": number64(p.id), "sid": orNull(p.sid), "type": kindOf(p), "owning_principal_id": owner})
		}
		return rows
	},
	"database_role_members": func(c *conn, d *database) (rows []map[string]any) {
		for _, role := range d.principals {
			for id := range role.members {
				rows = append(rows, map[string]any{"role_principal_id": number64(role.id), "member_principal_id": number64(id)})
			}
		}
		return rows
	},
	"schemas": func(c *conn, d *database) (rows []map[string]any) {
		for key, s := range d.schemas {
			if c.seesSchema(d, key) {
				rows = append(rows, map[string]any{"name": s.name, "schema_id": number64(s.id), "principal_id": number64(s.owner)})
			}
		}
		return rows
	},
	"objects": func(c *conn, d *database) (rows []map[string]any) {
		for key, o := range d.objects {
			if !c.has(d, "VIEW DEFINITION", "OBJECT", key) && !c.has(d, "SELECT", "OBJECT", key) {
				continue
			}
			var owner any
			if o.owner != 0 {
				owner = number64(o.owner)
			}
			rows = append(rows, map[string]any{"name": o.name, "object_id": number64(o.id), "schema_id": number64(d.schemas[fold(o.schema)].id),
				"principal_id": owner, "type": "U"})
		}
		return rows
	},
	"extended_properties": func(c *conn, d *database) (rows []map[string]any) {
		for _, p := range d.principals {
			for name, value := range p.property {
				if c.sees(d, p) {
					rows = append(rows, map[string]any{"class": number64(4), "major_id": number64(p.id), "name": name, "value": value})
				}
			}
		}
		return rows
	},
}

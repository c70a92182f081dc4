package cli

import (
	"slices"
	"strings"
)

// The presets of database role.
const (
	presetReadOnly  = "read-only"
	presetReadWrite = "read-write"
)

// preset makes the statements of a role whose users get their rights by membership, where the database can: what a user may do is then
// written down once, in the group, and making and dropping users touches no object.
type preset struct {
	engine    string // as it was asked for, or the plugin's kind; "mariadb" differs from "mysql"
	name      string
	database  string
	schema    string // PostgreSQL: what the group may see
	group     string // "": the preset's own
	contained bool   // SQL Server: users belong to the database
	user      string // that the connection logs in as; may be empty
}

// presetSQL is what a preset comes to.
type presetSQL struct {
	creation []string
	setup    []string // has to be run once, by somebody who may; nothing where the database has what is needed
}

func (p preset) writes() bool { return p.name == presetReadWrite }

// sql makes the statements.
func (p preset) sql() (presetSQL, error) {
	if !slices.Contains([]string{presetReadOnly, presetReadWrite}, p.name) {
		return presetSQL{}, mistake("no preset %q", p.name).hint("presets: %s, %s", presetReadOnly, presetReadWrite)
	}
	for _, name := range []string{p.database, p.schema, p.group, p.user} {
		if strings.Contains(name, "{{") || strings.ContainsAny(name, "\x00\n\r") {
			return presetSQL{}, mistake("the name %q cannot stand in statements", name)
		}
	}
	switch databaseKind(p.engine) {
	case postgresKind:
		return p.postgres(), nil
	case mysqlKind:
		return p.mysql()
	case mssqlKind:
		return p.mssql()
	}
	return presetSQL{}, mistake("there are no presets for %q", p.engine).hint("-creation-statements=@FILE takes statements of your own")
}

func inDoubleQuotes(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
func inBackticks(name string) string    { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }
func inBrackets(name string) string     { return "[" + strings.ReplaceAll(name, "]", "]]") + "]" }

// postgres makes users members of a group role.
func (p preset) postgres() presetSQL {
	group := p.group
	if group == "" {
		group = "leasehold_" + p.schema + "_" + strings.ReplaceAll(p.name, "-", "_")
	}
	quoted, schema := inDoubleQuotes(group), inDoubleQuotes(p.schema)
	tables, sequences := "SELECT", "SELECT"
	if p.writes() {
		tables, sequences = "SELECT, INSERT, UPDATE, DELETE", "USAGE, SELECT"
	}
	made := presetSQL{
		creation: []string{`CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE ` + quoted + `;`},
		setup:    []string{"CREATE ROLE " + quoted + " NOLOGIN;"},
	}
	if p.database != "" {
		made.setup = append(made.setup, "GRANT CONNECT ON DATABASE "+inDoubleQuotes(p.database)+" TO "+quoted+";")
	}
	made.setup = append(made.setup,
		"GRANT USAGE ON SCHEMA "+schema+" TO "+quoted+";",
		"GRANT "+tables+" ON ALL TABLES IN SCHEMA "+schema+" TO "+quoted+";",
		"GRANT "+sequences+" ON ALL SEQUENCES IN SCHEMA "+schema+" TO "+quoted+";",
		"-- for what the user who runs this makes later:",
		"ALTER DEFAULT PRIVILEGES IN SCHEMA "+schema+" GRANT "+tables+" ON TABLES TO "+quoted+";",
		"ALTER DEFAULT PRIVILEGES IN SCHEMA "+schema+" GRANT "+sequences+" ON SEQUENCES TO "+quoted+";")
	if p.user != "" {
		made.setup = append(made.setup, "-- on PostgreSQL 16 and later, where the connection's user is no superuser:",
			"-- GRANT "+quoted+" TO "+inDoubleQuotes(p.user)+" WITH ADMIN OPTION;")
	}
	return made
}

// mysql grants on the database as a whole, which is one row of a table that the server looks up, or a role that is there already.
func (p preset) mysql() (presetSQL, error) {
	const user = "'{{name}}'@'%'"
	create := "CREATE USER " + user + " IDENTIFIED BY '{{password}}';"
	rights := "SELECT"
	if p.writes() {
		rights = "SELECT, INSERT, UPDATE, DELETE"
	}
	if p.database == "" {
		return presetSQL{}, mistake("the connection names no database").hint("-database says what users may use")
	}
	// In GRANT, and nowhere else, _ and % of a database's name stand for any characters.
	pattern := inBackticks(strings.NewReplacer("_", `\_`, "%", `\%`).Replace(p.database))
	if p.group == "" {
		return presetSQL{creation: []string{create, "GRANT " + rights + " ON " + pattern + ".* TO " + user + ";"}}, nil
	}
	group := inBackticks(p.group)
	made := presetSQL{
		creation: []string{create, "GRANT " + group + " TO " + user + ";"},
		setup:    []string{"CREATE ROLE " + group + ";", "GRANT " + rights + " ON " + pattern + ".* TO " + group + ";"},
	}
	// A role that is granted has no effect until it is set.
	if p.engine == "mariadb" {
		made.creation = append(made.creation, "SET DEFAULT ROLE "+group+" FOR "+user+";")
	} else {
		made.creation = append(made.creation, "SET DEFAULT ROLE "+group+" TO "+user+";")
	}
	return made, nil
}

// mssql makes users members of the database's own roles, or of another one that is there already.
func (p preset) mssql() (presetSQL, error) {
	const user = "[{{name}}]"
	var made presetSQL
	if p.contained {
		made.creation = []string{"CREATE USER " + user + " WITH PASSWORD = '{{password}}';"}
	} else {
		if p.database == "" {
			return presetSQL{}, mistake("the connection names no database").hint("-database says what users may use")
		}
		made.creation = []string{
			"CREATE LOGIN " + user + " WITH PASSWORD = '{{password}}';", "USE " + inBrackets(p.database) + ";", "CREATE USER " + user + " FOR LOGIN " + user + ";",
		}
	}
	groups := []string{"db_datareader"}
	switch {
	case p.group != "":
		groups = []string{p.group}
	case p.writes():
		groups = append(groups, "db_datawriter")
	}
	for _, group := range groups {
		made.creation = append(made.creation, "ALTER ROLE "+inBrackets(group)+" ADD MEMBER "+user+";")
	}
	if p.group == "" {
		return made, nil
	}
	if p.database != "" {
		made.setup = append(made.setup, "USE "+inBrackets(p.database)+";")
	}
	made.setup = append(made.setup, "CREATE ROLE "+inBrackets(p.group)+";", "ALTER ROLE [db_datareader] ADD MEMBER "+inBrackets(p.group)+";")
	if p.writes() {
		made.setup = append(made.setup, "ALTER ROLE [db_datawriter] ADD MEMBER "+inBrackets(p.group)+";")
	}
	return made, nil
}

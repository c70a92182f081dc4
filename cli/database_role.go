package cli

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/urfave/cli/v2"

	"leasehold/client"
)

// roleOptions are the flags of database role.
type roleOptions struct {
	mount      string
	connection string

	preset, engine          string
	database, schema, group string

	creation, revocation, renewal string // a text, @FILE or -
	check, dryRun, setup          bool
}

func (e *env) databaseRole() *cli.Command {
	var o roleOptions
	body := fields{}
	text := func(to *string, name, usage string) cli.Flag {
		return &cli.StringFlag{Name: name, Usage: usage, Destination: to}
	}
	return e.command(leaf{
		name: "role", args: "NAME", usage: "Make a role: how users of a database are made, and for how long",
		help: `A preset makes users members of a group, so that what they may do is said once: on PostgreSQL a group role (-group, or one
named after the preset, which -setup makes), on SQL Server db_datareader and db_datawriter, on MySQL and MariaDB rights on the whole
database, or a role that is there (-group). The statements are shown before they are kept, and tried on the database with a user that
is removed again.`,
		min: 1, max: 1,
		flags: []cli.Flag{
			databaseMountFlag(&o.mount),
			text(&o.connection, "db", "the connection"),
			text(&o.preset, "preset", "read-only or read-write"),
			text(&o.schema, "schema", "PostgreSQL: schema that the preset is about (default: public)"),
			text(&o.group, "group", "group that users become members of (default: the preset's own)"),
			text(&o.database, "database", "database that the preset is about (default: the connection's)"),
			text(&o.engine, "engine", "postgresql, mysql, mariadb or mssql (default: the connection's)"),
			body.duration("ttl", "default_ttl", "how long a user lives, unless it is renewed", false),
			body.duration("max-ttl", "max_ttl", "how long a user lives at most", false),
			text(&o.creation, "creation-statements", "in place of a preset: @FILE, - or SQL"),
			text(&o.revocation, "revocation-statements", "@FILE, - or SQL (default: what the plugin does)"),
			text(&o.renewal, "renew-statements", "@FILE, - or SQL (default: what the plugin does)"),
			&cli.BoolFlag{Name: "check", Usage: "try the role before it is kept", Value: true, Destination: &o.check},
			&cli.BoolFlag{Name: "dry-run", Usage: "show the statements, keep nothing", Destination: &o.dryRun},
			&cli.BoolFlag{Name: "setup", Usage: "print the SQL that a preset needs to be run once, and nothing else", Destination: &o.setup},
		},
		run: func(ctx context.Context, args []string) error { return writeRole(ctx, e, args[0], o, body) },
	})
}

func writeRole(ctx context.Context, e *env, name string, o roleOptions, body fields) error {
	var err error
	if o.connection, err = e.orAsk(ctx, o.connection, "db", "Connection", ""); err != nil {
		return err
	}
	switch {
	case o.creation != "" && (o.preset != "" || o.setup):
		return mistake("-creation-statements does not go together with -preset and -setup")
	case o.creation == "":
		if o.preset, err = e.orAsk(ctx, o.preset, "preset or -creation-statements", "Preset (read-only, read-write)", ""); err != nil {
			return err
		}
	}
	body["db_name"] = o.connection
	made, err := o.statements(ctx, e)
	if err != nil {
		return err
	}
	if o.setup {
		if len(made.setup) == 0 {
			return e.success("-- nothing has to be set up")
		}
		return e.print(strings.Join(made.setup, "\n") + "\n")
	}
	body["creation_statements"] = made.creation
	for field, given := range map[string]string{"revocation_statements": o.revocation, "renew_statements": o.renewal} {
		if given == "" {
			continue
		}
		text, err := e.dataValue("-"+strings.ReplaceAll(field, "_", "-"), given)
		if err != nil {
			return err
		}
		body[field] = []string{text}
	}
	if o.dryRun {
		return o.show(e, made, body)
	}
	if o.preset != "" && !e.structured() && !e.dryRun() {
		_, _ = fmt.Fprintf(e.stderr, "Users are made by:\n\n  %s\n\n", strings.Join(made.creation, "\n  "))
		keep, err := e.askYes(ctx, "Keep this role?", true)
		if err != nil {
			return err
		}
		if !keep {
			return mistake("Nothing was done")
		}
	}
	if o.check {
		body["verify"] = true
	}
	return o.store(ctx, e, name, body, len(made.setup) > 0)
}

// show prints what would be kept.
func (o *roleOptions) show(e *env, made presetSQL, body fields) error {
	if e.structured() || e.flags.field != "" {
		return e.show(view{object: body})
	}
	text := ""
	if len(made.setup) > 0 {
		text = "-- to be run once:\n" + strings.Join(made.setup, "\n") + "\n\n-- for each user:\n"
	}
	return e.print(text + strings.Join(made.creation, "\n") + "\n")
}

// statements are the creation statements, of a preset or of the operator's own.
func (o *roleOptions) statements(ctx context.Context, e *env) (presetSQL, error) {
	if o.creation != "" {
		text, err := e.dataValue("-creation-statements", o.creation)
		if err != nil {
			return presetSQL{}, err
		}
		return presetSQL{creation: []string{text}}, nil
	}
	p := preset{engine: strings.ToLower(o.engine), name: o.preset, database: o.database, schema: o.schema, group: o.group}
	if p.schema == "" {
		p.schema = "public"
	}
	// What the flags say is not asked of the server: not everybody may read connections.
	if p.engine == "" || p.database == "" {
		path := databasePath(o.mount, "config", o.connection)
		resp, err := e.call(ctx, http.MethodGet, path, nil)
		if err != nil {
			if client.IsNotFound(err) {
				return presetSQL{}, noValue(err, path).hint("%s database connect %s registers the database", e.program, o.connection)
			}
			return presetSQL{}, failed(err, "Error reading %s", path)
		}
		var s connectionSettings
		if err := resp.Decode(&s); err != nil {
			return presetSQL{}, failed(err, "Error reading %s", path)
		}
		if p.engine == "" {
			p.engine = s.Plugin
		}
		if t, ok := s.target(); ok && p.database == "" {
			p.database = t.database
		}
		p.user, p.contained = s.text("username"), s.flag("contained_db")
	}
	return p.sql()
}

func (o *roleOptions) store(ctx context.Context, e *env, name string, body fields, hasSetup bool) error {
	path := databasePath(o.mount, "roles", name)
	resp, err := e.call(ctx, http.MethodPut, path, body)
	if checked, data, ok := refusedReport(err); ok {
		if err := e.showReport(checked, data); err != nil {
			return err
		}
		f := refused("Role %s was not stored: its check failed", name).hint("-check=false stores it all the same")
		if hasSetup && !checked.Steps[0].OK {
			f.hint("the group has to be there: the same command with -setup prints the SQL that makes it")
		}
		return f
	}
	if err != nil {
		return failed(err, "Error writing role %s", name)
	}
	if !o.check {
		return e.showAnswer(resp, "Success! Stored role: "+name)
	}
	var checked roleReport
	if err := resp.Decode(&checked); err != nil { // another server, which stores and checks nothing
		e.warn([]string{"the role was stored, but the server did not check it"})
		return e.showAnswer(resp, "Success! Stored role: "+name)
	}
	if err := e.showReport(checked, resp.Data); err != nil {
		return err
	}
	if !checked.OK {
		e.warn(resp.Warnings)
		return refused("Role %s was stored, but a step of its check failed", name)
	}
	return e.success("\nSuccess! Stored role, and tried it: %s", name)
}

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"leasehold/internal/clock"
	"leasehold/internal/secret"
)

// credsOptions are the flags of database creds.
type credsOptions struct {
	mount, as              string
	engine, host, port, db string // in place of what the connection says
}

func (e *env) databaseCreds() *cli.Command {
	var o credsOptions
	text := func(to *string, name, usage string) cli.Flag {
		return &cli.StringFlag{Name: name, Usage: usage, Destination: to}
	}
	return e.command(leaf{
		name: "creds", args: "ROLE", usage: "Take a login of a database, on a lease, with strings to connect by",
		help: `-as prints one string alone: psql, mysql, sqlcmd (a command line), jdbc, url, or env (lines for eval). Where the token may not
read the role and its connection, -engine and -host say where the database is.`,
		min: 1, max: 1,
		flags: []cli.Flag{
			databaseMountFlag(&o.mount),
			text(&o.as, "as", "psql, mysql, sqlcmd, jdbc, url or env"),
			text(&o.engine, "engine", "postgresql, mysql, mariadb or mssql"),
			text(&o.host, "host", "host to connect to (default: the connection's)"),
			text(&o.port, "port", "its port"),
			text(&o.db, "database", "database to connect to"),
		},
		run: func(ctx context.Context, args []string) error { return takeCreds(ctx, e, args[0], o) },
	})
}

func takeCreds(ctx context.Context, e *env, role string, o credsOptions) error {
	known := []string{"", asPsql, asMysql, asSqlcmd, asJDBC, asURL, asEnv}
	switch {
	case !slices.Contains(known, o.as):
		return mistake("-as: no form %q", o.as).hint("forms: %s", strings.Join(known[1:], ", "))
	case o.as != "" && (e.structured() || e.flags.field != ""):
		return mistake("-as prints a text alone: it does not go together with -format and -field")
	}
	// Before a user is made: one that cannot be shown would only have to be removed again.
	var at target
	var unknown error
	if !e.dryRun() && e.flagOr(e.flags.wrapTTL, "WRAP_TTL") == "" {
		at, unknown = o.target(ctx, e, role)
		if o.as != "" && unknown != nil {
			return unknown
		}
		if has := forms(at.kind); o.as != "" && !slices.Contains(has, o.as) {
			return mistake("-as=%s is not for a %s database", o.as, at.kind).hint("forms: %s", strings.Join(has, ", "))
		}
	}
	path := databasePath(o.mount, "creds", role)
	resp, err := e.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return failed(err, "Error reading %s", path)
	}
	username, isUser := resp.Data["username"].(string)
	password, isPassword := resp.Data["password"].(string)
	if !isUser || !isPassword { // wrapped, or another kind of credential
		return e.showAnswer(resp, "")
	}
	login := account{at, username, secret.NewText(password)}
	left := time.Duration(resp.LeaseDuration) * time.Second
	ends := clock.System{}.Now().Add(left).Format(time.RFC3339)
	if o.as != "" {
		_, _ = fmt.Fprintf(e.stderr, "# lease %s ends in %s, at %s\n", resp.LeaseID, seconds(resp.LeaseDuration), ends)
		return e.print(login.as(o.as) + "\n")
	}
	e.warn(resp.Warnings)
	if unknown != nil {
		e.warn([]string{"no strings to connect by: " + describeShort(unknown)})
	}
	object := map[string]any{
		"lease_id": resp.LeaseID, "lease_duration": resp.LeaseDuration, "lease_renewable": resp.Renewable, "ends_at": ends,
		"username": username, "password": password,
	}
	rows := append(keyValues(),
		[]string{"lease_id", resp.LeaseID}, []string{"lease_duration", seconds(resp.LeaseDuration)}, []string{"lease_renewable", plain(resp.Renewable)},
		[]string{"ends_at", ends}, []string{"username", username}, []string{"password", password})
	for _, form := range forms(at.kind) {
		object[form] = login.as(form)
		if form != asEnv { // several lines
			rows = append(rows, []string{form, login.as(form)})
		}
	}
	return e.show(view{rows: rows, object: object})
}

// describeShort is an error in one line.
func describeShort(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

// target is where the role's database is: as the flags say, and for the rest as its connection does.
func (o *credsOptions) target(ctx context.Context, e *env, role string) (target, error) {
	t := target{kind: databaseKind(o.engine), options: url.Values{}}
	if o.engine != "" && t.kind == "" {
		return t, mistake("-engine: no strings to connect by are known for %q", o.engine)
	}
	if o.engine == "" || o.host == "" {
		var err error
		if t, err = o.configured(ctx, e, role); err != nil {
			return target{}, err
		}
	}
	if o.host != "" {
		t.host, t.socket = o.host, ""
	}
	if o.port != "" {
		t.port = o.port
	}
	if t.port == "" && t.socket == "" {
		t.port = defaultPorts[t.kind]
	}
	if o.db != "" {
		t.database = o.db
	}
	return t, nil
}

// configured reads the role's connection.
func (o *credsOptions) configured(ctx context.Context, e *env, role string) (target, error) {
	var r struct {
		Connection string `json:"db_name"`
	}
	var s connectionSettings
	path := databasePath(o.mount, "roles", role)
	err := e.readInto(ctx, path, &r)
	if err == nil {
		path = databasePath(o.mount, "config", r.Connection)
		err = e.readInto(ctx, path, &s)
	}
	if err != nil {
		return target{}, failed(err, "%s could not be read", path)
	}
	t, ok := s.target()
	if !ok {
		return target{}, mistake("the address of connection %s has a form that is not known here", r.Connection).hint("-engine and -host say where the database is")
	}
	return t, nil
}

func (e *env) readInto(ctx context.Context, path string, into any) error {
	resp, err := e.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	return resp.Decode(into)
}

// flag is a setting that is true, or the text of it.
func (s connectionSettings) flag(name string) bool {
	var on bool
	return json.Unmarshal(s.Details[name], &on) == nil && on || s.text(name) == "true"
}

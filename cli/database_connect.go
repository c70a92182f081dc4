package cli

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"leasehold/client"
	"leasehold/internal/secret"
)

// The values of -tls.
const (
	tlsDisable = "disable"
	tlsPrefer  = "prefer"  // where the server has it; nobody is refused
	tlsRequire = "require" // without looking at the certificate
	tlsVerify  = "verify"
)

// connectOptions are the flags of database connect.
type connectOptions struct {
	mount          string
	engine         string
	host, port     string
	database       string
	username       string
	password       string // @FILE or -
	allowed        []string
	tls, tlsCA     string
	rotate, verify bool
}

func (e *env) databaseConnect() *cli.Command {
	var o connectOptions
	text := func(to *string, name, usage string) cli.Flag {
		return &cli.StringFlag{Name: name, Usage: usage, Destination: to}
	}
	return e.command(leaf{
		name: "connect", args: "NAME [K=V...]", usage: "Register a database, or change where a connection leads",
		help: `At a terminal it asks for what the flags do not say. The connection is tried before it is kept.
The password is asked for; -password=@FILE reads it from a file, -password=- or a pipe from stdin. K=V are further settings, as
for write. Without -allowed-roles every role may use the connection.`,
		min: 1, max: -1,
		flags: []cli.Flag{
			databaseMountFlag(&o.mount),
			&cli.StringFlag{Name: "engine", Aliases: []string{"plugin"}, Usage: "postgresql, mysql, mariadb, mssql, or a plugin's name", Destination: &o.engine},
			text(&o.host, "host", "the database server; several with commas"),
			text(&o.port, "port", "its port (default: the usual one)"),
			text(&o.database, "database", "database to connect to"),
			text(&o.username, "username", "user to connect as: one that may make and drop users"),
			text(&o.password, "password", "@FILE or -: where its password is read from"),
			repeated("allowed-roles", "role that may use the connection, * for all; repeatable", "", func(v []string) error { o.allowed = v; return nil }),
			text(&o.tls, "tls", "disable, prefer, require or verify (default: require; prefer for this machine)"),
			text(&o.tlsCA, "tls-ca", "file with the CA of the database server; turns verification on"),
			&cli.BoolFlag{Name: "verify", Usage: "try the connection before it is kept", Value: true, Destination: &o.verify},
			&cli.BoolFlag{Name: "rotate", Usage: "then change the password, so that only the server knows it", Destination: &o.rotate},
		},
		run: func(ctx context.Context, args []string) error { return connect(ctx, e, args[0], args[1:], o) },
	})
}

func connect(ctx context.Context, e *env, name string, more []string, o connectOptions) error {
	settings, err := e.parseData(more)
	if err != nil {
		return err
	}
	if err := o.complete(ctx, e); err != nil {
		return err
	}
	path := databasePath(o.mount, "config", name)
	if len(o.allowed) == 0 {
		if o.allowed, err = usualRoles(ctx, e, path); err != nil {
			return err
		}
	}
	body := fields{
		"plugin_name": pluginOf(o.engine), "connection_url": o.url(), "username": o.username,
		"allowed_roles": o.allowed, "verify_connection": o.verify,
	}
	if o.tlsCA != "" {
		ca, err := os.ReadFile(o.tlsCA)
		if err != nil {
			return mistake("Failed to read the CA: %s", err)
		}
		body["tls_ca"] = string(ca)
	}
	password, err := o.readPassword(ctx, e)
	if err != nil {
		return err
	}
	body["password"] = password.Reveal()
	for key, value := range settings {
		body[key] = value
	}
	resp, err := e.call(ctx, http.MethodPut, path, body)
	if err != nil {
		missing := client.IsNotFound(err)
		err = failed(err, "Error connecting %s", name)
		var f *failure
		if missing && errors.As(err, &f) {
			f.hint("%s secrets enable -path=%s database makes the engine available", e.program, cleanPath(o.mount))
		}
		return err
	}
	done := "Success! Connected: " + name
	if !o.verify {
		done = "Success! Stored without trying it: " + name
	}
	if err := e.showAnswer(resp, done); err != nil {
		return err
	}
	if !o.rotate {
		o.rotate, err = e.askYes(ctx, "Change the password of "+o.username+" now, so that nobody but the server knows it?", false)
	}
	if err != nil || !o.rotate {
		return err
	}
	return rotateRoot(ctx, e, o.mount, name)
}

// complete asks for what the flags do not say.
func (o *connectOptions) complete(ctx context.Context, e *env) (err error) {
	if o.engine, err = e.orAsk(ctx, o.engine, "engine", "Database (postgresql, mysql, mariadb, mssql)", ""); err != nil {
		return err
	}
	kind := databaseKind(o.engine)
	if kind == "" {
		return mistake("no addresses are known for %q", o.engine).
			hint("%s write %s/config/NAME plugin_name=%s connection_url=... takes any plugin", e.program, cleanPath(o.mount), o.engine)
	}
	if o.host, err = e.orAsk(ctx, o.host, "host", "Host", ""); err != nil {
		return err
	}
	if o.port, err = e.orAsk(ctx, o.port, "port", "Port", defaultPorts[kind]); err != nil {
		return err
	}
	usual := map[string]string{postgresKind: "postgres", mysqlKind: "mysql", mssqlKind: "master"}[kind]
	if o.database, err = e.orAsk(ctx, o.database, "database", "Database", usual); err != nil {
		return err
	}
	if o.username, err = e.orAsk(ctx, o.username, "username", "User that may make and drop users", ""); err != nil {
		return err
	}
	usual = tlsRequire
	if isLoopback(o.host) {
		usual = tlsPrefer
	}
	if o.tlsCA != "" {
		usual = tlsVerify
	}
	if o.tls, err = e.orAsk(ctx, o.tls, "tls", "TLS (disable, prefer, require, verify)", usual); err != nil {
		return err
	}
	if _, known := tlsOptions[kind][o.tls]; !known {
		return mistake("-tls: %q is none of disable, prefer, require, verify", o.tls)
	}
	if o.tlsCA != "" && o.tls != tlsVerify {
		return mistake("-tls-ca goes with -tls=verify")
	}
	return nil
}

// usualRoles are the roles that may use a connection where the flags do not say: those that may now, or, for a new one, whom a person
// names, or all. A change of address must not open it to others.
func usualRoles(ctx context.Context, e *env, path string) ([]string, error) {
	if e.dryRun() {
		return []string{"*"}, nil
	}
	var present struct {
		Allowed []string `json:"allowed_roles"`
	}
	err := e.readInto(ctx, path, &present)
	switch {
	case err == nil:
		return present.Allowed, nil
	case client.IsNotFound(err):
		named, err := e.orAsk(ctx, "", "allowed-roles", "Roles that may use it, with commas", "*")
		return strings.Split(named, ","), err
	}
	err = failed(err, "Error reading %s", path)
	var f *failure
	if errors.As(err, &f) {
		f.hint("-allowed-roles says who may use the connection, without a look at what is there")
	}
	return nil, err
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// readPassword is the password from where the flag says; without one it is asked for.
func (o *connectOptions) readPassword(ctx context.Context, e *env) (secret.Text, error) {
	switch {
	case o.password == "":
		return e.askSecret(ctx, "Password of "+o.username)
	case o.password != "-" && !strings.HasPrefix(o.password, "@"):
		return secret.Text{}, mistake("-password takes @FILE or -: arguments are seen by other users of the machine").hint("without -password it is asked for")
	}
	text, err := e.dataValue("-password", o.password)
	if err != nil {
		return secret.Text{}, err
	}
	if text = strings.TrimRight(text, "\r\n"); text == "" {
		return secret.Text{}, mistake("no password given")
	}
	return secret.NewText(text), nil
}

// tlsOptions are what the connection's URL says for each value of -tls.
var tlsOptions = map[string]map[string]url.Values{
	postgresKind: {
		tlsDisable: {"sslmode": {"disable"}}, tlsPrefer: {"sslmode": {"prefer"}}, tlsRequire: {"sslmode": {"require"}}, tlsVerify: {"sslmode": {"verify-full"}},
	},
	mysqlKind: {
		tlsDisable: {"tls": {"false"}}, tlsPrefer: {"tls": {"preferred"}}, tlsRequire: {"tls": {"skip-verify"}}, tlsVerify: {"tls": {"true"}},
	},
	mssqlKind: {
		tlsDisable: {"encrypt": {"disable"}}, tlsPrefer: {}, tlsRequire: {"encrypt": {"true"}, "trustservercertificate": {"true"}}, tlsVerify: {"encrypt": {"true"}},
	},
}

// url is the connection's URL. User and password stand in it as placeholders.
func (o *connectOptions) url() string {
	const user = "{{username}}:{{password}}@"
	var hosts []string
	for host := range strings.SplitSeq(o.host, ",") {
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), o.port)
		}
		hosts = append(hosts, host)
	}
	kind := databaseKind(o.engine)
	options := url.Values{}
	for name, value := range tlsOptions[kind][o.tls] {
		options[name] = value
	}
	at, database := strings.Join(hosts, ","), escaped(o.database)
	text := ""
	switch kind {
	case postgresKind:
		text = "postgresql://" + user + at + "/" + database
	case mysqlKind:
		text = user + "tcp(" + at + ")/" + database
	case mssqlKind:
		text = "sqlserver://" + user + at
		options.Set("database", o.database)
	}
	if len(options) > 0 {
		text += "?" + options.Encode()
	}
	return text
}

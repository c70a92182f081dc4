package cli

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"leasehold/client"
	"leasehold/internal/secret"
)

// loginMethod tells how to log in by one auth method. A method that is not in the table is sent its parameters as
// they are.
type loginMethod struct {
	usage   string
	user    string   // parameter that ends the login path, asked for when it is not given; "": none
	secrets []string // parameters asked for without showing them when they are not given
	text    []string // parameters asked for when they are not given
}

var loginMethods = map[string]loginMethod{
	"token":    {usage: "with a token that exists already"},
	"userpass": {usage: "with a user name and a password", user: "username", secrets: []string{"password"}},
	"ldap":     {usage: "with a user name and a password of the directory", user: "username", secrets: []string{"password"}},
	"radius":   {usage: "with a user name and a password of the RADIUS server", user: "username", secrets: []string{"password"}},
	"approle":  {usage: "as a program, with a role id and a secret id", text: []string{"role_id"}, secrets: []string{"secret_id"}},
	"cert":     {usage: "with the client certificate of the connection (-client-cert, -client-key)"},
	"jwt":      {usage: "with a signed token of another party", text: []string{"role"}, secrets: []string{"jwt"}},
	"kubernetes": {usage: "as a pod, with its service account's token",
		text: []string{"role"}, secrets: []string{"jwt"}},
}

// help is what auth help prints of the method at path.
func (m loginMethod) help(program, name, path string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Log in %s:\n\n", m.usage)
	switch {
	case name == "token":
		fmt.Fprintf(&b, "    $ %s login\n    $ %s login - < FILE\n", program, program)
		return b.String()
	case path != name:
		fmt.Fprintf(&b, "    $ %s login -method=%s -path=%s", program, name, path)
	default:
		fmt.Fprintf(&b, "    $ %s login -method=%s", program, name)
	}
	if m.user != "" {
		fmt.Fprintf(&b, " %s=...", m.user)
	}
	for _, p := range m.text {
		fmt.Fprintf(&b, " %s=...", p)
	}
	b.WriteString("\n")
	for _, p := range m.secrets {
		fmt.Fprintf(&b, "\n%s is asked for, or read by %s=- from stdin or by %s=@FILE from a file.\n", p, p, p)
	}
	return b.String()
}

// loginOptions are the flags of login.
type loginOptions struct {
	method    string
	path      string
	noStore   bool
	noPrint   bool
	tokenOnly bool
}

func (o *loginOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "method", Usage: "auth method", Value: "token", Destination: &o.method},
		&cli.StringFlag{Name: "path", Usage: "where the method is enabled (default: its name)", Destination: &o.path},
		&cli.BoolFlag{Name: "no-store", Usage: "do not keep the token", Destination: &o.noStore},
		&cli.BoolFlag{Name: "no-print", Usage: "do not print the token", Destination: &o.noPrint},
		&cli.BoolFlag{Name: "token-only", Usage: "print the token alone, do not keep it", Destination: &o.tokenOnly},
	}
}

func (e *env) login() *cli.Command {
	var o loginOptions
	return e.command(leaf{
		name: "login", args: "[TOKEN | K=V...]", usage: "Log in and keep the token for the commands to come",
		help: "Without arguments the token (or password) is asked for. - reads the token from stdin.",
		max:  -1, flags: o.flags(),
		run: func(ctx context.Context, args []string) error { return login(ctx, e, o, args) },
	})
}

func login(ctx context.Context, e *env, o loginOptions, args []string) error {
	if o.tokenOnly {
		if e.flags.field != "" || e.structured() {
			return mistake("-token-only cannot be combined with -field or -format")
		}
		o.noStore, e.flags.field = true, "token"
	}
	if o.noPrint && e.flags.field != "" {
		return mistake("-no-print cannot be combined with -token-only or -field")
	}
	var token secret.Text
	var print func() error
	var err error
	if o.method == "token" {
		token, print, err = loginWithToken(ctx, e, args)
	} else {
		token, print, err = loginWithMethod(ctx, e, o, args)
	}
	if err != nil {
		return err
	}
	if !o.noStore && !token.Empty() {
		store, err := e.tokens()
		if err != nil {
			return err
		}
		if err := store.write(token); err != nil {
			return err
		}
		if e.variable("TOKEN") != "" {
			e.warn([]string{"VAULT_TOKEN is set: it is used instead of the token that was kept now"})
		}
	}
	if o.noPrint {
		return nil
	}
	if e.flags.field == "" && !token.Empty() {
		text := "Success! You are now logged in. The token below is kept for the commands to come."
		if o.noStore {
			text = "Success! You are now logged in. The token below was not kept: set VAULT_TOKEN to use it."
		}
		if err := e.success("%s\n", text); err != nil {
			return err
		}
	}
	return print()
}

// loginWithToken checks a token by looking it up.
func loginWithToken(ctx context.Context, e *env, args []string) (secret.Text, func() error, error) {
	token, err := e.loginToken(ctx, args)
	if err != nil {
		return secret.Text{}, nil, err
	}
	e.useToken(token)
	resp, err := e.call(ctx, http.MethodGet, "auth/token/lookup-self", nil)
	if err != nil {
		return secret.Text{}, nil, failed(err, "Error authenticating: error looking up token")
	}
	if resp.WrapInfo != nil {
		return secret.Text{}, func() error { return e.showAnswer(resp, "") }, nil
	}
	return token, func() error { return e.showToken(token, resp) }, nil
}

// loginToken is the token of the arguments: TOKEN, token=VALUE, or - for stdin. Without one it is asked for.
func (e *env) loginToken(ctx context.Context, args []string) (secret.Text, error) {
	if len(args) > 1 {
		return secret.Text{}, mistake("Too many arguments (expected 0-1, got %d)", len(args))
	}
	if len(args) == 1 && strings.HasPrefix(args[0], "token=") {
		data, err := e.parseData(args)
		if err != nil {
			return secret.Text{}, err
		}
		return secret.NewText(strings.TrimSpace(plain(data["token"]))), nil
	}
	token, err := e.secretArgument(args)
	if err == nil && token.Empty() {
		token, err = e.askSecret(ctx, "Token")
	}
	return token, err
}

func loginWithMethod(ctx context.Context, e *env, o loginOptions, args []string) (secret.Text, func() error, error) {
	data, err := e.parseData(args)
	if err != nil {
		return secret.Text{}, nil, err
	}
	method := loginMethods[o.method]
	path := cleanPath(strings.TrimPrefix(o.path, "auth/"))
	if path == "" {
		path = o.method
	}
	path = "auth/" + path + "/login"
	if method.user != "" {
		if err := e.complete(ctx, data, method.user, e.askText); err != nil {
			return secret.Text{}, nil, err
		}
		path += "/" + plain(data[method.user])
		delete(data, method.user)
	}
	for _, name := range method.text {
		if err := e.complete(ctx, data, name, e.askText); err != nil {
			return secret.Text{}, nil, err
		}
	}
	if o.method == "kubernetes" {
		addPodToken(data)
	}
	for _, name := range method.secrets {
		ask := func(ctx context.Context, label string) (string, error) {
			text, err := e.askSecret(ctx, label)
			return text.Reveal(), err
		}
		if err := e.complete(ctx, data, name, ask); err != nil {
			return secret.Text{}, nil, err
		}
	}
	e.useToken(secret.Text{}) // an old token has no part in a login
	resp, err := e.call(ctx, http.MethodPut, path, data)
	if err != nil {
		return secret.Text{}, nil, failed(err, "Error authenticating")
	}
	return tokenOf(resp), func() error { return e.showAnswer(resp, "") }, nil
}

// complete asks for a parameter that was not given.
func (e *env) complete(ctx context.Context, data map[string]any, name string,
	ask func(context.Context, string) (string, error)) error {
	if _, given := data[name]; given {
		return nil
	}
	label := strings.ToUpper(name[:1]) + strings.ReplaceAll(name[1:], "_", " ")
	value, err := ask(ctx, label)
	if err != nil {
		return err
	}
	data[name] = value
	return nil
}

// addPodToken takes the service account's token from where Kubernetes puts it in every pod.
func addPodToken(data map[string]any) {
	if _, given := data["jwt"]; given {
		return
	}
	if text, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/token"); err == nil {
		data["jwt"] = strings.TrimSpace(string(text))
	}
}

// tokenOf is the token that a login made. A wrapped answer has none yet: there is nothing to keep.
func tokenOf(resp *client.Response) secret.Text {
	if resp.Auth == nil {
		return secret.Text{}
	}
	return secret.NewText(resp.Auth.ClientToken)
}

func (e *env) printToken() *cli.Command {
	return e.command(leaf{
		name: "token", usage: "Print the token that commands send",
		local: true,
		run: func(context.Context, []string) error {
			token, err := e.readToken()
			if err != nil {
				return err
			}
			if token.Empty() {
				return mistake("There is no token").hint("%s login gets one", e.program)
			}
			return e.print(token.Reveal() + "\n")
		},
	})
}

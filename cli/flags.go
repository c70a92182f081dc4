package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// clientFlags are the flags of every client command.
func (e *env) clientFlags() []cli.Flag {
	f := &e.flags
	text := func(to *string, name, usage string, aliases ...string) cli.Flag {
		return &cli.StringFlag{Name: name, Aliases: aliases, Usage: usage, Destination: to, Category: connection}
	}
	flag := func(to *bool, name, usage string) cli.Flag {
		return &cli.BoolFlag{Name: name, Usage: usage, Destination: to, Category: connection}
	}
	list := func(to *[]string, name, usage string) cli.Flag {
		return repeated(name, usage, connection, func(v []string) error { *to = v; return nil })
	}
	return []cli.Flag{
		text(&f.address, "address", "server's address (VAULT_ADDR)"),
		text(&f.agentAddress, "agent-address", "agent's address; beats -address (VAULT_AGENT_ADDR)"),
		text(&f.caCert, "ca-cert", "file with the CA of the server (VAULT_CACERT)"),
		text(&f.caPath, "ca-path", "directory with CAs (VAULT_CAPATH)"),
		text(&f.clientCert, "client-cert", "certificate file to show (VAULT_CLIENT_CERT)"),
		text(&f.clientKey, "client-key", "its key file (VAULT_CLIENT_KEY)"),
		text(&f.tlsServerName, "tls-server-name", "name that the server's certificate must carry (VAULT_TLS_SERVER_NAME)"),
		flag(&f.tlsSkipVerify, "tls-skip-verify", "accept any certificate (VAULT_SKIP_VERIFY)"),
		text(&f.namespace, "namespace", "namespace (VAULT_NAMESPACE)", "ns"),
		text(&f.wrapTTL, "wrap-ttl", "wrap the answer for this duration (VAULT_WRAP_TTL)"),
		list(&f.mfa, "mfa", "second factor, METHOD[:VALUE] (VAULT_MFA)"),
		list(&f.header, "header", "further header, NAME=VALUE"),
		flag(&f.policyOverride, "policy-override", "ask the server to override soft policies"),
		flag(&f.nonInteractive, "non-interactive", "never ask"),
		flag(&f.disableRedirects, "disable-redirects", "do not follow redirects (VAULT_DISABLE_REDIRECTS)"),
		flag(&f.outputCurl, "output-curl-string", "show the request as a curl command, send nothing"),
		flag(&f.showPolicy, "output-policy", "show a policy that allows the request, send nothing"),
		text(&f.format, "format", "table, json, yaml, pretty or raw (VAULT_FORMAT)"),
		text(&f.field, "field", "show only this field"),
		flag(&f.detailed, "detailed", "show more (VAULT_DETAILED)"),
	}
}

const connection = "Connection and output"

// repeated is a flag that may be given more than once.
func repeated(name, usage, category string, set func([]string) error) cli.Flag {
	return &cli.StringSliceFlag{Name: name, Usage: usage, Category: category,
		Action: func(_ *cli.Context, v []string) error { return set(v) }}
}

// fields is a request body made of the flags that were given, under the wire's names. A flag that was not given is
// not sent: the server's default holds, and a change leaves the rest as it is.
type fields map[string]any

func (f fields) text(flag, field, usage string) cli.Flag {
	return &cli.StringFlag{Name: flag, Usage: usage,
		Action: func(_ *cli.Context, v string) error { f[field] = v; return nil }}
}

func (f fields) number(flag, field, usage string) cli.Flag {
	return &cli.StringFlag{Name: flag, Usage: usage, Action: func(_ *cli.Context, v string) error {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return mistake("-%s: not a whole number: %q", flag, v)
		}
		f[field] = n
		return nil
	}}
}

func (f fields) boolean(flag, field, usage string) cli.Flag {
	return &cli.BoolFlag{Name: flag, Usage: usage,
		Action: func(_ *cli.Context, v bool) error { f[field] = v; return nil }}
}

// duration is sent in Go's form. "system" and negative values stand for the system's default where alsoSystem is set.
func (f fields) duration(flag, field, usage string, alsoSystem bool) cli.Flag {
	return &cli.StringFlag{Name: flag, Usage: usage, Action: func(_ *cli.Context, v string) error {
		if alsoSystem && (v == "system" || v == "-1") {
			f[field] = "system"
			return nil
		}
		d, err := parseDuration(v)
		if err != nil {
			return mistake("-%s: %s", flag, err)
		}
		f[field] = d.String()
		return nil
	}}
}

func (f fields) list(flag, field, usage string) cli.Flag {
	return repeated(flag, usage, "", func(v []string) error { f[field] = v; return nil })
}

func (f fields) pairs(flag, field, usage string) cli.Flag {
	return repeated(flag, usage, "", func(v []string) error {
		m := map[string]string{}
		for _, pair := range v {
			name, value, ok := strings.Cut(pair, "=")
			if !ok || name == "" {
				return mistake("-%s: want KEY=VALUE", flag)
			}
			m[name] = value
		}
		f[field] = m
		return nil
	})
}

// leaf describes a command that does something.
type leaf struct {
	name, args, usage string
	help              string     // more than the usage line; optional
	min, max          int        // number of arguments; max -1: any
	flags             []cli.Flag // besides the client's
	run               func(ctx context.Context, args []string) error
	local             bool // sends nothing: takes no client flags, and signals are its own affair

	ownFormat bool // -format is among flags: the output's is not
}

// command makes the parser's form of l.
func (e *env) command(l leaf) *cli.Command {
	c := &cli.Command{
		Name: l.name, ArgsUsage: l.args, Usage: l.usage, Description: l.help,
		CustomHelpTemplate: commandHelp,
		HideHelpCommand:    true,
		OnUsageError:       usageError,
		Flags:              l.flags,
		Action: func(c *cli.Context) error {
			args := c.Args().Slice()
			if err := checkArguments(l, args); err != nil {
				return err
			}
			if l.local {
				return l.run(c.Context, args)
			}
			if _, err := e.format(); err != nil {
				return err
			}
			ctx, stop := interruptible(c.Context)
			defer stop()
			return l.run(ctx, args)
		},
	}
	if !l.local {
		for _, f := range e.clientFlags() {
			if !l.ownFormat || f.Names()[0] != "format" {
				c.Flags = append(c.Flags, f)
			}
		}
	}
	return c
}

func checkArguments(l leaf, args []string) error {
	expected := fmt.Sprint(l.min)
	switch {
	case l.max < 0:
		expected = fmt.Sprintf("at least %d", l.min)
	case l.max > l.min:
		expected = fmt.Sprintf("%d-%d", l.min, l.max)
	}
	switch {
	case len(args) < l.min:
		return mistake("Not enough arguments (expected %s, got %d)", expected, len(args)).hint("arguments: %s", l.args)
	case l.max >= 0 && len(args) > l.max:
		f := mistake("Too many arguments (expected %s, got %d)", expected, len(args))
		for _, arg := range args {
			if strings.HasPrefix(arg, "-") && arg != "-" {
				return f.hint("flags stand before the arguments")
			}
		}
		return f
	}
	return nil
}

// group is a command that holds others.
func group(name, usage string, commands ...*cli.Command) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, Subcommands: commands,
		CustomHelpTemplate: groupHelp,
		HideHelpCommand:    true,
		OnUsageError:       usageError,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknownCommand(c)
			}
			err := unknownCommand(c).(*failure)
			err.code = exitMistake
			return err
		},
	}
}

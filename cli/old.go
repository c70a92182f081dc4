package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// oldForms are the verbs of the time before commands had groups. Scripts still use them: each is today's command
// under its old name, with a notice on stderr.
//
// Source: public command reference before version 0.9.2.
func (e *env) oldForms() []*cli.Command {
	return []*cli.Command{
		e.old("mount", "secrets enable", e.mountEnable(secretsKind)),
		e.old("mount-tune", "secrets tune", e.mountTune(secretsKind)),
		e.old("mounts", "secrets list", e.mountList(secretsKind)),
		e.old("unmount", "secrets disable", e.mountDisable(secretsKind)),
		e.old("remount", "secrets move", e.mountMove(secretsKind)),
		e.old("auth-enable", "auth enable", e.mountEnable(authKind)),
		e.old("auth-disable", "auth disable", e.mountDisable(authKind)),
		e.old("audit-enable", "audit enable", e.auditEnable()),
		e.old("audit-disable", "audit disable", e.auditDisable()),
		e.old("audit-list", "audit list", e.auditList()),
		e.old("policies", "policy list or policy read", e.oldPolicies()),
		e.old("policy-write", "policy write", e.policyWrite()),
		e.old("policy-delete", "policy delete", e.policyDelete()),
		e.old("token-create", "token create", e.tokenCreate()),
		e.old("token-lookup", "token lookup", e.tokenLookup()),
		e.old("token-renew", "token renew", e.tokenRenew()),
		e.old("token-revoke", "token revoke", e.tokenRevoke()),
		e.old("capabilities", "token capabilities", e.tokenCapabilities()),
		e.old("renew", "lease renew", e.oldRenew()),
		e.old("revoke", "lease revoke", e.leaseRevoke()),
		e.old("init", "operator init", withIgnored(e.operatorInit(), "auto")),
		e.old("unseal", "operator unseal", e.operatorUnseal()),
		e.old("seal", "operator seal", e.operatorSeal()),
		e.old("step-down", "operator step-down", e.operatorStepDown()),
		e.old("rekey", "operator rekey", e.operatorRekey()),
		e.old("rotate", "operator rotate", e.operatorRotate()),
		e.old("key-status", "operator key-status", e.operatorKeyStatus()),
		e.old("generate-root", "operator generate-root", e.operatorGenerateRoot()),
	}
}

// old is command under the name it once had.
func (e *env) old(name, now string, command *cli.Command) *cli.Command {
	command.Name, command.Hidden = name, true
	action := command.Action
	command.Action = func(c *cli.Context) error {
		e.deprecated(name, now)
		return action(c)
	}
	return command
}

func (e *env) deprecated(name, now string) {
	_, _ = fmt.Fprintf(e.stderr, "WARNING! \"%s %s\" is deprecated: use \"%s %s\".\n\n", e.program, name, e.program, now)
}

// withIgnored adds flags that once meant something and do no harm today.
func withIgnored(command *cli.Command, names ...string) *cli.Command {
	for _, name := range names {
		command.Flags = append(command.Flags, &cli.BoolFlag{Name: name, Hidden: true})
	}
	return command
}

// oldPolicies lists the policies, or prints the one that is named.
func (e *env) oldPolicies() *cli.Command {
	return e.command(leaf{
		args: "[NAME]", max: 1,
		run: func(ctx context.Context, args []string) error {
			if len(args) == 1 {
				return readPolicy(ctx, e, args[0])
			}
			return listPolicies(ctx, e)
		},
	})
}

// oldRenew takes the increment as a second argument.
func (e *env) oldRenew() *cli.Command {
	body := fields{}
	return e.command(leaf{
		args: "LEASE [INCREMENT]", min: 1, max: 2,
		flags: []cli.Flag{leaseIncrement(body)},
		run: func(ctx context.Context, args []string) error {
			if len(args) == 2 {
				d, err := parseDuration(args[1])
				if err != nil {
					return mistake("increment: %s", err)
				}
				body["increment"] = d.String()
			}
			return renewLease(ctx, e, args[0], body)
		},
	})
}

// acceptOldAuth lets the auth group log in, as "auth TOKEN" and "auth -method=m k=v" once did. A word that could be
// a mistyped subcommand is not taken for a token.
func (e *env) acceptOldAuth(auth *cli.Command) *cli.Command {
	var o loginOptions
	var methods, methodHelp bool
	usage := auth.Action
	auth.Flags = append(o.flags(), e.clientFlags()...)
	auth.Flags = append(auth.Flags,
		&cli.BoolFlag{Name: "methods", Destination: &methods},
		&cli.BoolFlag{Name: "method-help", Destination: &methodHelp})
	auth = withIgnored(auth, "no-verify")
	auth.Action = func(c *cli.Context) error {
		args := c.Args().Slice()
		loggingIn := c.NArg() > 0 && looksLikeToken(args[0])
		for _, name := range []string{"method", "path", "no-store", "no-print", "token-only"} {
			loggingIn = loggingIn || c.IsSet(name)
		}
		ctx, stop := interruptible(c.Context)
		defer stop()
		switch {
		case methods:
			e.deprecated("auth -methods", "auth list")
			return listMounts(ctx, e, authKind)
		case methodHelp:
			e.deprecated("auth -method-help", "auth help")
			return showLoginHelp(ctx, e, o.method)
		case loggingIn:
			e.deprecated("auth", "login")
			if _, err := e.format(); err != nil {
				return err
			}
			return login(ctx, e, o, args)
		}
		return usage(c)
	}
	return auth
}

// looksLikeToken tells a token (or - for stdin, or the root token of a trial server) from a mistyped subcommand.
func looksLikeToken(word string) bool {
	return word == "-" || word == "root" || len(word) >= 20 || strings.ContainsAny(word, ".=0123456789")
}

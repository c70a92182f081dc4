package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/urfave/cli/v2"

	"leasehold/client"
	"leasehold/internal/secret"
)

func (e *env) tokenCreate() *cli.Command {
	body := fields{}
	var role string
	return e.command(leaf{
		name: "create", usage: "Make a token, a child of one's own",
		flags: []cli.Flag{
			body.list("policy", "policies", "policy of the token; repeatable"),
			body.duration("ttl", "ttl", "first lifetime", false),
			body.duration("period", "period", "lifetime that every renewal starts again; needs sudo", false),
			body.duration("explicit-max-ttl", "explicit_max_ttl", "hard limit of the lifetime", false),
			body.number("use-limit", "num_uses", "number of requests after which it ends"),
			body.boolean("renewable", "renewable", "may be renewed (default: true)"),
			body.boolean("orphan", "no_parent", "outlives the token that makes it; needs sudo"),
			body.boolean("no-default-policy", "no_default_policy", "without the default policy"),
			body.text("display-name", "display_name", "name in the audit log"),
			body.text("entity-alias", "entity_alias", "entity alias; only with -role"),
			body.text("id", "id", "the token itself; needs sudo"),
			body.text("type", "type", "service or batch"),
			body.pairs("metadata", "meta", "KEY=VALUE for the audit log; repeatable"),
			&cli.StringFlag{Name: "role", Usage: "token role to make it by", Destination: &role},
		},
		run: func(ctx context.Context, _ []string) error {
			path := "auth/token/create"
			if role != "" {
				path += "/" + role
			}
			resp, err := e.call(ctx, http.MethodPut, path, body)
			if err != nil {
				return failed(err, "Error creating token")
			}
			return e.showAnswer(resp, "")
		},
	})
}

func (e *env) tokenLookup() *cli.Command {
	var accessor bool
	return e.command(leaf{
		name: "lookup", args: "[TOKEN | ACCESSOR]", usage: "Show a token: one's own, or the given one",
		max:   1,
		flags: []cli.Flag{accessorFlag(&accessor)},
		run: func(ctx context.Context, args []string) error {
			token, err := e.tokenArgument(args, accessor)
			if err != nil {
				return err
			}
			method, path, body := http.MethodPut, "auth/token/lookup", fields{"token": token.Reveal()}
			switch {
			case accessor:
				path, body = "auth/token/lookup-accessor", fields{"accessor": token.Reveal()}
			case token.Empty():
				method, path, body = http.MethodGet, "auth/token/lookup-self", nil
			}
			resp, err := e.call(ctx, method, path, orNothing(body))
			if err != nil {
				return failed(err, "Error looking up token")
			}
			return e.showAnswer(resp, "")
		},
	})
}

func (e *env) tokenRenew() *cli.Command {
	var accessor bool
	body := fields{}
	return e.command(leaf{
		name: "renew", args: "[TOKEN]", usage: "Prolong a token: one's own, or the given one",
		max: 1,
		flags: []cli.Flag{
			accessorFlag(&accessor),
			body.duration("increment", "increment", "wanted lifetime from now", false),
		},
		run: func(ctx context.Context, args []string) error {
			token, err := e.tokenArgument(args, accessor)
			if err != nil {
				return err
			}
			path := "auth/token/renew-self"
			switch {
			case accessor:
				path, body["accessor"] = "auth/token/renew-accessor", token.Reveal()
			case !token.Empty():
				path, body["token"] = "auth/token/renew", token.Reveal()
			}
			resp, err := e.call(ctx, http.MethodPut, path, body)
			if err != nil {
				return failed(err, "Error renewing token")
			}
			return e.showAnswer(resp, "")
		},
	})
}

func (e *env) tokenRevoke() *cli.Command {
	var self, accessor bool
	var mode string
	return e.command(leaf{
		name: "revoke", args: "[TOKEN | ACCESSOR]", usage: "End a token, its children and their leases",
		max: 1,
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "self", Usage: "one's own token", Destination: &self},
			accessorFlag(&accessor),
			&cli.StringFlag{Name: "mode", Usage: "orphan: the children stay; path: all tokens made below the path given", Destination: &mode},
		},
		run: func(ctx context.Context, args []string) error { return revokeToken(ctx, e, args, self, accessor, mode) },
	})
}

func revokeToken(ctx context.Context, e *env, args []string, self, accessor bool, mode string) error {
	switch {
	case self && len(args) > 0:
		return mistake("Too many arguments with -self (expected 0, got %d)", len(args))
	case self && mode != "":
		return mistake("-self cannot be combined with -mode")
	case accessor && mode != "":
		return mistake("-accessor cannot be combined with -mode=%s", mode)
	case !self && len(args) == 0:
		return mistake("Not enough arguments (expected 1, got 0)").hint("-self ends one's own token")
	case mode != "" && mode != "orphan" && mode != "path":
		return mistake("Invalid mode: %s", mode).hint("modes: orphan, path")
	}
	token, err := e.secretArgument(args)
	if err != nil {
		return err
	}
	var path string
	var body fields
	switch {
	case self:
		path = "auth/token/revoke-self"
	case accessor:
		path, body = "auth/token/revoke-accessor", fields{"accessor": token.Reveal()}
	case mode == "orphan":
		path, body = "auth/token/revoke-orphan", fields{"token": token.Reveal()}
	case mode == "path":
		path = "sys/leases/revoke-prefix/" + cleanPath(args[0])
	default:
		path, body = "auth/token/revoke", fields{"token": token.Reveal()}
	}
	resp, err := e.call(ctx, http.MethodPut, path, orNothing(body))
	if err != nil {
		return failed(err, "Error revoking token")
	}
	return e.showAnswer(resp, "Success! Revoked token (if it existed)")
}

func (e *env) tokenCapabilities() *cli.Command {
	var accessor bool
	return e.command(leaf{
		name: "capabilities", args: "[TOKEN | ACCESSOR] PATH", usage: "Show what a token may do at a path",
		min: 1, max: 2,
		flags: []cli.Flag{accessorFlag(&accessor)},
		run:   func(ctx context.Context, args []string) error { return capabilities(ctx, e, args, accessor) },
	})
}

func capabilities(ctx context.Context, e *env, args []string, accessor bool) error {
	target := cleanPath(args[len(args)-1])
	path, body := "sys/capabilities-self", fields{"paths": []string{target}}
	switch {
	case accessor && len(args) < 2:
		return mistake("Not enough arguments (expected 2, got 1)").hint("-accessor wants ACCESSOR PATH")
	case accessor:
		path, body["accessor"] = "sys/capabilities-accessor", args[0]
	case len(args) == 2:
		token, err := e.secretArgument(args[:1])
		if err != nil {
			return err
		}
		path, body["token"] = "sys/capabilities", token.Reveal()
	}
	resp, err := e.call(ctx, http.MethodPut, path, body)
	if err != nil {
		return failed(err, "Error listing capabilities")
	}
	var answer struct {
		Capabilities []string `json:"capabilities"`
	}
	if err := resp.Decode(&answer); err != nil {
		return failed(err, "Error listing capabilities")
	}
	if e.structured() {
		return e.show(view{object: answer.Capabilities})
	}
	return e.print(strings.Join(answer.Capabilities, ", ") + "\n")
}

func accessorFlag(to *bool) cli.Flag {
	return &cli.BoolFlag{Name: "accessor", Usage: "the argument is the token's accessor", Destination: to}
}

// tokenArgument is the token or accessor of a command that means one's own token without an argument.
func (e *env) tokenArgument(args []string, accessor bool) (secret.Text, error) {
	if accessor && len(args) == 0 {
		return secret.Text{}, mistake("Not enough arguments with -accessor (expected 1, got 0)")
	}
	return e.secretArgument(args)
}

// orNothing sends no body where there are no fields.
func orNothing(f fields) any {
	if f == nil {
		return nil
	}
	return f
}

// showToken prints an answer that describes a token of ours in the form of a login's answer.
func (e *env) showToken(token secret.Text, looked *client.Response) error {
	answer := &client.Response{}
	answer.Warnings = looked.Warnings
	var data struct {
		Accessor         string         `json:"accessor"`
		TTL              json.Number    `json:"ttl"`
		Renewable        bool           `json:"renewable"`
		Policies         []string       `json:"policies"`
		IdentityPolicies []string       `json:"identity_policies"`
		Meta             map[string]any `json:"meta"`
		EntityID         string         `json:"entity_id"`
		Orphan           bool           `json:"orphan"`
		Type             string         `json:"type"`
	}
	if err := looked.Decode(&data); err != nil {
		return failed(err, "Error looking up token")
	}
	left, _ := data.TTL.Int64()
	answer.Auth = &client.Auth{
		ClientToken: token.Reveal(), Accessor: data.Accessor, LeaseDuration: left, Renewable: data.Renewable,
		TokenPolicies: data.Policies, IdentityPolicies: data.IdentityPolicies,
		Policies: append(data.Policies[:len(data.Policies):len(data.Policies)], data.IdentityPolicies...),
		Metadata: data.Meta, EntityID: data.EntityID, Orphan: data.Orphan, TokenType: data.Type,
	}
	return e.showAnswer(answer, "")
}

package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/urfave/cli/v2"

	"leasehold/client"
)

func (e *env) leaseLookup() *cli.Command {
	return e.command(leaf{
		name: "lookup", args: "ID", usage: "Show a lease: since when, until when, and why it could not be revoked",
		min: 1, max: 1,
		run: func(ctx context.Context, args []string) error {
			resp, err := e.call(ctx, http.MethodPut, "sys/leases/lookup", fields{"lease_id": cleanPath(args[0])})
			if err != nil {
				return failed(err, "Error looking up lease id %s", args[0])
			}
			return e.showAnswer(resp, "")
		},
	})
}

func (e *env) leaseList() *cli.Command {
	var irrevocable bool
	return e.command(leaf{
		name: "list", args: "[PREFIX]", usage: "List the leases (and folders of leases) below a prefix",
		help: "With -irrevocable: the leases whose users could not be removed from their database, and why.",
		max:  1,
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "irrevocable", Usage: "list the leases that could not be revoked", Destination: &irrevocable},
		},
		run: func(ctx context.Context, args []string) error {
			if irrevocable {
				if len(args) > 0 {
					return mistake("Too many arguments with -irrevocable (expected 0, got 1)")
				}
				return listIrrevocable(ctx, e)
			}
			path := "sys/leases/lookup"
			if len(args) > 0 {
				path += "/" + cleanPath(args[0])
			}
			return list(ctx, e, path, nil)
		},
	})
}

func listIrrevocable(ctx context.Context, e *env) error {
	q := url.Values{"type": {"irrevocable"}}
	resp, err := e.send(ctx, client.Request{Method: http.MethodGet, Path: "sys/leases", Query: q})
	if err != nil {
		return failed(err, "Error listing irrevocable leases")
	}
	var answer struct {
		Count  int `json:"lease_count"`
		Leases []struct {
			ID    string `json:"lease_id"`
			Error string `json:"error"`
		} `json:"leases"`
	}
	if err := resp.Decode(&answer); err != nil {
		return failed(err, "Error listing irrevocable leases")
	}
	if len(answer.Leases) == 0 && !e.structured() {
		return e.success("There are no irrevocable leases")
	}
	if left := answer.Count - len(answer.Leases); left > 0 && !e.structured() {
		e.warn([]string{fmt.Sprintf("%d more are not shown", left)})
	}
	rows := [][]string{{"Lease", "Error"}}
	for _, l := range answer.Leases {
		rows = append(rows, []string{l.ID, l.Error})
	}
	return e.show(view{rows: rows, object: resp.Data})
}

func (e *env) leaseRenew() *cli.Command {
	body := fields{}
	return e.command(leaf{
		name: "renew", args: "ID", usage: "Prolong a lease",
		min: 1, max: 1,
		flags: []cli.Flag{leaseIncrement(body)},
		run:   func(ctx context.Context, args []string) error { return renewLease(ctx, e, args[0], body) },
	})
}

func leaseIncrement(body fields) cli.Flag {
	return body.duration("increment", "increment", "wanted lifetime from now", false)
}

func renewLease(ctx context.Context, e *env, id string, body fields) error {
	body["lease_id"] = cleanPath(id)
	resp, err := e.call(ctx, http.MethodPut, "sys/leases/renew", body)
	if err != nil {
		return failed(err, "Error renewing lease %s", id)
	}
	return e.showAnswer(resp, "")
}

// leaseRevokeOptions are the flags of lease revoke.
type leaseRevokeOptions struct {
	prefix bool // the argument is a prefix of many leases
	force  bool // forget them even when revoking them fails
	sync   bool // wait until they are revoked
}

func (e *env) leaseRevoke() *cli.Command {
	var o leaseRevokeOptions
	return e.command(leaf{
		name: "revoke", args: "ID", usage: "End a lease, or with -prefix all leases below a prefix",
		min: 1, max: 1,
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "prefix", Usage: "the argument is a prefix of leases", Destination: &o.prefix},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Destination: &o.force,
				Usage: "with -prefix: forget the leases even if their users stay in the database"},
			&cli.BoolFlag{Name: "sync", Usage: "wait until it is done", Destination: &o.sync},
		},
		run: func(ctx context.Context, args []string) error { return revokeLease(ctx, e, args[0], o) },
	})
}

func revokeLease(ctx context.Context, e *env, id string, o leaseRevokeOptions) error {
	id = cleanPath(id)
	if o.force && !o.prefix {
		return mistake("Specifying -force requires also specifying -prefix")
	}
	path, body, done := "sys/leases/revoke", fields{"lease_id": id, "sync": o.sync}, "Success! Revoked lease: "+id
	switch {
	case o.force:
		warning := "Forgetting leases by force can leave their users in the database, where nothing will remove them."
		if err := e.confirm(ctx, warning, id); err != nil {
			return err
		}
		e.warn([]string{warning})
		path, body, done = "sys/leases/revoke-force/"+id, nil, "Success! Force revoked any leases with prefix: "+id
	case o.prefix:
		path, body, done = "sys/leases/revoke-prefix/"+id, fields{"sync": o.sync}, "Success! Revoked any leases with prefix: "+id
	}
	resp, err := e.call(ctx, http.MethodPut, path, orNothing(body))
	switch {
	case err != nil && o.prefix:
		return failed(err, "Error revoking leases with prefix %s", id)
	case err != nil:
		return failed(err, "Error revoking lease %s", id)
	case !o.sync && !o.force:
		done = "All revocation operations queued successfully!"
	}
	return e.showAnswer(resp, done)
}

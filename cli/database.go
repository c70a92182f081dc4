package cli

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/urfave/cli/v2"

	"leasehold/client"
)

// reconcileOptions are the flags of database reconcile.
type reconcileOptions struct {
	mount  string
	remove bool
	status bool
}

func databaseMountFlag(to *string) cli.Flag {
	return &cli.StringFlag{Name: "mount", Usage: "where the secrets engine is mounted", Value: "database", Destination: to}
}

// databasePath is the path of a name below a mount's folder.
func databasePath(mount, folder, name string) string {
	return cleanPath(mount) + "/" + folder + "/" + cleanPath(name)
}

func (e *env) databaseConnections() *cli.Command { return e.databaseList("connections", "config") }
func (e *env) databaseRoles() *cli.Command       { return e.databaseList("roles", "roles") }

func (e *env) databaseList(name, folder string) *cli.Command {
	var mount string
	return e.command(leaf{
		name: name, usage: "List the " + name,
		flags: []cli.Flag{databaseMountFlag(&mount)},
		run: func(ctx context.Context, _ []string) error {
			return list(ctx, e, cleanPath(mount)+"/"+folder, nil)
		},
	})
}

func (e *env) databaseRotateRoot() *cli.Command {
	var mount string
	return e.command(leaf{
		name: "root", args: "CONNECTION", usage: "Give the user that a connection logs in as a new password, which only the server knows",
		min: 1, max: 1,
		flags: []cli.Flag{databaseMountFlag(&mount)},
		run: func(ctx context.Context, args []string) error {
			err := e.confirm(ctx, "From then on nobody but the server knows the password of the connection's user.", args[0])
			if err != nil {
				return err
			}
			return rotateRoot(ctx, e, mount, args[0])
		},
	})
}

func rotateRoot(ctx context.Context, e *env, mount, connection string) error {
	path := databasePath(mount, "rotate-root", connection)
	resp, err := e.call(ctx, http.MethodPut, path, nil)
	if err != nil {
		return failed(err, "Error rotating the password of connection %s", connection)
	}
	return e.showAnswer(resp, "Success! Rotated the password of connection: "+connection)
}

func (e *env) databaseRotateRole() *cli.Command {
	var mount string
	return e.command(leaf{
		name: "role", args: "STATIC-ROLE", usage: "Give the user of a static role a new password now",
		min: 1, max: 1,
		flags: []cli.Flag{databaseMountFlag(&mount)},
		run: func(ctx context.Context, args []string) error {
			resp, err := e.call(ctx, http.MethodPut, databasePath(mount, "rotate-role", args[0]), nil)
			if err != nil {
				return failed(err, "Error rotating the password of static role %s", args[0])
			}
			return e.showAnswer(resp, "Success! Rotated the password of static role: "+args[0])
		},
	})
}

func (e *env) databaseReconcile() *cli.Command {
	var o reconcileOptions
	return e.command(leaf{
		name: "reconcile", args: "NAME", usage: "Compare the users of a connection's database with the leases",
		help: `Orphans are users with the mark of this server's store that no lease names; -remove drops them. Missing are
active leases whose user is gone. Foreign are users that look like ours: they are never touched.
The exit code is 0 whatever is found, and 2 when an orphan could not be removed.`,
		min: 1, max: 1,
		flags: []cli.Flag{
			databaseMountFlag(&o.mount),
			&cli.BoolFlag{Name: "remove", Usage: "drop the orphans", Destination: &o.remove},
			&cli.BoolFlag{Name: "status", Usage: "do not compare: show what was found last, and when the next time is", Destination: &o.status},
		},
		run: func(ctx context.Context, args []string) error { return reconcile(ctx, e, args[0], o) },
	})
}

func reconcile(ctx context.Context, e *env, name string, o reconcileOptions) error {
	path := cleanPath(o.mount) + "/reconcile/" + cleanPath(name)
	if o.status {
		if o.remove {
			return mistake("-status and -remove do not go together")
		}
		resp, err := e.call(ctx, http.MethodGet, path+"/status", nil)
		if err != nil {
			return failed(err, "Error reading %s", path+"/status")
		}
		return e.showAnswer(resp, "")
	}
	method, body := http.MethodGet, fields(nil)
	if o.remove {
		if err := e.confirm(ctx, "Users without a lease will be dropped from the database; whoever is logged in as one is cut off.", name); err != nil {
			return err
		}
		method, body = http.MethodPut, fields{"remove": true}
	}
	resp, err := e.call(ctx, method, path, orNothing(body))
	if err != nil {
		return failed(err, "Error reconciling %s", path)
	}
	e.warn(resp.Warnings)
	return e.showReconciled(resp, o.remove)
}

// reconciled is the answer.
type reconciled struct {
	CheckedAt string `json:"checked_at"`
	Users     int    `json:"user_count"`
	Leases    int    `json:"lease_count"`
	Unmarked  int    `json:"unmarked_count"`

	OrphanCount  int `json:"orphan_count"`
	MissingCount int `json:"missing_count"`
	ForeignCount int `json:"foreign_count"`
	Failed       int `json:"failed_count"`

	Orphans []finding `json:"orphans"`
	Missing []finding `json:"missing"`
	Foreign []finding `json:"foreign"`
}

type finding struct {
	Name    string `json:"name"`
	LeaseID string `json:"lease_id"`
	Created string `json:"created"`
	Expires string `json:"expires"`
	Reason  string `json:"reason"`
	Removed bool   `json:"removed"`
	Error   string `json:"error"`
}

func (e *env) showReconciled(resp *client.Response, remove bool) error {
	var answer reconciled
	if err := resp.Decode(&answer); err != nil {
		return failed(err, "Error reading the answer")
	}
	format, err := e.format()
	if err != nil {
		return err
	}
	if e.flags.field != "" || format != formatTable && format != formatPretty {
		err = e.show(view{object: resp.Data})
	} else {
		err = e.print(answer.table())
	}
	switch {
	case err != nil:
		return err
	case remove && answer.Failed > 0:
		return refused("%d of %d users could not be removed", answer.Failed, len(answer.Orphans))
	}
	return nil
}

// table is the counts, and the findings below if there are any.
func (r *reconciled) table() string {
	counts := keyValues()
	for _, count := range []struct {
		name string
		n    int
	}{
		{"users", r.Users}, {"leases", r.Leases}, {"orphans", r.OrphanCount}, {"missing", r.MissingCount},
		{"foreign", r.ForeignCount}, {"unmarked", r.Unmarked},
	} {
		counts = append(counts, []string{count.name, strconv.Itoa(count.n)})
	}
	text := table(append(counts, []string{"checked_at", r.CheckedAt}))

	rows := [][]string{{"Finding", "User", "Since", "Until", "About"}}
	for _, kind := range []struct {
		name string
		list []finding
		all  int
	}{{"orphan", r.Orphans, r.OrphanCount}, {"missing", r.Missing, r.MissingCount}, {"foreign", r.Foreign, r.ForeignCount}} {
		for _, f := range kind.list {
			rows = append(rows, []string{kind.name, f.Name, orDash(f.Created), orDash(f.Expires), f.about()})
		}
		if more := kind.all - len(kind.list); more > 0 {
			rows = append(rows, []string{kind.name, fmt.Sprintf("and %d more", more), "-", "-", "not listed"})
		}
	}
	if len(rows) > 1 {
		text += "\n" + table(rows)
	}
	return text
}

func (f finding) about() string {
	switch {
	case f.Removed:
		return "removed"
	case f.Error != "":
		return "not removed: " + f.Error
	case f.LeaseID != "":
		return f.LeaseID
	}
	return f.Reason
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

package postgres

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"leasehold/plugins"
)

// A mark is a line of the role's comment, written in the transaction that makes the role. Who may drop a role may comment on
// it, so the connection's user needs no further privilege; the role itself may not, so it can't take its mark away. The
// comment goes with the role. See docs/adr/0010-marks.md.

// leaveUnmarked goes back to beforeMark. That stands in a message before the mark's: a server that does not know COMMENT ON ROLE
// reads nothing of the message that holds it.
const (
	beforeMark    = "SAVEPOINT leasehold_mark;\n"
	leaveUnmarked = "ROLLBACK TO SAVEPOINT leasehold_mark;\n"
)

// created is what the statements have made.
type created struct {
	exists  bool
	comment string
}

// lookAtCreated is a query whose answer readCreated reads.
func lookAtCreated(name string) string {
	return "SELECT made.oid, d.description FROM (SELECT " + roleOf(name) + "::pg_catalog.oid AS oid) made" + joinComment("made")
}

// joinComment adds a role's comment as d.description.
func joinComment(role string) string {
	return " LEFT JOIN pg_catalog.pg_shdescription d ON d.objoid = " + role + ".oid" +
		" AND d.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass::pg_catalog.oid"
}

func readCreated(row [][]byte) created {
	return created{exists: row[0] != nil, comment: string(row[1])}
}

// markBy writes the mark below what the statements say about the role; it is empty when there is no mark, or no role.
func (r created) markBy(c change) string {
	if c.mark == "" || !r.exists {
		return ""
	}
	var lines []string
	for line := range strings.SplitSeq(r.comment, "\n") {
		if line != "" && !strings.HasPrefix(line, plugins.MarkPrefix) {
			lines = append(lines, line)
		}
	}
	comment := strings.Join(append(lines, c.mark), "\n")
	return "COMMENT ON ROLE " + quoteIdentifier(c.name) + " IS " + quoteAnyhow(comment) + ";\n"
}

// markOf finds the mark in a comment; empty: there is none.
func markOf(comment string) string {
	for line := range strings.SplitSeq(comment, "\n") {
		if strings.HasPrefix(line, plugins.MarkPrefix) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// unmarkable reports whether the mark was refused for good, while the transaction can go on without it: the statements may
// have made the role with the rights of somebody else, and not every server that speaks PostgreSQL's language has comments.
func unmarkable(err error, txStatus byte) bool {
	var answer *pgconn.PgError
	if txStatus != 'E' || !errors.As(err, &answer) || len(answer.Code) != 5 {
		return false
	}
	return answer.Code[:2] == "42" || answer.Code[:2] == "0A"
}

const (
	everyAccount  = "SELECT r.rolname::pg_catalog.text, d.description, r.rolvaliduntil FROM pg_catalog.pg_roles r"
	namedAccounts = " WHERE r.rolname = ANY ($1::pg_catalog.name[])"
)

// Accounts are the roles, whether they can log in or not.
func (d *Database) Accounts(ctx context.Context, names []string, each func(plugins.Account)) error {
	const op = "list users"
	conn, err := d.acquire(ctx, op)
	if err != nil {
		return err
	}
	defer conn.Release()
	query, args := everyAccount+joinComment("r"), []any(nil)
	if len(names) > 0 {
		query, args = query+namedAccounts, []any{names}
	}
	rows, _ := conn.Query(ctx, query, args...)
	var (
		a       plugins.Account
		comment *string
		until   pgtype.Timestamptz
	)
	_, err = pgx.ForEachRow(rows, []any{&a.Name, &comment, &until}, func() error {
		a.Mark, a.Expiration = "", until.Time // zero when there is none, and for infinity
		if comment != nil {
			a.Mark = markOf(*comment)
		}
		each(a)
		return nil
	})
	if err != nil {
		return d.fail(op, sentClass(err), err)
	}
	return nil
}

// quoteAnyhow quotes a text for any setting of standard_conforming_strings: the operator's statements may have changed it.
func quoteAnyhow(text string) string {
	return `E'` + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + `'`
}

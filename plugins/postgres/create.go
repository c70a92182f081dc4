package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/plugins"
	"leasehold/plugins/sqltext"
)

const (
	// expirationFormat is what {{expiration}} looks like.
	expirationFormat = "2006-01-02 15:04:05-0700"

	// rollbackTimeout is for giving up a transaction in good order after the caller's own time is over. When it passes,
	// the connection is closed, which undoes the transaction too.
	rollbackTimeout = time.Second

	// maxAttempts is how often a call begins again because somebody else changed the same rows.
	maxAttempts = 20

	// takeTurns makes the statements of this database that change access lists wait for each other.
	takeTurns = "SELECT pg_catalog.pg_advisory_xact_lock(7018957439261370228::pg_catalog.int8);\n"
)

var (
	changesAccess = regexp.MustCompile(`(?is)\b(?:grant|revoke)\b.*\bon\b|\bowned\s+by\b`)
	creation      = regexp.MustCompile(`(?i)\bcreate\s+(role|user|group)\s+(\S+)`)
)

// CreateUser makes the user by u.Statements, all or nothing: two round trips, and one more the first time to ask how the
// server keeps passwords.
//
// The mark is a line of the role's comment, below what the statements may have written there. See marks.go.
//
// A user with a Key gets no password: statements that have {{password}} in them are refused.
//
// When the statements create a role, but none of u.Name (a bare {{name}} is folded to lower case), they are undone: nobody
// would drop it.
//
// Benchmarks: bench_test.go.
func (d *Database) CreateUser(ctx context.Context, u plugins.User) error {
	const op = "create user"
	if err := checkName(u.Name); err != nil {
		return d.fail(op, plugins.Permanent, err)
	}
	c := change{op: op, name: u.Name, password: u.Password, expiration: u.Expiration, statements: u.Statements, creates: true, mark: u.Mark,
		rounds: d.rounds}
	if c.expiration.IsZero() {
		c.never = true
	}
	return d.apply(ctx, c)
}

// AlterUser sets the password, the expiry or both, by c.Statements or else by ALTER ROLE. It works for the connection's own
// user as well; the pool keeps its open connections then, and needs new settings for others.
func (d *Database) AlterUser(ctx context.Context, name string, c plugins.Change) error {
	const op = "alter user"
	if err := checkName(name); err != nil {
		return d.fail(op, plugins.Permanent, err)
	}
	statements := c.Statements
	if len(statements) == 0 {
		sql := "ALTER ROLE \"{{name}}\" WITH"
		if !c.Password.Empty() {
			sql += " PASSWORD '{{password}}'"
		}
		if !c.Expiration.IsZero() {
			sql += " VALID UNTIL '{{expiration}}'"
		}
		statements = []string{sql}
	}
	return d.apply(ctx, change{op: op, name: name, password: c.Password, expiration: c.Expiration, statements: statements, rounds: scramRounds})
}

// checkName refuses what PostgreSQL would silently store as another name.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the user's name is empty")
	case len(name) > maxNameBytes:
		return fmt.Errorf("the user's name is longer than %d bytes", maxNameBytes)
	case strings.ContainsRune(name, 0):
		return errors.New("the user's name holds a zero byte")
	}
	return nil
}

// change is a transaction of the operator's statements.
type change struct {
	op         string
	name       string
	password   secret.Text
	expiration time.Time
	never      bool // the expiration is given, and it is none
	statements []string
	creates    bool   // a role of that name has to be there afterwards
	mark       string // to be kept with it; empty: nothing
	rounds     int    // of the password's verifier
}

// apply runs the statements in one transaction, and again when somebody else's change of the same rows undid it. See the
// package comment for the order of messages.
func (d *Database) apply(ctx context.Context, c change) error {
	statements, verifier, err := d.render(ctx, c)
	secrets := masks(c.password, verifier)
	if err != nil {
		var own *plugins.Error
		if errors.As(err, &own) {
			return err
		}
		return d.fail(c.op, plugins.Permanent, err, secrets...)
	}
	if len(statements) == 0 {
		return d.fail(c.op, plugins.Permanent, errors.New("the statements are empty"))
	}
	conn, err := d.acquire(ctx, c.op)
	if err != nil {
		return err
	}
	defer conn.Release() // closes the connection when a transaction is still open

	class := plugins.Unknown
	for range maxAttempts {
		if class, err = d.transact(ctx, conn.Conn().PgConn(), c, statements); err == nil {
			return nil
		}
		if !raced(err) || class == plugins.Unknown {
			break
		}
	}
	return d.fail(c.op, class, err, secrets...)
}

// transact runs the statements once. The class is that of the error, without meaning when there is none.
func (d *Database) transact(ctx context.Context, pg *pgconn.PgConn, c change, statements []string) (plugins.Class, error) {
	var script strings.Builder
	begin(ctx, &script)
	writeStatements(&script, statements)
	if c.creates {
		script.WriteString(beforeMark + lookAtCreated(c.name))
	}
	// Crash: the server undoes the transaction when the connection breaks.
	results, err := pg.Exec(ctx, script.String()).ReadAll()
	switch {
	case err != nil && pg.TxStatus() == 'I' && len(results) > 0:
		return plugins.Unknown, fmt.Errorf("the statements ended the transaction: %w", err)
	case err != nil:
		d.rollback(ctx, pg)
		return sentClass(err), err
	case pg.TxStatus() != 'T':
		return plugins.Unknown, errors.New("the statements ended the transaction")
	}
	var made created
	if c.creates {
		made = readCreated(results[len(results)-1].Rows[0])
	}
	switch {
	case c.creates && !made.exists && createRole(statements):
		d.rollback(ctx, pg)
		return plugins.Permanent, errors.New("the statements make no role of the user's name; is {{name}} in double quotes?")
	case ctx.Err() != nil:
		d.rollback(ctx, pg)
		return plugins.Refused, context.Cause(ctx)
	}
	// Crash: the user may exist; the caller recorded its name before.
	mark := made.markBy(c)
	results, err = pg.Exec(ctx, mark+"COMMIT").ReadAll()
	if mark != "" && unmarkable(err, pg.TxStatus()) {
		results, err = pg.Exec(ctx, leaveUnmarked+"COMMIT").ReadAll()
	}
	if err != nil {
		d.rollback(ctx, pg)
		return commitClass(err), err
	}
	if tag := results[len(results)-1].CommandTag.String(); tag != "COMMIT" {
		return plugins.Refused, errors.New("the server undid the transaction")
	}
	return plugins.Unknown, nil
}

// render fills in the values; the verifier comes back so that it can be kept out of errors.
func (d *Database) render(ctx context.Context, c change) ([]string, secret.Text, error) {
	parsed, err := parse(c.statements)
	if err != nil {
		return nil, secret.Text{}, err
	}
	v := sqltext.Values{"name": c.name, "username": c.name}
	switch {
	case !c.expiration.IsZero():
		v["expiration"] = c.expiration.UTC().Format(expirationFormat)
	case c.never:
		v["expiration"] = "infinity"
	}
	var made secret.Text
	if !c.password.Empty() {
		v["password"] = c.password.Reveal()
		everywhere := d.authentication == authVerifier
		inRoles := false
		if d.authentication == authAutomatic {
			if inRoles, err = d.verifiers(ctx, c.op); err != nil {
				return nil, secret.Text{}, err
			}
		}
		if everywhere || inRoles {
			if made, err = verifier(c.password, c.rounds); err != nil {
				return nil, secret.Text{}, err
			}
			v["verifier"] = made.Reveal()
		}
		if everywhere {
			v["password"] = made.Reveal()
		}
		for i := range parsed {
			if !inRoles {
				break
			}
			if parsed[i], err = lexer.Cut(verifiersOnly(parsed[i].String())); err != nil {
				return nil, secret.Text{}, err
			}
		}
	}
	filled, err := fillAll(v, parsed)
	return filled, made, err
}

// createRole reports whether the statements create a role themselves, not by calling a function.
func createRole(statements []string) bool {
	for _, s := range statements {
		for _, m := range creation.FindAllStringSubmatch(s, -1) {
			if !strings.EqualFold(m[1]+m[2], "usermapping") {
				return true
			}
		}
	}
	return false
}

// begin opens a transaction whose statements the server stops a tenth before the caller's time is over. The last setting
// frees the locks of a transaction whose client is gone without a word.
func begin(ctx context.Context, script *strings.Builder) {
	script.WriteString("BEGIN;\n")
	deadline, ok := ctx.Deadline()
	if !ok {
		return
	}
	left := max(deadline.Sub(clock.System{}.Now())*9/10/time.Millisecond, 1)
	for _, name := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		fmt.Fprintf(script, "SET LOCAL %s = %d;\n", name, left)
	}
}

// writeStatements adds statements, and takes turns before the first that changes an access list. A line break ends a
// comment that a statement may end in.
func writeStatements(script *strings.Builder, statements []string) {
	turn := false
	for _, s := range statements {
		if !turn && changesAccess.MatchString(s) {
			turn = true
			script.WriteString(takeTurns)
		}
		script.WriteString(s)
		script.WriteString("\n;\n")
	}
}

// rollback keeps the connection usable. Errors do not matter: the connection is closed then.
func (d *Database) rollback(ctx context.Context, pg *pgconn.PgConn) {
	if pg.IsClosed() || pg.TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	_, _ = pg.Exec(ctx, "ROLLBACK").ReadAll()
}

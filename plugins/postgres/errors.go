package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"leasehold/internal/secret"
	"leasehold/plugins"
)

// classes says what an SQLSTATE means for the caller, by the five characters or by the class, the first two. The
// transaction that was answered so is undone, hence the rest is Refused.
// Source: PostgreSQL's documentation, appendix "PostgreSQL Error Codes".
var classes = map[string]plugins.Class{
	"08":    plugins.Unknown,   // connection exception
	"0A":    plugins.Permanent, // feature not supported
	"21":    plugins.Permanent, // cardinality violation
	"22":    plugins.Permanent, // data exception, such as division by zero
	"25006": plugins.Refused,   // read-only transaction: a standby that may become the primary
	"28":    plugins.Refused,   // invalid authorization
	"2BP01": plugins.Refused,   // dependent objects still exist
	"2D":    plugins.Permanent, // invalid transaction termination: COMMIT in a function
	"40":    plugins.Refused,   // serialization failure, deadlock
	"40003": plugins.Unknown,   // statement completion unknown
	"42":    plugins.Permanent, // syntax error, unknown or duplicate name
	"42501": plugins.Refused,   // insufficient privilege: an operator may grant it
	"53":    plugins.Refused,   // insufficient resources
	"54":    plugins.Permanent, // program limit exceeded
	"55":    plugins.Refused,   // object in use, lock not available
	"57":    plugins.Refused,   // cancelled, shutting down
	"XX":    plugins.Refused,   // internal: "tuple concurrently updated" among them
}

func classOf(sqlState string) plugins.Class {
	if class, ok := classes[sqlState]; ok {
		return class
	}
	if len(sqlState) == 5 {
		if class, ok := classes[sqlState[:2]]; ok {
			return class
		}
	}
	return plugins.Refused
}

// sentClass is the class of an error after a connection was taken from the pool. Whether anything was sent can't be
// told: pgconn.SafeToRetry (5.12) is also true of a connection that broke while its answer was waited for.
func sentClass(err error) plugins.Class {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return classOf(answer.Code)
	}
	return plugins.Unknown
}

// commitClass is the class of an error of COMMIT. A session that ends there may have committed.
func commitClass(err error) plugins.Class {
	var answer *pgconn.PgError
	if errors.As(err, &answer) && answer.SeverityUnlocalized != "ERROR" {
		return plugins.Unknown
	}
	return sentClass(err)
}

// raced reports whether the transaction was undone because somebody else changed the same rows at the same time, so that
// the same statements may succeed at once. XX000 is "tuple concurrently updated" or "deleted".
func raced(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && answer.SeverityUnlocalized == "ERROR" &&
		(answer.Code == "XX000" || answer.Code == "40001" || answer.Code == "40P01")
}

// turnedAway is why the server answered a login with no; nil: it did not.
func turnedAway(err error) error {
	var login *pgconn.ConnectError
	var answer *pgconn.PgError
	switch {
	case !errors.As(err, &login) || !errors.As(err, &answer), strings.HasPrefix(answer.Code, "57"): // starting up, shutting down
		return nil
	case answer.Code == "28P01":
		return plugins.ErrWrongPassword
	}
	return plugins.ErrNotAdmitted
}

// mask is a text that no error may hold, and what is shown instead.
type mask struct{ secret, shown string }

func passwordMasks(passwords ...secret.Text) []mask {
	var masks []mask
	for _, p := range passwords {
		if p.Empty() {
			continue
		}
		plain := p.Reveal()
		for _, form := range []string{plain, strings.ReplaceAll(plain, `'`, `''`), strings.ReplaceAll(plain, `"`, `""`)} {
			masks = append(masks, mask{form, "[password]"})
		}
	}
	return masks
}

// fail makes the error that callers see: without the connection's secrets and without those of this call.
func (d *Database) fail(op string, class plugins.Class, err error, secrets ...mask) error {
	masks := slices.Concat(d.secrets, secrets)
	// A secret may be part of a longer one.
	slices.SortStableFunc(masks, func(a, b mask) int { return len(b.secret) - len(a.secret) })
	text := err.Error()
	var answer *pgconn.PgError
	if errors.As(err, &answer) && answer.Code == "2BP01" && answer.Detail != "" {
		text += ": " + strings.ReplaceAll(answer.Detail, "\n", ", ")
	}
	var pairs []string
	for _, m := range masks {
		pairs = append(pairs, m.secret, m.shown)
	}
	clean := &cleanError{text: strings.NewReplacer(pairs...).Replace(text), cause: turnedAway(err)}
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, cause) {
			clean.cause = cause
		}
	}
	return &plugins.Error{Op: op, Class: class, Err: clean}
}

// cleanError does not wrap the driver's error, whose fields quote statements.
type cleanError struct {
	text  string
	cause error // a context's error, one of those that tell of a login, or nil
}

func (e *cleanError) Error() string { return e.text }
func (e *cleanError) Unwrap() error { return e.cause }

package postgres

import (
	"errors"
	"fmt"
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

// forms are the ways in which a password may be quoted back.
func forms(plain string) []string {
	return []string{plain, strings.ReplaceAll(plain, `'`, `''`), strings.ReplaceAll(plain, `"`, `""`)}
}

// masks hide a password and its verifier, but for the part of this that is the same in all.
func masks(password, verifier secret.Text) []plugins.Mask {
	_, own, _ := strings.Cut(verifier.Reveal(), ":")
	return plugins.MaskPassword(append(forms(password.Reveal()), own)...)
}

// fail makes the error that callers see: without the connection's secrets and without those of this call.
func (d *Database) fail(op string, class plugins.Class, err error, secrets ...plugins.Mask) error {
	why := turnedAway(err)
	var answer *pgconn.PgError
	if errors.As(err, &answer) && answer.Code == "2BP01" && answer.Detail != "" {
		err = fmt.Errorf("%w: %s", err, strings.ReplaceAll(answer.Detail, "\n", ", "))
	}
	return &plugins.Error{Op: op, Class: class, Err: plugins.Conceal(err, why, d.secrets, secrets)}
}

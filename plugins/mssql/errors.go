package mssql

import (
	"errors"
	"slices"
	"strings"

	mssql "github.com/microsoft/go-mssqldb"

	"leasehold/plugins"
)

// permanent are the error numbers after which trying again is useless. What is not here is Refused: a right, a lock or a resource
// is missing, and that may change.
// Source: SQL Server's documentation, "Database Engine events and errors".
var permanent = []int32{
	102,                                             // syntax
	103,                                             // a name is too long
	105,                                             // a quote does not end
	111,                                             // must be the first statement of a batch
	113,                                             // a comment does not end
	137,                                             // an undeclared variable
	156,                                             // syntax near a key word
	195,                                             // no such function
	207,                                             // no such column
	208,                                             // no such object
	319,                                             // syntax near WITH
	343,                                             // unknown object type in a statement
	911,                                             // no such database
	1934,                                            // wrong SET options
	2714,                                            // there is such an object already
	2759,                                            // CREATE SCHEMA failed because of errors before
	2812,                                            // no such procedure
	4604,                                            // no such user or role
	4606,                                            // a right does not fit the object
	4902,                                            // no such object
	15006,                                           // not a valid name
	15007,                                           // no such login
	15014,                                           // no such role
	15023,                                           // there is such a user already
	15025,                                           // there is such a login already
	15063,                                           // the login has a user of another name
	15114,                                           // the password must not be changed this way
	15115, 15116, 15117, 15118, 15119, 15128, 15535, // the password does not satisfy the server's policy
	15151, // cannot find it, or no right to
	15404, // no information about a Windows group or user
	15410, // no such user or role in this database
	15517, // no such principal to execute as
	33233, // contained users only in contained databases
	33234, // no such kind of login
	33264, // not in a contained database
}

// The error numbers that something is done about.
const (
	errNoLogin     = 15007
	errUserExists  = 15023
	errLoginExists = 15025 // a server role counts, too
	errCannotFind  = 15151 // or may not be touched
	errLoggedIn    = 15434
	errDeadlock    = 1205 // and this one was chosen to go
	errKillRight   = 6102
	errNotActive   = 6106 // of KILL: no such session
	errNoStatus    = 6120 // of KILL: it is going already

	fatal = 20 // severity from which on the server ends the session
)

// numberOf is the server's error number; 0: it did not answer with an error, or ended the session with it.
func numberOf(err error) int32 {
	var ended mssql.ServerError
	var answer mssql.Error
	if errors.As(err, &ended) || !errors.As(err, &answer) || answer.Class >= fatal {
		return 0
	}
	return answer.Number
}

// numbersOf are the numbers of all errors of an answer, or of several that are joined.
func numbersOf(err error) (numbers []int32) {
	switch e := err.(type) {
	case mssql.Error:
		for _, one := range append([]mssql.Error{e}, e.All...) {
			if one.Class < fatal {
				numbers = append(numbers, one.Number)
			}
		}
	case mssql.ServerError:
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			numbers = append(numbers, numbersOf(one)...)
		}
	case interface{ Unwrap() error }:
		return numbersOf(e.Unwrap())
	}
	return numbers
}

// answered reports whether the server said no.
func answered(err error) bool { return numberOf(err) != 0 }

// is reports whether one of the numbers is in an answer.
func is(err error, numbers ...int32) bool {
	return slices.ContainsFunc(numbersOf(err), func(n int32) bool { return slices.Contains(numbers, n) })
}

// classOf is the class of an error of statements that are one step.
func classOf(err error) plugins.Class {
	var own refusal
	switch {
	case errors.As(err, &own):
		return plugins.Refused
	case !answered(err):
		return plugins.Unknown
	case is(err, permanent...):
		return plugins.Permanent
	}
	return plugins.Refused
}

// refusal is an error of ours that says that the user, or a session of it, is still there.
type refusal string

func (r refusal) Error() string { return string(r) }

// lookClass is the class of an error of a query that changes nothing. When it was not answered, it is as if nothing was sent.
func lookClass(err error) plugins.Class {
	if class := classOf(err); class != plugins.Unknown {
		return class
	}
	return plugins.Unreachable
}

// forms are the ways in which a password may be quoted back.
func forms(plain string) []string {
	all := []string{plain}
	for _, mark := range []string{`'`, `"`, `]`} {
		all = append(all, strings.ReplaceAll(plain, mark, mark+mark))
	}
	return append(all, strings.ReplaceAll(plain, `'`, `''''`)) // in dynamic SQL
}

// turnedAway is the error of a login that failed. The server says the same (18456) of a wrong password and of much else.
func (d *Database) turnedAway(op string, err error) error {
	var why error
	if answered(err) {
		why = plugins.ErrNotAdmitted
	}
	return &plugins.Error{Op: op, Class: plugins.Unreachable, Err: plugins.Conceal(err, why, d.secrets, nil)}
}

// fail makes the error that callers see: without the connection's secrets and without those of this call.
func (d *Database) fail(op string, class plugins.Class, err error, secrets ...plugins.Mask) *plugins.Error {
	return &plugins.Error{Op: op, Class: class, Err: plugins.Conceal(err, nil, d.secrets, secrets)}
}

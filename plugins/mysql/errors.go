package mysql

import (
	"errors"
	"strings"

	"github.com/go-sql-driver/mysql"

	"leasehold/plugins"
)

// classes says what an error number means for the caller. What is not here is Refused: a right, a lock or a resource is
// missing, and that may change.
// Source: MySQL's "Server Error Message Reference" and MariaDB's "Error Code Reference".
var classes = map[uint16]plugins.Class{
	1046: plugins.Permanent, // no database selected
	1049: plugins.Permanent, // unknown database
	1051: plugins.Permanent, // unknown table
	1053: plugins.Unknown,   // shutting down
	1054: plugins.Permanent, // unknown column
	1064: plugins.Permanent, // syntax error
	1065: plugins.Permanent, // empty query
	1102: plugins.Permanent, // incorrect database name
	1103: plugins.Permanent, // incorrect table name
	1133: plugins.Permanent, // no matching row in the user table
	1141: plugins.Permanent, // no such grant
	1144: plugins.Permanent, // illegal GRANT
	1146: plugins.Permanent, // unknown table
	1147: plugins.Permanent, // no such grant on a table
	1193: plugins.Permanent, // unknown system variable
	1221: plugins.Permanent, // incorrect usage
	1231: plugins.Permanent, // wrong value for a variable
	1269: plugins.Permanent, // can't revoke all privileges
	1305: plugins.Permanent, // unknown procedure
	1327: plugins.Permanent, // undeclared variable
	1372: plugins.Permanent, // not a password hash
	1396: plugins.Permanent, // the user exists already, or does not
	1403: plugins.Permanent, // no such grant on a routine
	1470: plugins.Permanent, // the name is too long
	1524: plugins.Permanent, // unknown authentication plugin
	1819: plugins.Permanent, // the password does not satisfy the server's policy
	1959: plugins.Permanent, // unknown role
	3162: plugins.Permanent, // an account does not exist
	3523: plugins.Permanent, // unknown account
}

// The error numbers that something is done about.
const (
	errNoSuchGrant        = 1141
	errNoSuchTableGrant   = 1147
	errNoSuchRoutineGrant = 1403
	errNoMatchingUser     = 1133
	errRevokeAll          = 1269
	errAccountFailed      = 1396 // of CREATE, ALTER and DROP USER: it exists already, or does not
	errNoSuchThread       = 1094
	errNotOwner           = 1095
	errAccessDenied       = 1227
	errTableDenied        = 1142
	errUnknownRole        = 1959
	errForbiddenByOption  = 1290
)

// numberOf is the server's error number; 0: it did not answer with an error.
func numberOf(err error) uint16 {
	var answer *mysql.MySQLError
	if errors.As(err, &answer) {
		return answer.Number
	}
	return 0
}

// answered reports whether the server said no.
func answered(err error) bool { return numberOf(err) != 0 && classOf(err) != plugins.Unknown }

// classOf is the class of an error of a statement that changes one thing.
func classOf(err error) plugins.Class {
	number := numberOf(err)
	if number == 0 {
		return plugins.Unknown
	}
	if class, ok := classes[number]; ok {
		return class
	}
	return plugins.Refused
}

// aboutNobody reports whether a statement failed because the account that it names is not there, or has no such rights.
func aboutNobody(err error) bool {
	switch numberOf(err) {
	case errNoSuchGrant, errNoSuchTableGrant, errNoSuchRoutineGrant, errNoMatchingUser, errRevokeAll, errAccountFailed, 3162, 3523:
		return true
	}
	return false
}

// wantsClear reports whether a MariaDB server took no hash: one that checks passwords wants to see them.
func wantsClear(err error) bool {
	return numberOf(err) == errForbiddenByOption && strings.Contains(err.Error(), "strict-password-validation")
}

// turnedAway is the error of a login that failed. The servers do not tell a wrong password from a user of another host.
func (d *Database) turnedAway(op string, err error) error {
	var why error
	if answered(err) {
		why = plugins.ErrNotAdmitted
	}
	return &plugins.Error{Op: op, Class: plugins.Unreachable, Err: plugins.Conceal(err, why, d.secrets, nil)}
}

// forms are the ways in which a password may be quoted back.
func forms(plain string) []string {
	backslashes := strings.ReplaceAll(plain, `\`, `\\`)
	all := []string{plain, backslashes}
	for _, s := range []string{plain, backslashes} {
		for _, mark := range []string{`'`, `"`, "`"} {
			all = append(all, strings.ReplaceAll(s, mark, mark+mark))
		}
	}
	return all
}

// fail makes the error that callers see: without the connection's secrets and without those of this call.
func (d *Database) fail(op string, class plugins.Class, err error, secrets ...plugins.Mask) *plugins.Error {
	return &plugins.Error{Op: op, Class: class, Err: plugins.Conceal(err, nil, d.secrets, secrets)}
}

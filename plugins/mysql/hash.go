package mysql

import (
	"crypto/sha1" // it is what the server stores
	"fmt"
	"regexp"

	"leasehold/internal/secret"
	"leasehold/plugins/sqltext"
)

// nativeHash is what a server stores of a password that is checked by mysql_native_password. It has no salt: it is as secret as a
// long random password is hard to guess.
// Source: MariaDB's documentation, "Authentication Plugin - mysql_native_password".
func nativeHash(password secret.Text) string {
	first := sha1.Sum([]byte(password.Reveal())) // see the import
	return fmt.Sprintf("*%X", sha1.Sum(first[:]))
}

var identifiedBy = regexp.MustCompile(`(?i)\bidentified\s+by\s*$`)

// hashesOnly is the statement with IDENTIFIED BY PASSWORD '{{hash}}' for each IDENTIFIED BY '{{password}}'. To MariaDB the two mean the
// same; whatever else is done with a password needs the password.
func hashesOnly(s sqltext.Statement) sqltext.Statement {
	changed := make(sqltext.Statement, len(s))
	copy(changed, s)
	for i := 1; i < len(s); i++ {
		before, t := s[i-1], s[i]
		if t.Kind == text && t.Text[1:len(t.Text)-1] == "{{password}}" && before.Kind == sqltext.Code && identifiedBy.MatchString(before.Text) {
			changed[i-1].Text += " PASSWORD "
			changed[i].Text = "'{{hash}}'"
		}
	}
	return changed
}

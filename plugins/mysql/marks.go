package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"leasehold/plugins"
)

// MySQL keeps the mark as an attribute of the account. MariaDB has no place for it but the membership in a role: one without
// rights, whose name says which store has made the user. See docs/adr/0010-marks.md and 0013-mysql.md.

// rolePrefix begins the names of those roles: then comes the store, and the connection's user who made the role and may give it. Who
// may do so is settled when a role is made, so each has his own.
const rolePrefix = "leasehold_"

var (
	storeWord   = regexp.MustCompile(`(?:^| )store=([0-9A-Za-z]+)(?: |$)`)
	versionWord = regexp.MustCompile(`^(\d+)\.(\d+)\.(\d+)`)
)

// mark writes the mark of the accounts. Where the server, or a right that is missing, does not allow it, the user stays without.
func (s *session) mark(ctx context.Context, mark string) error {
	if s.maria {
		return s.markByRole(ctx, mark)
	}
	if !s.hasAttributes() {
		return nil
	}
	attribute := fmt.Sprintf(`{"leasehold": %s}`, strconv.Quote(mark)) // printable ASCII: quoted as JSON wants it
	return allowFailure(s.exec(ctx, "ALTER USER "+list(s.accounts)+" ATTRIBUTE "+quoteText(attribute, s.mode)))
}

func (s *session) markByRole(ctx context.Context, mark string) error {
	found := storeWord.FindStringSubmatch(mark)
	if found == nil {
		return nil
	}
	role := quoteName(rolePrefix + found[1] + "_" + s.d.user)
	grant := "GRANT " + role + " TO " + list(s.accounts)
	err := s.exec(ctx, grant)
	if numberOf(err) != errUnknownRole {
		return allowFailure(err)
	}
	// Crash: a role without members stays; the next user gets it.
	if err := s.exec(ctx, "CREATE ROLE IF NOT EXISTS "+role); err != nil {
		return allowFailure(err)
	}
	return allowFailure(s.exec(ctx, grant))
}

// allowFailure passes over that the server said no.
func allowFailure(err error) error {
	if answered(err) {
		return nil
	}
	return err
}

// hasAttributes reports whether the server is MySQL 8.0.21 or later.
func (s *session) hasAttributes() bool {
	parts := versionWord.FindStringSubmatch(s.version)
	if s.maria || parts == nil {
		return false
	}
	number := 0
	for _, part := range parts[1:] {
		n, err := strconv.Atoi(part)
		if err != nil || n > 999 {
			return false
		}
		number = number*1000 + n
	}
	return number >= 8_000_021
}

// Accounts are the users, whether they can log in or not, each once.
func (d *Database) Accounts(ctx context.Context, names []string, each func(plugins.Account)) error {
	var last *plugins.Account
	err := d.read(ctx, func(s *session) string { return s.everyAccount(names) }, func(rows *sql.Rows) error {
		var name string
		var mark sql.NullString
		if err := rows.Scan(&name, &mark); err != nil {
			return err
		}
		if last != nil && last.Name != name {
			each(*last)
			last = nil
		}
		if last == nil {
			last = &plugins.Account{Name: name}
		}
		if text := markOf(mark.String); text != "" {
			last.Mark = text
		}
		return nil
	})
	if err == nil && last != nil {
		each(*last)
	}
	return err
}

// everyAccount is a query for names and marks, in the order of names.
func (s *session) everyAccount(names []string) string {
	var columns, where string
	switch {
	case s.maria:
		columns = "m.Role FROM mysql.user u LEFT JOIN mysql.roles_mapping m ON m.User = u.User AND m.Host = u.Host AND LEFT(m.Role, " +
			strconv.Itoa(len(rolePrefix)) + ") = '" + rolePrefix + "' AND m.Admin_option = 'N'"
		where = " WHERE u.is_role = 'N'"
	case s.hasAttributes():
		columns = "JSON_UNQUOTE(JSON_EXTRACT(a.ATTRIBUTE, '$.leasehold')) FROM mysql.user u" +
			" LEFT JOIN information_schema.USER_ATTRIBUTES a ON a.USER = u.User AND a.HOST = u.Host"
		where = " WHERE TRUE"
	default:
		columns, where = "NULL FROM mysql.user u", " WHERE TRUE"
	}
	if len(names) > 0 {
		var quoted []string
		for _, name := range names {
			quoted = append(quoted, quoteBytes(name))
		}
		where += " AND u.User IN (" + strings.Join(quoted, ", ") + ")"
	}
	return "SELECT u.User, " + columns + where + " ORDER BY u.User"
}

// markOf reads an attribute, or the name of a role.
func markOf(text string) string {
	if rest, ok := strings.CutPrefix(text, rolePrefix); ok {
		store, _, _ := strings.Cut(rest, "_")
		return plugins.MarkPrefix + "store=" + store
	}
	if strings.HasPrefix(text, plugins.MarkPrefix) {
		return strings.TrimSpace(text)
	}
	return ""
}

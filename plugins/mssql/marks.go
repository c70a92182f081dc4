package mssql

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf16"

	"leasehold/plugins"
)

// Logins have no properties, so the mark of one is its membership in a server role without rights, whose name says which store has
// made the login. A user of a contained database has an extended property. See docs/adr/0010-marks.md and 0014-mssql.md.

const (
	// rolePrefix begins the names of those roles: then comes the store, and the connection's user, who owns the role and so may add
	// members.
	rolePrefix = "leasehold_"

	// property is the extended property's name.
	property = "leasehold"
)

var storeWord = regexp.MustCompile(`(?:^| )store=([0-9A-Za-z]+)(?: |$)`)

// mark writes the mark of the user. Where a right that is missing does not allow it, the user stays without.
func (s *session) mark(ctx context.Context, name, mark string) error {
	if s.d.contained {
		return allowFailure(s.exec(ctx, "EXEC sys.sp_addextendedproperty @name = N'"+property+"', @value = "+quoteText(mark)+
			", @level0type = N'USER', @level0name = "+quoteText(name)))
	}
	found := storeWord.FindStringSubmatch(mark)
	if found == nil {
		return nil
	}
	name, role := quoteName(name), rolePrefix+found[1]+"_"+s.d.user
	if len(utf16.Encode([]rune(role))) > maxName {
		return nil
	}
	add := "ALTER SERVER ROLE " + quoteName(role) + " ADD MEMBER " + name
	err := s.exec(ctx, add)
	if !is(err, errCannotFind) {
		return allowFailure(err)
	}
	// Crash: a role without members stays; the next login gets it.
	if err := s.exec(ctx, "CREATE SERVER ROLE "+quoteName(role)); err != nil && !is(err, errLoginExists) {
		return allowFailure(err)
	}
	return allowFailure(s.exec(ctx, add))
}

// allowFailure passes over that the server said no.
func allowFailure(err error) error {
	if answered(err) {
		return nil
	}
	return err
}

// Accounts are the users, whether they can log in or not, each once.
func (d *Database) Accounts(ctx context.Context, names []string, each func(plugins.Account)) error {
	var last *plugins.Account
	err := d.read(ctx, d.everyAccount(names), func(rows *sql.Rows) error {
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
func (d *Database) everyAccount(names []string) string {
	query := "SELECT p.name, r.name FROM sys.server_principals AS p" +
		" LEFT JOIN sys.server_role_members AS m ON m.member_principal_id = p.principal_id" +
		" LEFT JOIN sys.server_principals AS r ON r.principal_id = m.role_principal_id WHERE p.type = 'S'"
	if d.contained {
		query = fmt.Sprintf("SELECT p.name, CONVERT(nvarchar(4000), e.value) FROM sys.database_principals AS p"+
			" LEFT JOIN sys.extended_properties AS e ON e.major_id = p.principal_id AND e.class = 4 AND e.name = N'%s'"+
			" WHERE p.type = 'S' AND p.principal_id > %d", property, lastOwn)
	}
	if len(names) > 0 {
		var quoted []string
		for _, name := range names {
			quoted = append(quoted, quoteText(name))
		}
		query += " AND p.name IN (" + strings.Join(quoted, ", ") + ")"
	}
	return query + " ORDER BY p.name"
}

// markOf reads a property, or the name of a role.
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

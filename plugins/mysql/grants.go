package mysql

import (
	"context"
	"database/sql"
	"strings"

	"leasehold/plugins"
)

var _ plugins.Granter = (*Database)(nil)

// Grants is what SHOW GRANTS says of each account of the user. Rights that come with a role are not told, only the role.
func (d *Database) Grants(ctx context.Context, name string) ([]string, error) {
	const op = "list grants"
	s, err := d.begin(ctx, op, name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := s.bound(ctx, nil); err != nil {
		return nil, d.fail(op, lookClass(err), err)
	}
	var lines []string
	for _, a := range s.accounts {
		of, err := s.grants(ctx, a)
		if err != nil {
			return nil, d.fail(op, lookClass(err), readable(err))
		}
		lines = append(lines, of...)
	}
	return lines, nil
}

func (s *session) grants(ctx context.Context, a account) (lines []string, err error) {
	rows, err := s.conn.QueryContext(ctx, "SHOW GRANTS FOR "+a.String())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var line sql.NullString
		if err := rows.Scan(&line); err != nil {
			return nil, err
		}
		if line.Valid {
			lines = append(lines, withoutHash(line.String))
		}
	}
	return lines, rows.Err()
}

// withoutHash takes out how the account is identified: the servers quote the hash of its password there. A name that holds the word
// is cut, too.
func withoutHash(line string) string {
	const option = " WITH GRANT OPTION"
	grant, rest, cut := strings.Cut(line, " IDENTIFIED ")
	if cut && strings.HasSuffix(rest, option) {
		return grant + option
	}
	return grant
}

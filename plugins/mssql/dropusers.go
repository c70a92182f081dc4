package mssql

import (
	"context"
	"database/sql"
	"fmt"
)

// lastOwn is the last of the principals that each database has: dbo, guest, INFORMATION_SCHEMA, sys. A login that owns a database is dbo
// there; only another owner of the database can change that, and the server refuses to drop the login until then.
const lastOwn = 4

// dropInDatabase drops the users that a login has in a database; their names may be others than the login's.
func (s *session) dropInDatabase(ctx context.Context, database string, sid []byte) error {
	users, err := s.names(ctx, fmt.Sprintf("SELECT name FROM %s.sys.database_principals WHERE sid = 0x%X AND principal_id > %d", quoteName(database), sid, lastOwn))
	if err != nil || len(users) == 0 {
		return err
	}
	if err := s.enter(ctx, database); err != nil {
		return err
	}
	for _, user := range users {
		if err := s.dropDatabaseUser(ctx, user); err != nil {
			return err
		}
	}
	return nil
}

// dropDatabaseUser drops a user of the database that the session is in, once nothing belongs to it any more.
func (s *session) dropDatabaseUser(ctx context.Context, user string) error {
	if err := s.handOver(ctx, user); err != nil {
		return err
	}
	err := s.exec(ctx, "DROP USER "+quoteName(user))
	if err == nil || !answered(err) {
		return err
	}
	left, looked := s.names(ctx, "SELECT name FROM sys.database_principals WHERE name = "+quoteText(user))
	if looked != nil {
		return looked
	}
	if len(left) == 0 { // somebody else has dropped it
		return nil
	}
	return err
}

// handOver gives away what a user owns: schemas and roles to dbo, objects to whom their schema belongs. What else there is, certificates
// and assemblies say, the server names when it refuses to drop the user.
func (s *session) handOver(ctx context.Context, user string) error {
	owner := "DATABASE_PRINCIPAL_ID(" + quoteText(user) + ")"
	schemas := func() ([]string, error) {
		return s.names(ctx, "SELECT name FROM sys.schemas WHERE principal_id = "+owner)
	}
	roles := func() ([]string, error) {
		return s.names(ctx, "SELECT name FROM sys.database_principals WHERE type = 'R' AND owning_principal_id = "+owner)
	}
	objects := func() (names []string, err error) {
		err = s.query(ctx, "SELECT s.name, o.name FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.principal_id = "+owner,
			func(rows *sql.Rows) error {
				var schema, object string
				err := rows.Scan(&schema, &object)
				names = append(names, quoteName(schema)+"."+quoteName(object))
				return err
			})
		return names, err
	}
	for _, what := range []struct {
		kind, to string
		list     func() ([]string, error)
		quote    func(string) string
	}{
		{"SCHEMA", "[dbo]", schemas, quoteName},
		{"ROLE", "[dbo]", roles, quoteName},
		{"OBJECT", "SCHEMA OWNER", objects, func(quoted string) string { return quoted }},
	} {
		owned, err := what.list()
		if err != nil {
			return err
		}
		for _, one := range owned {
			// Crash: it belongs to its new owner, who keeps it.
			name := what.kind + "::" + what.quote(one)
			err := s.exec(ctx, "ALTER AUTHORIZATION ON "+name+" TO "+what.to)
			if err != nil && answered(err) {
				if left, looked := what.list(); looked == nil && len(left) == 0 {
					break // somebody else has done it
				}
				return fmt.Errorf("the user owns %s, which the connection's user may not hand over, without CONTROL on the database (db_owner): %w", name, err)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// numbers runs a query for numbers.
func (s *session) numbers(ctx context.Context, query string) (numbers []int64, err error) {
	err = s.query(ctx, query, func(rows *sql.Rows) error {
		var n int64
		err := rows.Scan(&n)
		numbers = append(numbers, n)
		return err
	})
	return numbers, err
}

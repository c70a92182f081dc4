package mssql

import (
	"context"
	"fmt"

	"leasehold/plugins"
)

var _ plugins.Granter = (*Database)(nil)

// grantsUnseen ends the answer of Grants.
const grantsUnseen = "-- rights granted to the user itself are not listed"

// Grants tells the roles that the login is a member of, on the server and in each database that the connection's user can enter; of a
// contained database those in it.
func (d *Database) Grants(ctx context.Context, name string) ([]string, error) {
	const op = "list grants"
	s, err := d.begin(ctx, op, name)
	if err != nil {
		return nil, err
	}
	defer s.close(ctx)
	if s.sid == nil {
		return nil, nil
	}
	lines, err := s.memberships(ctx, name)
	if err != nil {
		return nil, d.fail(op, lookClass(err), err)
	}
	return append(lines, grantsUnseen), nil
}

func (s *session) memberships(ctx context.Context, name string) (lines []string, err error) {
	databases := []string{s.home}
	if !s.d.contained {
		roles, err := s.names(ctx, "SELECT r.name FROM sys.server_role_members AS m JOIN sys.server_principals AS r ON r.principal_id = m.role_principal_id"+
			" JOIN sys.server_principals AS p ON p.principal_id = m.member_principal_id WHERE p.name = "+quoteText(name)+" ORDER BY r.name")
		if err != nil {
			return nil, err
		}
		for _, role := range roles {
			lines = append(lines, "ALTER SERVER ROLE "+quoteName(role)+" ADD MEMBER "+quoteName(name))
		}
		if databases, err = s.names(ctx, "SELECT name FROM sys.databases WHERE state = 0 AND HAS_DBACCESS(name) = 1 ORDER BY name"); err != nil {
			return nil, err
		}
	}
	for _, database := range databases {
		in := quoteName(database) + ".sys."
		users, err := s.names(ctx, fmt.Sprintf("SELECT name FROM %sdatabase_principals WHERE sid = 0x%X", in, s.sid))
		if err != nil {
			return nil, err
		}
		for _, user := range users {
			roles, err := s.names(ctx, "SELECT r.name FROM "+in+"database_role_members AS m JOIN "+in+"database_principals AS r ON r.principal_id = m.role_principal_id"+
				" JOIN "+in+"database_principals AS p ON p.principal_id = m.member_principal_id WHERE p.name = "+quoteText(user)+" ORDER BY r.name")
			if err != nil {
				return nil, err
			}
			lines = append(lines, "USE "+quoteName(database))
			for _, role := range roles {
				lines = append(lines, "ALTER ROLE "+quoteName(role)+" ADD MEMBER "+quoteName(user))
			}
		}
	}
	return lines, nil
}

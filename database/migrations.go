package database

import "leasehold/store"

// Migrations are the package's tables; the package comment says what they hold.
//
// Roles and static roles share a table: that is how a name can only be one of the two.
func Migrations() []store.Migration {
	return []store.Migration{{
		Package: "database",
		Version: 1,
		SQL: []string{
			`CREATE TABLE database_connections (
				id TEXT NOT NULL PRIMARY KEY,
				mount TEXT NOT NULL,
				name TEXT NOT NULL,
				version TEXT NOT NULL,
				retired BIGINT NOT NULL,
				settings BYTES NOT NULL,
				staged BYTES,
				staged_until BIGINT NOT NULL
			) STRICT`,
			`CREATE INDEX database_connections_mount ON database_connections (mount)`,
			`CREATE INDEX database_connections_retired ON database_connections (id) WHERE retired = 1`,
			`CREATE TABLE database_roles (
				id TEXT NOT NULL PRIMARY KEY,
				mount TEXT NOT NULL,
				name TEXT NOT NULL,
				kind TEXT NOT NULL CHECK (kind IN ('dynamic', 'static')),
				settings BYTES NOT NULL
			) STRICT`,
			`CREATE INDEX database_roles_mount ON database_roles (mount)`,
		},
		Sealed: []store.SealedColumn{
			{Table: "database_connections", Column: "settings", KeyColumn: "id"},
			{Table: "database_connections", Column: "staged", KeyColumn: "id"},
			{Table: "database_roles", Column: "settings", KeyColumn: "id"},
		},
	}}
}

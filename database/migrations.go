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
	}, {
		// due_at 0: to be worked out; null: never. checked_at 0: never compared. digest is blind.
		Package: "database",
		Version: 2,
		SQL: []string{
			`CREATE TABLE database_reconciles (
				id TEXT NOT NULL PRIMARY KEY,
				schedule TEXT NOT NULL,
				due_at BIGINT,
				version BIGINT NOT NULL,
				checked_at BIGINT NOT NULL,
				orphans BIGINT NOT NULL,
				missing BIGINT NOT NULL,
				foreign_users BIGINT NOT NULL,
				digest TEXT NOT NULL,
				failure BYTES
			) STRICT`,
			`INSERT INTO database_reconciles (id, schedule, due_at, version, checked_at, orphans, missing, foreign_users, digest)
				SELECT id, '@every 24h0m0s', 0, 0, 0, 0, 0, 0, '' FROM database_connections WHERE retired = 0`,
		},
		Sealed: []store.SealedColumn{{Table: "database_reconciles", Column: "failure", KeyColumn: "id"}},
	}, {
		// One row for each static role; package comment, "Static roles". account and second_account are blind; the latter is empty
		// where there is one user alone. connection is the id of a row of
		// database_connections, also while there is none.
		Package: "database",
		Version: 3,
		SQL: []string{
			`CREATE TABLE database_rotations (
				id TEXT NOT NULL PRIMARY KEY,
				mount TEXT NOT NULL,
				connection TEXT NOT NULL,
				account TEXT NOT NULL,
				second_account TEXT NOT NULL,
				version TEXT NOT NULL,
				born BIGINT NOT NULL,
				slot BIGINT NOT NULL,
				password BYTES,
				staged BYTES,
				doubt BIGINT NOT NULL,
				rotated_at BIGINT NOT NULL,
				planned_at BIGINT NOT NULL,
				due_at BIGINT NOT NULL,
				claimant BIGINT NOT NULL,
				claimed_until BIGINT NOT NULL,
				quiet_until BIGINT NOT NULL,
				attempts BIGINT NOT NULL,
				failure BYTES
			) STRICT`,
			`CREATE INDEX database_rotations_due ON database_rotations (connection, due_at)`,
			`CREATE INDEX database_rotations_mount ON database_rotations (mount)`,
			`CREATE INDEX database_rotations_account ON database_rotations (account)`,
			`CREATE INDEX database_rotations_second ON database_rotations (second_account)`,
			`CREATE INDEX database_rotations_claimant ON database_rotations (claimant) WHERE claimant <> 0`,
		},
		Sealed: []store.SealedColumn{
			{Table: "database_rotations", Column: "password", KeyColumn: "id"},
			{Table: "database_rotations", Column: "staged", KeyColumn: "id"},
			{Table: "database_rotations", Column: "failure", KeyColumn: "id"},
		},
	}, {
		// One row for each connection whose own password is rotated by itself; root_duty.go.
		Package: "database",
		Version: 4,
		SQL: []string{
			`CREATE TABLE database_root_rotations (
				id TEXT NOT NULL PRIMARY KEY,
				rhythm TEXT NOT NULL,
				version BIGINT NOT NULL,
				planned_at BIGINT NOT NULL,
				due_at BIGINT NOT NULL,
				rotated_at BIGINT NOT NULL,
				attempts BIGINT NOT NULL,
				failure BYTES
			) STRICT`,
			`CREATE INDEX database_root_rotations_due ON database_root_rotations (due_at)`,
		},
		Sealed: []store.SealedColumn{{Table: "database_root_rotations", Column: "failure", KeyColumn: "id"}},
	}}
}

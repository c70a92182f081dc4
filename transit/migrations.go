package transit

import "leasehold/store"

// Migrations are the package's tables; the package comment says what they hold.
func Migrations() []store.Migration {
	return []store.Migration{{
		Package: "transit",
		Version: 1,
		SQL: []string{
			`CREATE TABLE transit_keys (
				id TEXT NOT NULL PRIMARY KEY,
				mount TEXT NOT NULL,
				stamp TEXT NOT NULL,
				due_at BIGINT,
				name BYTES NOT NULL,
				settings BYTES NOT NULL
			) STRICT`,
			`CREATE INDEX transit_keys_mount ON transit_keys (mount)`,
			`CREATE INDEX transit_keys_due ON transit_keys (due_at) WHERE due_at IS NOT NULL`,
			`CREATE TABLE transit_versions (
				id TEXT NOT NULL PRIMARY KEY,
				owner TEXT NOT NULL REFERENCES transit_keys (id) ON DELETE CASCADE,
				number BIGINT NOT NULL,
				material BYTES NOT NULL
			) STRICT`,
			`CREATE UNIQUE INDEX transit_versions_owner ON transit_versions (owner, number)`,
			`CREATE TABLE transit_mounts (
				mount TEXT NOT NULL PRIMARY KEY,
				settings BYTES,
				wrapping BYTES
			) STRICT`,
		},
		Sealed: []store.SealedColumn{
			{Table: "transit_keys", Column: "name", KeyColumn: "id"},
			{Table: "transit_keys", Column: "settings", KeyColumn: "id"},
			{Table: "transit_versions", Column: "material", KeyColumn: "id"},
			{Table: "transit_mounts", Column: "settings", KeyColumn: "mount"},
			{Table: "transit_mounts", Column: "wrapping", KeyColumn: "mount"},
		},
	}}
}

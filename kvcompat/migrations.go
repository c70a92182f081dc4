package kvcompat

import "leasehold/store"

// Migrations are the package's tables; the package comment says what they hold.
func Migrations() []store.Migration {
	return []store.Migration{{
		Package: "kvcompat",
		Version: 1,
		SQL: []string{
			`CREATE TABLE kv_entries (
				id TEXT NOT NULL PRIMARY KEY,
				space TEXT NOT NULL,
				dir TEXT NOT NULL,
				form TEXT NOT NULL CHECK (form IN ('folder', 'plain', 'versioned')),
				name BYTES NOT NULL,
				value BYTES
			) STRICT`,
			`CREATE INDEX kv_entries_dir ON kv_entries (dir)`,
			`CREATE INDEX kv_entries_space ON kv_entries (space)`,
			`CREATE TABLE kv_versions (
				id TEXT NOT NULL PRIMARY KEY,
				entry TEXT NOT NULL REFERENCES kv_entries (id) ON DELETE CASCADE,
				number BIGINT NOT NULL,
				created_at BIGINT NOT NULL,
				ended_at BIGINT NOT NULL,
				destroyed BIGINT NOT NULL,
				data BYTES
			) STRICT`,
			`CREATE UNIQUE INDEX kv_versions_entry ON kv_versions (entry, number)`,
			`CREATE TABLE kv_settings (
				mount TEXT NOT NULL PRIMARY KEY,
				settings BYTES NOT NULL
			) STRICT`,
		},
		Sealed: []store.SealedColumn{
			{Table: "kv_entries", Column: "name", KeyColumn: "id"},
			{Table: "kv_entries", Column: "value", KeyColumn: "id"},
			{Table: "kv_versions", Column: "data", KeyColumn: "id"},
			{Table: "kv_settings", Column: "settings", KeyColumn: "mount"},
		},
	}}
}

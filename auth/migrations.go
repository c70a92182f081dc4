package auth

import "leasehold/store"

// Migrations are the package's tables. The partial indexes hold live rows only: what the reaper has dealt with leaves
// them, so that a batch never walks over the rows of the batches before it.
func Migrations() []store.Migration {
	return []store.Migration{{
		Package: "auth",
		Version: 1,
		SQL: []string{
			`CREATE TABLE tokens (
				seq SEQ,
				id TEXT NOT NULL UNIQUE,
				accessor TEXT NOT NULL UNIQUE,
				parent BIGINT NOT NULL,
				state TEXT NOT NULL CHECK (state IN ('live', 'dead', 'severed')),
				path TEXT NOT NULL,
				uses BIGINT NOT NULL,
				created_at BIGINT NOT NULL,
				renewed_at BIGINT NOT NULL,
				expires_at BIGINT,
				due_at BIGINT,
				granted BIGINT NOT NULL,
				sealed BYTES NOT NULL
			) STRICT`,
			`CREATE INDEX tokens_children ON tokens (parent) WHERE state = 'live'`,
			`CREATE INDEX tokens_path ON tokens (path) WHERE state = 'live'`,
			`CREATE INDEX tokens_due ON tokens (due_at) WHERE due_at IS NOT NULL`,
			`CREATE TABLE token_roles (name TEXT NOT NULL PRIMARY KEY, sealed BYTES NOT NULL) STRICT`,
		},
		Sealed: []store.SealedColumn{
			{Table: "tokens", Column: "sealed", KeyColumn: "id"},
			{Table: "token_roles", Column: "sealed", KeyColumn: "name"},
		},
	}}
}

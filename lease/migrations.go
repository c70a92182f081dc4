package lease

import "leasehold/store"

// Migrations are the package's tables.
//
// Targets are interned, so that a lease row carries a small number instead of three strings, and so that the reaper can
// walk the targets (tens) instead of the leases (a million). A target's row never changes.
func Migrations() []store.Migration {
	return []store.Migration{{
		Package: "lease",
		Version: 1,
		SQL: []string{
			`CREATE TABLE lease_targets (
				seq SEQ,
				kind TEXT NOT NULL,
				mount TEXT NOT NULL,
				name TEXT NOT NULL,
				UNIQUE (mount, name)
			) STRICT`,
			`CREATE TABLE leases (
				seq SEQ,
				id TEXT NOT NULL UNIQUE,
				target BIGINT NOT NULL,
				token BIGINT NOT NULL,
				state TEXT NOT NULL CHECK (state IN ('pending', 'active', 'revoking')),
				due_at BIGINT NOT NULL,
				issued_at BIGINT NOT NULL,
				expires_at BIGINT NOT NULL,
				not_after BIGINT NOT NULL,
				renewed_at BIGINT NOT NULL,
				renewable BIGINT NOT NULL,
				attempts BIGINT NOT NULL,
				drops BIGINT NOT NULL,
				version BIGINT NOT NULL,
				payload BYTES NOT NULL,
				failure BYTES
			) STRICT`,
			`CREATE INDEX leases_due ON leases (target, due_at)`,
			`CREATE INDEX leases_token ON leases (token) WHERE token <> 0`,
			`CREATE INDEX leases_unsettled ON leases (seq) WHERE state <> 'active'`,
			`CREATE INDEX leases_irrevocable ON leases (seq) WHERE attempts >= 6`,
		},
		Sealed: []store.SealedColumn{
			{Table: "leases", Column: "payload", KeyColumn: "id"},
			{Table: "leases", Column: "failure", KeyColumn: "id"},
		},
	}, {
		// The node that works at a row, so that others can take its work over when it dies; 0: nobody does.
		Package: "lease",
		Version: 2,
		SQL: []string{
			`ALTER TABLE leases ADD COLUMN claimant BIGINT NOT NULL DEFAULT 0`,
			`CREATE INDEX leases_claimant ON leases (claimant) WHERE claimant <> 0`,
		},
	}}
}

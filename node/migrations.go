package node

import "leasehold/store"

// Migrations are the package's tables.
func Migrations() []store.Migration {
	return []store.Migration{{
		Package: "node",
		Version: 1,
		SQL: []string{
			`CREATE TABLE nodes (
				seq SEQ,
				hostname TEXT NOT NULL,
				api_address TEXT NOT NULL,
				cluster_address TEXT NOT NULL,
				version TEXT NOT NULL,
				started_at BIGINT NOT NULL,
				seen_at BIGINT NOT NULL,
				alive_until BIGINT NOT NULL
			) STRICT`,
		},
	}}
}

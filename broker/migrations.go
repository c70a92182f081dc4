package broker

import "leasehold/store"

// Migrations are the tables of the broker's own configuration.
func Migrations() []store.Migration {
	return []store.Migration{{
		Package: "broker",
		Version: 1,
		SQL: []string{
			// One row. Raised in every transaction that changes what a snapshot is made of.
			`create table broker_generation (
				id BIGINT primary key,
				value BIGINT not null
			) STRICT`,
			`create table mounts (
				uuid TEXT primary key,
				path TEXT not null unique,
				kind TEXT not null,
				type TEXT not null,
				accessor TEXT not null unique,
				state TEXT not null,
				target TEXT not null,
				migration TEXT not null,
				due_at BIGINT,
				sealed BYTES not null
			) STRICT`,
			`create index mounts_due on mounts (due_at) where due_at is not null`,
			`create table remounts (
				id TEXT primary key,
				source TEXT not null,
				target TEXT not null,
				status TEXT not null
			) STRICT`,
			`create table policies (
				name TEXT primary key,
				version BIGINT not null,
				sealed BYTES not null
			) STRICT`,
			`create table audit_devices (
				path TEXT primary key,
				sealed BYTES not null
			) STRICT`,
			// Small objects of sys/config and the like; name is KIND/NAME, the kinds are constants in settings.go.
			`create table settings (
				name TEXT primary key,
				sealed BYTES not null
			) STRICT`,
			`create table versions (
				version TEXT primary key,
				installed_at BIGINT not null
			) STRICT`,
		},
		Sealed: []store.SealedColumn{
			{Table: "mounts", Column: "sealed", KeyColumn: "uuid"},
			{Table: "policies", Column: "sealed", KeyColumn: "name"},
			{Table: "audit_devices", Column: "sealed", KeyColumn: "path"},
			{Table: "settings", Column: "sealed", KeyColumn: "name"},
		},
	}}
}

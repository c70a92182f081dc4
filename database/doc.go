// Package database is the secrets engine that makes short-lived database users.
//
// An operator configures a connection (config/:name) and a role (roles/:name); reading creds/:role makes a user with the
// role's statements and hands it out on a lease. Begin with [New]; the engine registers itself with the lease manager.
//
// # Rows
//
//   - database_connections: one row for each connection. Settings are sealed, the connection's password included. version
//     changes at every write and never repeats: an open pool knows by it whether it is stale. staged is the next
//     password of the connection's own user while it is being rotated.
//   - database_roles: one row for each role.
//   - database_reconciles: one row for each live connection: when it is to be reconciled next, and what was found last.
//
// A row is known by its mount's UUID and its name, "UUID/name"; its sealed cells are bound to that.
//
// # Users
//
// The engine chooses name and password before anything is written; [lease.Manager.Issue] writes them down before the
// database hears of them. A name holds enough random characters that it is nobody else's. Where an operator's template
// makes names that are not random, a name that the database knows already is refused: undoing a failed creation must
// never remove somebody else's user. What is left is a fixed name whose creation had an unknown outcome: the lease
// manager's sweeps drop that name for some twenty minutes, also when it was given out again meanwhile.
//
// Users are revoked with the role's statements as they are now, on the connection on which they were made. Is the role
// gone, or has it moved to another connection, the statements recorded with the lease are used.
//
// # Reconciling
//
// Each user carries a mark in the database's own catalogue (docs/adr/0010-marks.md). The users with this store's mark are compared with the
// leases, when a request asks for it and now and then by itself: reconcile.go. A user that no lease names is dropped only when a
// request says so. What keeps that from ever meeting a living user is written in reconcile_compare.go.
//
// # Retired connections
//
// A deleted connection that leases still need is hidden at once, and its leases are due at once. Its row stays, retired,
// until the last of them is gone; [Engine.RunOnce] removes it then. Writing a connection of that name revives it.
//
// # Rotation of a connection's own password
//
// The next password is sealed in the row before the database hears of it:
//
//	settled ----stage----> staged ----ALTER, commit----> settled (new password)
//	   ^                     |
//	   +--- old one still logs in, and the time for an ALTER has run out
//
// Whoever meets a staged password tries which of the two logs in, and uses that one. The new one logs in: the row is
// settled with it. The old one logs in: the staged password is thrown away, but only once no ALTER can be under way any
// more. A crash at any point leaves both passwords in the row, and so never locks the broker out.
package database

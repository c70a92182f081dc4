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
//   - database_rotations: one row for each static role: its user's passwords, sealed, and when the next one is due.
//   - database_root_rotations: one row for each connection whose own password is rotated by itself: root_duty.go.
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
// A plugins.Namer may call a user otherwise. The lease takes over the name of its answer when it becomes active; until then the payload
// says that its name is a guess, unless the plugin is known to use such names. When the answer is lost, that lease is not forgotten:
// what it drops need not be what was made, and it says so to an operator (docs/adr/0015-external-plugins.md).
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
// # Checking roles
//
// A role is tried on its database with a user that is removed again at once: check.go. That user has a lease like any other, so that a
// crash in between, or a removal that fails, is the reaper's affair.
//
// # Plugins
//
// Drivers are built in, or made for a plugin that was registered (catalog.go). What changes in the catalogue gives the connections of
// the plugin another version, so that each node opens them anew.
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
//
// # Static roles
//
// A static role (static-roles/:name) manages the password of a user that somebody else made. It is handed out without a lease
// (static-creds/:name), and rotated now and then: each period, or by a line of cron. The next password is sealed in the role's row
// before the database hears of it, and becomes the present one when the database has it:
//
//	settled ---stage, claim---> claimed ---ALTER, log in, commit---> settled (new password)
//	                            ^     |
//	               claim it     |     | no answer, does not log in, or the claimant has died
//	                            +-- doubtful
//
// The login is left out of a planned rotation by the plugin's own statement when the one before went well: see proven.
//
// Whoever finds a staged password that the database may have sends the same one again, which changes nothing where it is there
// already. It is given up only when the database has said no to every statement that would set it, so whoever learns that it is in
// force may commit it, also when its claim has passed to another. While a row is claimed or doubtful, readers are given the
// password that logs in.
//
// A statement that was not answered may take effect until its time has run out. A rotation that succeeds before that stays staged
// with its own password, which is sent once more afterwards: a straggler's work does not last.
//
// A role that is being made has a row, too, but nobody sees it until its user has the first password. It is forgotten when the
// database refuses; after a crash it is finished.
//
// Of two users that take turns (second_username), the staged password is always for the one that is not handed out, so slot says whose
// the present password is. The one that was handed out before keeps its password until the next rotation.
//
//	slot 0: first's password is handed out ---rotate second, log in, commit---> slot 1: second's is; first's still works
//	                                       <--rotate first, log in, commit-----
//
// Where a role's credential_type is rsa_private_key, a key stands for the password in all of this. It cannot be tried: the plugin's word
// is taken.
//
// Due roles are found by an index on due_at, for each connection by itself: some are read, and a few at a time are claimed by whichever
// node is first. A database that cannot be reached is probed with one role's rotation.
package database

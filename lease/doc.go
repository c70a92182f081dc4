// Package lease sees to it that whatever was made outside for a client goes away again.
//
// [Manager.Issue] is the only way to make something outside that must be undone. [Manager.Renew] and [Manager.Revoke]
// change it, [Manager.Reap] undoes what is due. Nothing about leases is kept in memory: every duty is a row with a
// due_at, and whoever claims the row does the work.
//
// # The protocol of Issue
//
// After each step, this is what is durable, and what happens when the process dies there:
//
//  1. Lease id and user name are chosen. Durable: nothing. Nobody has anything to clean up.
//  2. Transaction A writes the intent: a row with state pending, the user name and revocation recipe sealed in it,
//     due when the time for creating has run out. The token must be alive in this transaction. Durable: the intent.
//     The reaper finds it when it is due, finds no user, and forgets it after the sweeps.
//  3. The target makes the user, under a deadline. Durable: intent and user. The reaper drops the user.
//  4. Transaction B makes the row active, due at the lease's end; it demands that nobody else has taken the row and that
//     the token is still alive. Where the target called what it made otherwise than planned ([Intent.Made]), that is stored
//     with it. Durable: an active lease. A client that never saw it loses nothing; the reaper
//     revokes it at its end.
//  5. The caller gets the record. Only now may a password leave the process.
//
// When 3 or 4 fails, the user is dropped under a fresh deadline. If every statement was answered and the drop was
// verified, the row goes. If the outcome is unknown, the row stays for the reaper.
//
// # States
//
//	           intent                created                   revoke, expiry, dead token
//	(nothing) -------> pending -----------------> active ---------------------------------+
//	                      | due, or failed                                                v
//	                      +-----------------------------------------------------------> revoking --gone--> (row deleted)
//	                                                                                     |   ^
//	                                                              refused at the target  +---+ again, with back-off
//
// # Late creates
//
// A CREATE USER may take effect after its sender gave up or died, so one clean drop of a lease that never became active
// proves nothing. Such a row is swept three times more, at 1, 10 and 60 times the time allowed for creating, before
// it goes.
//
// # Order of effects
//
// The record of a credential outlives the credential. Renewal moves the target's own expiry first and the row's second;
// revocation commits the state revoking first and drops second. A crash in between leaves a credential that ends
// before its record, never one that nobody knows of. What is promised is at least one verified drop for each user;
// dropping is idempotent, so the effect is once.
//
// # Claims
//
// A claim moves due_at ahead by the claim time, bumps version, and names the node that made it. No lock or transaction is
// held while the target is called. The write that finishes the work names the version, so a worker whose claim has lapsed
// changes nothing.
//
// A node that dies gives no more signs of life (package node). Another removes it and, in the same transaction, makes due at
// once what it had claimed and the intents it had written: see [Manager.Died]. A node that was only stopped or cut off meets
// other versions when it comes back. What it may still do then is harmless: it drops a user whose lease is being revoked
// anyway, or it makes one, finds that it cannot activate the lease, and drops the user itself. If it cannot tell what came of
// the creation, it makes sure that the intent is still on record, and writes it again where all the sweeps have passed.
//
// A node whose store did not answer a claim, or the write that ends one, cannot know what it holds. It buries itself and goes on as
// another ([Config.Doubt]), so that nothing waits until a claim's time has run out.
//
// # Groups
//
// A worker claims up to sixteen due leases of one target with one statement, has the engine undo them together where it can
// ([GroupRevoker]), and forgets them with one statement. Those that fail together are tried one by one, so that no lease is
// blamed for another; once the target does not answer, the rest is given back unblamed. A full group is a sign of more and
// starts a second worker; more of them come one each second while something is due, up to Workers, each with a group of its own: a
// revocation that hangs holds up one of them.
package lease

// Package auth keeps the tokens that requests are made with, and the tree in which they end.
//
// [Store.Authenticate] is the first thing every request does. [Store.Create] and [Store.CreateLogin] make tokens,
// [Store.Revoke] ends one together with all that came from it, [Store.RunOnce] cleans up behind. Nothing about tokens is
// held in memory.
//
// # Alive
//
// A token is alive if its own row and the row of every ancestor are live and not past their expiry. One recursive query
// looks at the whole chain, on every request; nothing is cached, so a revocation counts from its commit on every node.
// A row whose parent row is missing is dead.
//
//	         revoke, last use, expiry, end of the parent
//	live ------------------------------------------------> dead ----> (row deleted)
//	  |
//	  +-- revoke-orphan --> severed ----> (row deleted)
//
// A severed token is dead itself, but its children's walk ends there as at a root: they have become orphans. Only a
// token that is alive can be severed, so nothing that was dead comes back by it.
//
// # Ending a subtree
//
// A revocation changes one row, whatever hangs below it; all descendants stop working with that commit. The row becomes
// due, and the reaper descends in batches: it makes the live children dead and due in turn, makes the token's leases
// due (Config.DueLeases), and deletes the row once it has neither. A child's row that outlives its parent's is dead by
// its own state and by the missing parent. Expiry is the same with due_at known from the start.
//
// # Kinds
//
// A service token is a random text; the store knows it only by its blind index. A batch token has no row: its text is
// the sealed content, and it dies at its expiry or with the row of its parent. A token with a limited number of uses is
// decremented in the transaction that checks it; the last use leaves it alive for that one request. A wrapping token
// ([Wrapping]) has one use, and no lease: it stands for an answer that is kept elsewhere, and goes with it.
//
// # Tables
//
//	tokens       seq; id and accessor: blind indexes; parent: seq of the parent's row, 0 for an orphan; state; path: where
//	             it was made, the first part of its lease id, empty for a wrapping token; uses: left, 0 unlimited, -1 none; created_at; renewed_at;
//	             expires_at: null never; due_at: when the reaper ends it, null never; granted: the latest lifetime;
//	             sealed: the rest as JSON
//	token_roles  name; sealed: the role as JSON
package auth

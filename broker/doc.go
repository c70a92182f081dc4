// Package broker is the path of a request from the wire to an engine, and the configuration that decides about it:
// mounts, access policies, audit devices, settings.
//
// [New] wires the parts together; [Broker.Handle] runs one request; [Broker.Initialize], [Broker.Unseal] and
// [Broker.Seal] are the life of the store's keys; [Broker.Reap] does what is due.
//
// # A request
//
//	sealed? -> token and snapshot (one View) -> what the path asks for -> one use of a limited token
//	-> audit request entry -> policy -> mount -> engine -> token of a login -> wrapping -> audit response entry
//
// A request is refused unless an audit device has taken its entry, where there are devices, and its answer is withheld
// unless one has taken that. The policy is asked before it is known whether a mount is there, so that a client learns
// nothing about paths that it may not use.
//
// # Wrapped answers
//
// A client may have the answer kept for somebody else, and get a wrapping token instead: a token with one use that is good for
// fetching that answer and for nothing else. The answer lies sealed in the token's cubbyhole. Both are made in one transaction,
// before anybody is told, and go in one transaction: the answer ends with its token, whichever way that ends. Unwrapping ends the
// token in the transaction that reads the answer, so that one of all who ask gets it; a process that dies there gives it to
// nobody. What is lent with the answer belongs to the token that asked for it and has its own end, unwrapped or not; when the
// answer could not be kept, or its audit line was not taken, it is taken back.
//
// # Configuration
//
// Memory holds one immutable snapshot of the configuration, never tokens or leases. Its generation is a row that every
// change raises in its own transaction, and that each request reads in the View of its token. An acknowledged change
// thus holds at once, on every node.
//
// # Tables
//
//	broker_generation  one row: value
//	mounts             uuid, path, kind, type, accessor; state: live, retiring or moving; target and migration of a move;
//	                   due_at: when a mount that is not live must be looked at; sealed: description, options, tuning
//	remounts           id, source, target, status of each move
//	policies           name, version (the generation that wrote it); sealed: the text
//	audit_devices      path; sealed: type, options and the key of the device's hashes
//	settings           name: KIND/NAME; sealed: JSON
//	versions           the versions of the program that have opened the store
package broker

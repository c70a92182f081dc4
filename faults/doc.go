// Package faults takes away from one node what it stands on, and looks what becomes of users, leases and tokens.
//
// The target database goes down in three ways, or its connections are cut at any message, or a commit comes late. The
// node's disk is full or broken from any write on. Its clock is set back and forth. Package crash, beside this one, kills
// the node itself.
//
// Everything is real but for the clock: the store, PostgreSQL behind a proxy that the test commands, and for the disk the
// binary, whose system calls on the store's files a test may answer in the kernel's place.
//
// Every test ends with the same check: the users that the broker made are the users of live leases, and no acknowledged
// lease or token is lost. A refused one may be there for a while, or be gone, but nothing of it stays.
//
// `make test` runs a short form, `make soak` the long one: LEASEHOLD_FAULTS=full.
package faults

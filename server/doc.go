// Package server makes a server of the parts: it reads the configuration, wires the packages, listens, reaps, and ends in
// the right order.
//
// [Run] is the command `leasehold server`. [New] and [Server.Serve] are the same without a process around them, for
// tests. compose.go says which part gets which; nothing else in the program knows all of them.
//
// While the server is unsealed, cron calls the reaper each second, and it is woken earlier when a lease is about to end
// or was revoked. Both are hints: the rows in the store are the truth.
//
// The end, in this order: stop accepting, let requests finish, stop cron, let claimed work finish or give its claims back,
// close pools and audit files, wipe the keys, close the store. A second signal ends the process at once; the store is
// made for that.
package server

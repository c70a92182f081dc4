// Package cluster runs several real servers on one PostgreSQL store, and makes nodes, store and network fail.
//
// Every test ends with the same check, see [rig.close] in the tests: the users that the broker made are the users of live
// leases, one for one; no acknowledged lease or token is lost; what was revoked is gone, on every node; no secret is found in
// any file that anybody could read.
//
// `make test` lets each fault happen once, all to the same nodes. With the build tag faults there is a test of its own for each:
// `make faults` runs short ones, `make soak` sets LEASEHOLD_KILLS, LEASEHOLD_STOPS, LEASEHOLD_FAILOVERS, LEASEHOLD_CUTS and
// LEASEHOLD_ROUNDS, which say how often.
package cluster

// Package crash kills the real server and looks into the real database afterwards.
//
// Key/value secrets have checks of their own; the tests of leases end with the same check: the users that the broker made are the users of live leases, no acknowledged
// lease is lost, and no secret is found in any file that anybody could read.
package crash

package failpoint

// Points lists every failpoint, so that the crash tests can go through all of them.
var Points = []string{
	"lease/issue/after-intent",     // the pending row is durable, nothing was sent to the target
	"lease/issue/after-create",     // the user exists, the lease is still pending
	"lease/issue/after-activate",   // the lease is active, the client has no answer
	"lease/renew/after-extend",     // the target's expiry moved, the lease's did not
	"lease/renew/after-commit",     // both moved, the client has no answer
	"lease/revoke/after-mark",      // the lease is revoking, the user still exists
	"lease/revoke/after-drop",      // the user is gone, the row is still there
	"database/rotate/after-stage",  // the next root password is durable, the database still has the old one
	"database/rotate/after-alter",  // the database has the next password, the row still calls it staged
	"database/rotate/after-commit", // rotation is complete, the client has no answer
}

// Moves lists the failpoints of `operator migrate`, in the order in which they are passed. They are passed in a process
// that is no server.
var Moves = []string{
	"transfer/after-prepare", // the destination is marked and has its tables, no row is in it
	"transfer/in-batch",      // the rows of a batch are sent, not committed
	"transfer/after-batch",   // they are committed
	"transfer/after-copy",    // all rows are there, nothing was compared
	"transfer/after-compare", // everything was compared, the mark is still there
	"transfer/before-finish", // taking the mark off is sent, not committed
	"transfer/after-finish",  // the destination is a whole store, nobody was told
}

// Seals lists the failpoints of a change of the seal, and of wrapping its key anew.
var Seals = []string{
	"seal/move/after-wrap",    // the new seal has the key, the former one is in force
	"seal/move/after-commit",  // the new seal is in force, the store is not open
	"seal/renew/after-wrap",   // the newer key has wrapped the store's, the older one is in force
	"seal/renew/after-commit", // the newer one is in force
}

// Statics lists the failpoints of the rotation of a static role.
var Statics = []string{
	"database/static/after-stage",  // the next password is durable and claimed, the database still has the old one
	"database/static/after-alter",  // the database has the next password, the row still calls it staged
	"database/static/after-commit", // rotation is complete, the client has no answer
}

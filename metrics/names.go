package metrics

// Names of labels.
const (
	mountPoint = "mount_point" // path of a mount, with a trailing slash
	connection = "connection"  // name of a connection to a target database
	outcome    = "outcome"     // one of the Outcome words
)

// Outcomes of what was asked of a target database.
const (
	OutcomeOK          = "ok"
	OutcomeFailed      = "failed"      // it answered no
	OutcomeUnreachable = "unreachable" // nothing was sent
	OutcomeUnknown     = "unknown"     // it was sent and not answered
)

// The metrics. Where operators of servers with this API know a thing by a name, it has that name here.
// docs/operations.md says which ones to watch; its table is checked against this list.
var (
	Unsealed = gauge("core.unsealed", "1 while this node has the keys of the store, 0 while it is sealed.")
	Active   = gauge("core.active", "1 while this node serves requests. Nodes are equal: each that is unsealed is active.")

	HandleRequest      = timer("core.handle_request", "Milliseconds that requests took, logins excepted, from token check to audit.")
	HandleLoginRequest = timer("core.handle_login_request", "Milliseconds that logins took.")
	InFlightRequests   = gauge("core.in_flight_requests", "Requests that are being answered.")
	ResponseStatus     = counter("core.response_status_code", "Answers by status and class.", "code", "type")

	AuditRequest         = timer("audit.log_request", "Milliseconds until the audit devices took the line of a request.")
	AuditRequestFailure  = counter("audit.log_request_failure", "Request lines that no audit device took: the requests were refused.")
	AuditResponse        = timer("audit.log_response", "Milliseconds until the audit devices took the line of an answer.")
	AuditResponseFailure = counter("audit.log_response_failure", "Answer lines that no audit device took: the answers were withheld.")

	Tokens = gauge("token.count", "Tokens that are stored and have not ended, counted once in usage_gauge_period.")

	Leases             = gauge("expire.num_leases", "Leases, counted once in usage_gauge_period.")
	LeasesByState      = gauge("lease.count", "Leases by state; counted once in usage_gauge_period.", "state")
	LeasesIrrevocable  = gauge("expire.num_irrevocable_leases", "Leases whose revocation the target has refused six times or more. They are still tried.")
	LeasesDue          = gauge("lease.due", "Leases that are due for revocation and that nobody is working at.", mountPoint, connection)
	LeasesDueOldestAge = gauge("lease.due_oldest_seconds", "How many seconds the oldest of them has been due.", mountPoint, connection)
	TargetParked       = gauge("lease.target_parked", "1 while this node cannot reach the database, and probes it from time to time.", mountPoint, connection)
	LeasesCreated      = counter("secret.lease.creation", "Leases that were handed out.", mountPoint)
	LeaseIssue         = timer("lease.issue", "Milliseconds from the intent to the active lease, the target database included.", mountPoint)
	LeaseIssueFailed   = counter("lease.issue_failed", "Leases that could not be handed out.", mountPoint, outcome)
	LeaseRenew         = timer("expire.renew", "Milliseconds that renewals took.")
	LeaseRevoke        = timer("expire.revoke", "Milliseconds that the target databases took for revocations, failed ones included.")
	LeaseRevoked       = counter("lease.revoke", "Tries to revoke a lease at its target database.", mountPoint, connection, outcome)
	Orphans            = gauge("lease.orphans", "Users of a target database that bear this store's mark and that no lease knows of, as the last reconciliation found them.", mountPoint, connection)
	MissingUsers       = gauge("lease.missing_users", "Leases whose users the last reconciliation did not find.", mountPoint, connection)
	ForeignUsers       = gauge("lease.foreign_users", "Users that look like leased ones and belong to no lease of this store.", mountPoint, connection)

	StaticRotation  = timer("database.static_rotation", "Milliseconds that the target databases took to rotate static roles, failed rotations included.")
	StaticRotations = counter("database.static_rotations", "Tries to rotate a static role at its target database.", mountPoint, connection, outcome)

	StoreCommit       = timer("store.commit", "Milliseconds until the store had made a transaction durable.")
	StoreCommitFailed = counter("store.commit_failed", "Commits that the store's database refused.")
	StoreUpdates      = counter("store.updates", "Writing transactions that were made durable; several may share a commit.")
	StoreCollisions   = counter("store.collisions", "Writing transactions that met another one and ran again.")

	SampleFailed = counter("metrics.sample_failed", "Counts over rows that failed: the gauges that come from them are old.", "sampler")
)

// Package metrics counts and times what the server does, and tells it in the forms that operators' tools read.
//
// [New] makes a [Registry] from the telemetry stanza. Whoever measures says [Registry.Add], [Registry.Observe] or
// [Registry.Set] with one of the metrics that names.go lists: there are no others, so that neither names nor labels can
// be made of what a client sent. [Registry.Render] is the answer of sys/metrics; statsd and statsite are sent to.
//
// # Who measures
//
// No package of ours imports this one but the composition root. A package that has something to tell asks for a small
// interface or for a function in its Config, and works without it. The composition root turns what it is told into
// metrics, and is the place where a mount's UUID becomes its path.
//
// # What may be a label
//
// Mount paths, names of connections, statuses and fixed words: what an operator chose, or what the program knows
// beforehand. Never a token, a user name, a lease id, a role, a connection URL or the text of an error. Each metric
// keeps [Config.MaxCardinality] combinations of label values at most; what comes later is told under "other", so that
// no number of mounts makes memory grow without bound.
//
// # Gauges over rows
//
// How many leases there are is counted in the store, never kept beside it. Such a count is a sampler: [Registry.RunOnce],
// which the server calls every ten seconds, runs the samplers that are due, and tells all gauges again. The in-memory
// form shows the last ten seconds only, and a gauge that is told once in ten minutes would be missing there mostly.
package metrics

// Package httpapi is the wire: it turns HTTP requests into requests of the broker, and answers into HTTP.
//
// It decides nothing about tokens, policies or mounts. [New] makes one [Handler] for each listener. A request's path is
// made canonical once, here; policy, routing and audit see the same string. The paths that work on a sealed server are in
// fixed.go; everything else goes to broker.Handle.
//
// Errors become statuses in one table, in errors.go. An error that is not an *errs.Error is logged with the request's
// id and answered as "internal error".
//
// Source of every rule: the wire contract's sheet "Protocol rules common to every path", unless a comment names another.
package httpapi

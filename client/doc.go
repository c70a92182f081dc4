// Package client speaks the HTTP API for the command line and for tests.
//
// Make one with [New] and call [Client.Do]. An answer is a [Response]; a refusal of the server is an [*Error], which
// carries the status and the server's own words. Everything else that comes back as an error means that no answer
// arrived.
//
// What a server hands out (tokens, passwords) stands in a Response as plain text: giving it to the caller is the
// purpose of the call. The package itself never logs and never puts a token or a body into an error.
package client

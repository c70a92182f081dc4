// Package sys is the engine behind sys/*: what operators do to the server through its API.
//
// [New] makes the engine from the broker, of which it asks only what [Broker] names. It holds no state; each file is a
// subject of the API. Decisions about tokens and policies are made before a request arrives here.
package sys

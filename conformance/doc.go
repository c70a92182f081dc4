// Package conformance replays the recorded exchanges in testdata/wire against the real binary.
//
// Each flow runs on a server of its own. passing.txt names the flows that pass; a flow may be added to it and never
// falls out: a listed flow that fails is a failed test, and so is an unlisted flow that passes.
package conformance

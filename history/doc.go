// Package history has concurrent clients work on three nodes of one store, and checks what they were told.
//
// Each call is recorded with its beginning, its end and its answer. A history is right if every object (a lease, a tree of
// tokens, a policy, a mount, a secret, ...) could have given those answers one after the other, each call taking effect at
// one moment between its beginning and its end: whatever a returned call had ended, no later call on any node sees. That
// search is porcupine's; the models here say what one object may answer.
//
// A call without an answer, because its node was killed or stopped, its client hung up or the store went away, may have
// taken effect, may not, and may still.
package history

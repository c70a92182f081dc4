// Package node knows the processes that share a store, and which of them are alive.
//
// Every unsealed node has a row and moves its alive_until ahead each second. A node whose time has run out is dead to the
// others: one of them removes its row and, in the same transaction, gives back the work that it had claimed. So what a dead
// node left half done is taken up within seconds, long before the claims themselves run out.
//
// A node may be taken for dead while it is only slow, stopped or cut off. Nothing depends on that verdict being right:
// each claim has a number that the write at its end names (see package lease), so what such a node finishes late changes
// nothing. When it comes back it finds its row gone, and registers again under a new number. What it claimed under the old one
// meanwhile is given back as well, by whoever sees a claim whose number has no row.
//
// A store that only one process can open needs no signs of life: whoever opens it knows that all others are dead.
package node

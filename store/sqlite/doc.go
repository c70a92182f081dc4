// Package sqlite keeps the store in one SQLite file: the store of a single node.
//
// The file is in WAL mode with synchronous=FULL, so a commit that was acknowledged survives a power cut. One connection
// writes; a pool of connections that cannot write serves Views. An operating system lock on a file beside it
// (PATH.lock) keeps a second process out; the lock goes with the process, however that ends.
//
// What is deleted is overwritten with zeros, and some seconds later it is in the log no more.
package sqlite

// Package postgres keeps the store in a PostgreSQL database: the store of many nodes.
//
// Updates are SERIALIZABLE and run again when they collide (docs/adr/0004-postgresql-serializable.md); Views are
// REPEATABLE READ. Time is the database's clock, so that nodes need not agree. Nodes that start at once migrate one
// after the other, under an advisory lock. Each connection shares another one, which keeps a move of the store away
// (docs/adr/0008-moving-the-store.md). A proxy that pools by transaction must not stand in between: statements are
// prepared, and locks are held, per connection.
package postgres

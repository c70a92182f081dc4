// Package bench measures the whole program: the real binary over HTTP, with audit on and a durable store, against a real
// and durable PostgreSQL, side by side with the best that bare pgx does with the same SQL.
//
// docs/performance.md holds the figures. `make bench` makes them again.
package bench

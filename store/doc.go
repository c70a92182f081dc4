// Package store is the transactional, sealed storage that every other package keeps its tables in.
//
// Open a [Store] with a dialect (store/sqlite or store/postgres) and the migrations of all packages, then work in
// [Store.View] and [Store.Update]. There is no generic path-to-bytes storage: each package owns its tables and its SQL,
// written once in the subset that both dialects share: $1 parameters, ON CONFLICT, RETURNING, recursive CTEs.
//
// Invariants:
//   - Update returns nil only when its rows are durable; any error means that nothing of it is there, save that
//     PostgreSQL may lose the answer to a commit together with the connection.
//   - Sensitive columns hold sealed cells. A cell opens only in its own row, column, table and store. Columns that are
//     searched hold blind indexes. Without a keyring neither can be made or read: ErrSealed.
//   - Time comes from [Tx.Now] and is stored in microseconds.
//   - Ids that the database assigns (SEQ) are never used twice.
//
// The store itself owns two tables: store_meta (name, value: the store's random id and its last commit's time) and
// store_migrations (which steps were done, with a hash of their text). A store that has steps this program does not
// know, or lacks tables that it should have, is not opened.
package store

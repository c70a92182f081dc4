// Package transfer moves a store to another database: offline, resumable, every row compared.
//
// [Move] copies the rows as they are. No key is needed: a cell is sealed for its store, table, column and row, and none of
// these changes, as the store's id moves along.
//
//	           mark          copy, table by table          compare          finish
//	(empty) --------> half done -----------------> half done -------> half done -------> a store
//
// Invariants:
//   - Nobody else uses either side meanwhile (store.OpenRaw), and the source is only read.
//   - A half-done destination cannot be opened by a server, from its very first table on: store.ErrHalfMoved.
//   - Rows are copied in the order of their primary key, each batch in one transaction. So the last row that is there says
//     how far the copy came, and a move that was killed goes on behind it; there is no other record that could disagree.
//   - The mark is taken off only after both sides were read again, side by side, and every column of every row was the same.
//     So nothing depends on the source having been left alone between a move that was cut short and its second part.
//   - Ids that the database assigns go on behind the source's highest one, also where its row is gone.
//   - Memory holds a few batches, however many rows there are: batchRows rows, or batchBytes and one row more.
package transfer

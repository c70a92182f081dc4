// Package kvcompat keeps the values of clients: the key/value secrets engine in its two versions, and the cubbyhole.
//
// [New] makes the engine of type "kv". A mount's option "version" says which API it speaks: "2" keeps every write of a
// key as a version of its own, anything else is version 1, which keeps the last. [NewCubbyhole] makes the engine of type
// "cubbyhole", where each token has a space that nobody else reaches; [Cubbyhole.Forget] empties it when the token ends.
//
// Numbers keep the digits that the client wrote, however many they are.
//
// # Tables
//
// kv_entries holds one row for each key and each folder of a space: a mount, or a token's cubbyhole. Names are as secret
// as values: id is a blind index of space and path, dir is the id of the folder above, and the last part of the name is
// sealed. So a list is one range of the index on dir, opened and sorted, and the store's file tells how many names a
// folder has but none of them. A folder's row is there as long as something is in it.
//
// kv_versions holds the versions of version 2, sealed, and goes with its entry. A version that was destroyed has no data
// any more; one whose ended_at has passed is deleted, and can be brought back. kv_settings holds a mount's config.
//
// # From version 1 to 2
//
// A row says which API wrote it. A value of version 1 that version 2 meets becomes the first version of its key there
// and then, so an upgrade takes no time, and a write that was on its way while the mount was tuned is not lost. In the
// other direction nothing is read: version 1 refuses what version 2 wrote.
//
// Source: the wire contract's sheet on key/value engines, and the recordings kv1, kv2 and cubbyhole.
package kvcompat

// Package transit encrypts, signs and authenticates the data of clients with keys that stay in the store: the secrets
// engine of type "transit".
//
// [New] makes the engine. A key has versions; what is made names the one that made it ("vault:v3:..."), so old data stays
// readable after a rotation, and data that another server made under an imported key is read here, and the other way
// round. algorithm.go lists the types of keys, message.go and derive.go hold the formats, signature.go and quantum.go the
// signatures.
//
// # Tables
//
// transit_keys has a row for each key. Its id is a blind index of mount and name; name and settings are sealed. stamp is
// random and another one after every change of the key or its versions. due_at is when the key rotates by itself.
//
// transit_versions has a row for each version, its material sealed: the secret, the public key of a pair, the key of
// HMACs, certificates. It goes with its key. Trimmed versions are deleted rows.
//
// transit_mounts has what belongs to the mount: its configuration, and the pair that imported keys are wrapped for.
//
// # Many nodes
//
// Opening a key costs, an RSA key milliseconds, so a node keeps those that it used last. Each request reads the key's stamp
// in its own transaction and uses what is kept under that stamp alone: a rotation that one node has acknowledged holds on
// all from then on. A store that is sealed has [Engine.Forget] called.
//
// Key material is generated before the transaction that stores it, which reads the key again and takes the next number, so
// rotations at the same time all count. Whatever is computed with a key is computed after the transaction that read it.
//
// # Rotation
//
// [Engine.RunOnce] finds what is due. A node claims a key by moving its due_at a minute ahead, generates, and stores the
// version only while due_at is still what it has set; so exactly one of several nodes rotates, and a node that dies leaves a
// key that is due again. A change of the key by anybody ends the claim.
//
// # Failures
//
// Refusals have the texts and codes of the wire contract; those that it answers with 500 are of code Fault. No error
// quotes a message, a key or a wrapped key: parsers' own words are shown only where they tell a place. A batch has a
// result or an error for each item; nothing is stored for a request that is refused as a whole.
//
// Source: the wire contract's sheet on transit, and the recordings transit-*; docs/adr/0011 says which libraries, and what
// goes beyond the contract.
package transit

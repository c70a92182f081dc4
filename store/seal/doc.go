// Package seal keeps the key that all others hang from, and lets it out for enough shares.
//
//	shares --combine--> unseal key --wraps--> root key (table seal) --wraps--> keyring (table keyring)
//
// A [Barrier] initialises a store, unseals it share by share, seals it, adds data keys and replaces the shares. Shares,
// unseal key and a half-done unseal exist in memory only; the root key does while the store is open, and is wiped when
// it is sealed.
//
// A store that has one share has the unseal key itself as that share: 32 bytes. With several, a share is 33 bytes: the
// value of a random polynomial over the scalars of Ristretto255, and the point, 1 to 255, at which it was taken. See
// docs/adr/0003-unseal-shares.md.
package seal

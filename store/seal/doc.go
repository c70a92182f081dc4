// Package seal keeps the key that all others hang from, and lets it out to who may have it.
//
//	shares --combine--> unseal key --derive--+
//	                                         +--> wrapping key --wraps--> root key --wraps--> keyring
//	Wrapper --unwraps------------------------+         (table seal)           (table keyring)
//
// A [Barrier] initialises a store, unseals it, seals it, adds data keys, replaces the shares and changes the kind of seal.
// Shares, unseal key, wrapping key and a half-done unseal exist in memory only; the root key does while the store is open,
// and is wiped when it is sealed. None of them is ever part of an error or a log line.
//
// # Shamir's seal
//
// The wrapping key is derived from the unseal key, which people hold in shares ([Barrier.Unseal]). A store that has one
// share has the unseal key itself as that share: 32 bytes. With several, a share is 33 bytes: the value of a random
// polynomial over the scalars of Ristretto255, and the point, 1 to 255, at which it was taken. See
// docs/adr/0003-unseal-shares.md.
//
// # Seals that open by themselves
//
// The wrapping key is random, and kept in the form that a [Wrapper] made of it ([Barrier.OpenAlone]). The Wrapper never sees the
// root key; and as the root key's envelope is bound to the store, the Wrapper alone opens nothing. See
// docs/adr/0007-auto-unseal.md.
//
// People hold shares of a recovery key then. It opens nothing; it stands for their consent: to a new root token, to new
// shares, to a change of the seal, to the opening of a node that was sealed by hand. The store keeps a value derived from it,
// sealed with the root key: who can write to the database cannot put another in its place.
//
// # Changing the seal
//
//	Shamir --Migrate(unseal shares)--> Wrapper --Migrate(recovery shares)--> another Wrapper, or Shamir
//
// Whoever holds shares goes on holding the same: unseal shares become recovery shares, and the other way round. The root key
// stays, so nodes that are open are not disturbed, and every copy of the store is as good or bad as it was.
//
// # Deaths and races
//
// Everything that decides how a store opens is one row of table seal. Each change is one Update that raises its version and
// does nothing when that is not the version it read. So:
//
//   - A death at any point leaves the former row or the new one. What a Wrapper made for a row that was never written is
//     of no use to anybody.
//   - Two nodes that initialise at once: one does, the other gets [ErrInitialized].
//   - Two nodes that wrap the key anew at once, after its Wrapper's key was rotated: one does, and the other leaves it.
//   - A rekey or a migration meets another, or a wrapping anew: the first to commit holds, the other gets [ErrChanged]. Shares of
//     a key that was not put in force are worthless, and those who have them were not told otherwise.
//   - A node that is open when another changes the seal stays open: it has the root key. Its next start needs the new
//     configuration, and says so.
package seal

// Package keyring seals cells and makes blind indexes with the keys that the store's rows are protected by.
//
// A [Keyring] holds numbered data keys, of which the newest seals and all open, and one index key. A sealed value is
//
//	version (1) | suite (1) | key id (4, big endian) | nonce (24) | ciphertext and tag
//
// Suite 1 is XChaCha20-Poly1305 with a random nonce. The first six bytes and the [Place] of the value are authenticated
// with it, so a value opens nowhere but where it was sealed. See docs/adr/0002-aead.md.
package keyring

// Package transit encrypts, signs and authenticates data of clients with keys that do not leave the store.
package transit

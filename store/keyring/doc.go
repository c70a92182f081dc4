// Package keyring seals cells and makes blind indexes with the keys that the store's rows are protected by.
package keyring

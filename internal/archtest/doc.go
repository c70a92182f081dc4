// Package archtest checks the import graph against docs/architecture.md.
package archtest

// Package plugintest is the suite that every database plugin passes, run against a real server: [Run].
//
// It uses the plugin's contract for what it tests and the harness for everything else, so that a plugin can't vouch for
// itself.
package plugintest

import (
	"context"
	"testing"

	"leasehold/plugins"
)

// Harness is a plugin and a server of its kind.
type Harness struct {
	Driver plugins.Driver

	Settings    plugins.Settings // of a user that may make and drop users; it allows at least 8 connections
	WrongLogin  plugins.Settings // the same with a password that the server refuses
	NoServer    plugins.Settings // an address where nothing listens
	Secrets     []string         // what no error may hold: the passwords and URLs in the settings above
	Names       []string         // names that need quoting and are accepted all the same
	Unusable    []string         // names that must be refused before anything is sent
	Expires     bool             // the database itself refuses a login after User.Expiration
	LongestName int              // bytes

	// MarkKept is what the database has room for of a mark; nil: all of it.
	MarkKept func(mark string) string

	// Creation statements.
	Create   []string // the user may log in and read something that all users share
	Broken   []string // makes the user, then fails
	Endless  []string // makes the user, then takes longer than a minute
	Telltale []string // fails with an error of the server's that quotes {{password}}

	// Revocation statements.
	Drop    []string // drops what Create made
	DropBad []string // fails

	// Login opens a session as the user.
	Login func(ctx context.Context, name, password string) (Session, error)
	// Exists looks for the user behind the plugin's back.
	Exists func(ctx context.Context, name string) (bool, error)
	// Settle returns when nothing that the plugin sent is still running.
	Settle func(ctx context.Context) error
	// Own makes the user own something in two databases, and returns a function that reports whether that is still there.
	Own func(t testing.TB, name string) (kept func(ctx context.Context) (bool, error))
}

// Session is a user's open connection.
type Session interface {
	// Use is nil as long as the session lives and may read what Create allows.
	Use(ctx context.Context) error
	Close() error
}

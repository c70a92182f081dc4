//go:build !failpoint

// Package failpoint lets crash tests end or stop the process between two steps.
//
// Built without the tag "failpoint", [Hit] does nothing and costs nothing.
package failpoint

// Hit marks a point where a crash test may end or stop the process.
func Hit(string) {}

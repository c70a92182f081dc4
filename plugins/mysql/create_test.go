package mysql_test

import (
	"errors"
	"testing"

	"leasehold/plugins"
)

func wantClass(t *testing.T, err error, want plugins.Class) {
	t.Helper()
	var e *plugins.Error
	if !errors.As(err, &e) || e.Class != want {
		t.Fatalf("got %v (%v), want class %v", err, plugins.ClassOf(err), want)
	}
}

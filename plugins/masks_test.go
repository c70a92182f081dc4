package plugins_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"leasehold/plugins"
)

func TestConcealWraps(t *testing.T) {
	t.Parallel()
	refused := fmt.Errorf("one host: %w", plugins.ErrWrongPassword)
	slow := fmt.Errorf("one host says no, the other: %w", context.DeadlineExceeded)
	for _, tt := range []struct {
		name     string
		err, why error
		wrapped  error // nil: nothing that a caller could look for
	}{
		{"the login's answer", errors.New("no"), refused, plugins.ErrWrongPassword},
		{"no answer in time", slow, nil, context.DeadlineExceeded},
		{"an answer from one host and none from another", slow, refused, context.DeadlineExceeded},
		{"given up", fmt.Errorf("dial: %w", context.Canceled), refused, context.Canceled},
		{"neither", fmt.Errorf("dial: %w", errors.ErrUnsupported), nil, nil},
	} {
		clean := plugins.Conceal(tt.err, tt.why, nil, nil)
		for _, one := range []error{plugins.ErrWrongPassword, context.DeadlineExceeded, context.Canceled, errors.ErrUnsupported} {
			if got := errors.Is(clean, one); got != (one == tt.wrapped) {
				t.Errorf("%s: wraps %q: %v", tt.name, one, got)
			}
		}
	}
}

func TestConcealHides(t *testing.T) {
	t.Parallel()
	connection, call := plugins.MaskURL("db://root:canary-1@host"), plugins.MaskPassword("canary-2", "canary-2/long")
	for text, want := range map[string]string{
		"dial db://root:canary-1@host: refused": "dial [connection_url]: refused",
		"near 'canary-2/long'":                  "near '[password]'",
		"near 'canary":                          "the server refused a statement, with a text that shows a part of the password",
		"near 'canar'":                          "near 'canar'", // too little to tell from another word
	} {
		if got := plugins.Conceal(errors.New(text), nil, connection, call).Error(); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

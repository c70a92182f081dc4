package plugins

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// Mask is a text that no error may hold, and what is shown instead.
type Mask struct{ secret, shown string }

// MaskURL hides the texts of a connection's URL, which may hold a password.
func MaskURL(forms ...string) []Mask { return hide("[connection_url]", forms) }

// MaskPassword hides a password, in each of the forms in which the server may quote it back.
func MaskPassword(forms ...string) []Mask { return hide("[password]", forms) }

func hide(shown string, forms []string) (masks []Mask) {
	for _, form := range forms {
		if form != "" {
			masks = append(masks, Mask{form, shown})
		}
	}
	return masks
}

// leaked is how many characters of a call's secret in a row no error may show. Fewer say little of a long one, and are in other
// words by chance.
const leaked = 6

// Conceal is a driver's error as an [Error] may hold it: its text without the connection's secrets and without those of the call. It
// does not wrap err, whose fields quote statements, but the context's error that err wraps, or else why: where one host says no and another
// does not answer, nothing is certain.
func Conceal(err, why error, connection, call []Mask) error {
	masks := slices.Concat(connection, call)
	// A secret may be part of a longer one.
	slices.SortStableFunc(masks, func(a, b Mask) int { return len(b.secret) - len(a.secret) })
	var pairs []string
	for _, m := range masks {
		pairs = append(pairs, m.secret, m.shown)
	}
	clean := &cleanError{text: strings.NewReplacer(pairs...).Replace(err.Error()), cause: why}
	// A server quotes a statement from where it went wrong, and only so many characters of it: a part of a password may be left.
	if showsPart(clean.text, call) {
		clean.text = "the server refused a statement, with a text that shows a part of the password"
	}
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, cause) {
			clean.cause = cause
		}
	}
	return clean
}

func showsPart(text string, secrets []Mask) bool {
	for _, m := range secrets {
		for i := 0; i+leaked <= len(m.secret); i++ {
			if strings.Contains(text, m.secret[i:i+leaked]) {
				return true
			}
		}
	}
	return false
}

type cleanError struct {
	text  string
	cause error // may be nil
}

func (e *cleanError) Error() string { return e.text }
func (e *cleanError) Unwrap() error { return e.cause }

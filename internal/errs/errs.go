// Package errs is the one error type whose text a client may see.
//
// Code below the HTTP layer says what went wrong with a [Code]; only server/httpapi knows which status that is.
// Every other error is internal: it is logged with the request's id and answered without its text.
package errs

import (
	"errors"
	"fmt"
)

// Code classifies an error for the caller. The zero value is Internal.
type Code int

const (
	Internal        Code = iota // a fault of ours; the text stays inside
	Invalid                     // the request is malformed or refused as it stands
	Unauthenticated             // no token, or one that is unknown, expired or revoked
	Denied                      // a live token whose policies do not allow the request
	NotFound                    // nothing at that path; an empty text is answered as an empty list of errors
	Unsupported                 // the path exists, the operation on it does not
	Conflict                    // the present state does not allow it
	MediaType                   // the body's content type is not accepted here
	TooLarge                    // the body exceeds the limit
	RateLimited                 // a quota is used up
	Sealed                      // the store is sealed or not initialised
	Unavailable                 // another system, such as the target database, refused or did not answer
	Fault                       // a refusal that the wire contract answers like a fault of ours (500), but with its text
)

// Error carries a text that is safe to show. Its text must never hold a secret.
type Error struct {
	Code   Code
	Text   string
	Framed bool           // the wire shows "1 error occurred:\n\t* TEXT\n\n"
	Data   map[string]any // optional: answered beside the errors
	Cause  error          // optional: logged, never shown
}

// New makes an error whose formatted text reaches the client as it is.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

// Framed makes an error that the wire shows inside the "1 error occurred" frame.
func Framed(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...), Framed: true}
}

// Because attaches a cause for the log and returns e.
func (e *Error) Because(cause error) *Error {
	e.Cause = cause
	return e
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Text + ": " + e.Cause.Error()
	}
	return e.Text
}

func (e *Error) Unwrap() error { return e.Cause }

// Shown is the text as a client sees it.
func (e *Error) Shown() string {
	if e.Framed {
		return "1 error occurred:\n\t* " + e.Text + "\n\n"
	}
	return e.Text
}

// From finds the showable error in err's chain, or nil.
func From(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// CodeOf is the code of err: Internal when its chain holds no *Error.
func CodeOf(err error) Code {
	if e := From(err); e != nil {
		return e.Code
	}
	return Internal
}

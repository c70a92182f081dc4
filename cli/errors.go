package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"leasehold/client"
)

// Exit codes, where no command has its own.
const (
	exitMistake = 1   // a mistake on this side: flags, arguments, files
	exitRefused = 2   // the server refused, could not be reached, or has nothing there
	exitUnknown = 127 // no such command
)

// errNothingSent ends a command that was asked to show its request instead of sending it.
var errNothingSent = errors.New("nothing sent")

// failure is how a command ends in an error.
type failure struct {
	code  int
	text  string   // shown first; may be empty
	err   error    // what the server or the system said; may be nil
	hints []string // what to do next
}

func (f *failure) Error() string {
	switch {
	case f.err == nil:
		return f.text
	case f.text == "":
		return f.err.Error()
	}
	return f.text + ": " + f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// hint adds a line that says what to do next.
func (f *failure) hint(format string, args ...any) *failure {
	f.hints = append(f.hints, fmt.Sprintf(format, args...))
	return f
}

// mistake is an error on this side.
func mistake(format string, args ...any) *failure {
	return &failure{code: exitMistake, text: fmt.Sprintf(format, args...)}
}

// refused is an error of the server's side that has no error text of its own.
func refused(format string, args ...any) *failure {
	return &failure{code: exitRefused, text: fmt.Sprintf(format, args...)}
}

// failed says what was being done when the call of the server failed. A mistake found on the way stays one.
func failed(err error, action string, args ...any) error {
	var f *failure
	if errors.As(err, &f) || errors.Is(err, errNothingSent) {
		return err
	}
	return &failure{code: exitRefused, text: fmt.Sprintf(action, args...), err: err}
}

// noValue is the answer to a read or list of something that is not there. err is the server's 404.
func noValue(err error, path string) *failure {
	f := refused("No value found at %s", path)
	var api *client.Error
	if errors.As(err, &api) && len(api.Errors) > 0 {
		f.text += "\n"
		for _, text := range api.Errors {
			f.text += "\n* " + strings.TrimSpace(text)
		}
	}
	return f
}

// finish shows err on stderr and returns the exit code.
func (e *env) finish(err error) int {
	if err == nil || errors.Is(err, errNothingSent) {
		return 0
	}
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{code: exitMistake, err: err}
	}
	if text := describe(f); text != "" {
		_, _ = fmt.Fprintln(e.stderr, text)
	}
	for _, hint := range append(f.hints, e.hintsFor(f.err)...) {
		_, _ = fmt.Fprintln(e.stderr, "hint: "+hint)
	}
	return f.code
}

// describe is f's text. What the API refused is laid out in the form that scripts search.
func describe(f *failure) string {
	var api *client.Error
	if !errors.As(f.err, &api) {
		return f.Error()
	}
	var b strings.Builder
	if f.text != "" {
		b.WriteString(f.text + ": ")
	}
	fmt.Fprintf(&b, "Error making API request.\n\nURL: %s %s\nCode: %d. ", api.Method, api.URL, api.StatusCode)
	if api.Raw != "" {
		b.WriteString("Raw Message:\n\n" + api.Raw)
	} else {
		b.WriteString("Errors:\n")
		for _, text := range api.Errors {
			b.WriteString("\n* " + text)
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// hintsFor knows the usual causes.
func (e *env) hintsFor(err error) []string {
	var (
		api       *client.Error
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		record    tls.RecordHeaderError
	)
	switch {
	case err == nil:
	case errors.As(err, &api) && api.StatusCode == http.StatusServiceUnavailable && strings.Contains(strings.Join(api.Errors, " "), "sealed"):
		return []string{fmt.Sprintf("%s operator unseal gives the server its keys", e.program)}
	case errors.As(err, &api) && api.StatusCode == http.StatusForbidden && e.token.Empty():
		return []string{fmt.Sprintf("no token was sent: %s login, or set VAULT_TOKEN", e.program)}
	case errors.As(err, &api) && api.StatusCode == http.StatusForbidden:
		return []string{fmt.Sprintf("%s token lookup shows whether the token is alive, token capabilities PATH what it may do", e.program)}
	case errors.As(err, &api) && api.StatusCode == http.StatusBadRequest && strings.Contains(api.Raw, "HTTP request to an HTTPS server"):
		return []string{"the server speaks TLS: use https:// in VAULT_ADDR or -address"}
	case errors.As(err, &authority):
		return []string{"name the CA that signed the server's certificate in VAULT_CACERT or -ca-cert"}
	case errors.As(err, &host):
		return []string{"name the server as its certificate does, in VAULT_ADDR or VAULT_TLS_SERVER_NAME"}
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return []string{"the server speaks plain HTTP: use http:// in VAULT_ADDR or -address"}
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT), errors.Is(err, context.DeadlineExceeded):
		return []string{fmt.Sprintf("is the server running at %s? VAULT_ADDR or -address says where it is", redacted(e.address()))}
	}
	return nil
}

// redacted is an address without the password that it may hold.
func redacted(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the given address"
	}
	return u.Redacted()
}

package postgres

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"leasehold/internal/secret"
	"leasehold/plugins"
)

func TestClasses(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]plugins.Class{
		"08006": plugins.Unknown,   // connection failure
		"08007": plugins.Unknown,   // transaction resolution unknown
		"0A000": plugins.Permanent, // feature not supported
		"21000": plugins.Permanent, // more than one row from a subquery
		"22012": plugins.Permanent, // division by zero
		"25006": plugins.Refused,   // read-only transaction
		"28P01": plugins.Refused,   // wrong password
		"2BP01": plugins.Refused,   // dependent objects
		"2D000": plugins.Permanent, // COMMIT in a function
		"40001": plugins.Refused,   // serialization failure
		"40003": plugins.Unknown,   // statement completion unknown
		"40P01": plugins.Refused,   // deadlock
		"42501": plugins.Refused,   // permission denied
		"42601": plugins.Permanent, // syntax error
		"42704": plugins.Permanent, // no such role
		"42710": plugins.Permanent, // role exists
		"53300": plugins.Refused,   // too many connections
		"54000": plugins.Permanent, // program limit exceeded
		"55P03": plugins.Refused,   // lock not available
		"57014": plugins.Refused,   // query cancelled
		"57P01": plugins.Refused,   // shutdown
		"P0001": plugins.Refused,   // RAISE in a function
		"XX000": plugins.Refused,   // tuple concurrently updated
		"":      plugins.Refused,
	} {
		if got := classOf(code); got != want {
			t.Errorf("%s: got %v, want %v", code, got, want)
		}
	}
	for _, test := range []struct {
		name         string
		err          error
		sent, commit plugins.Class
	}{
		{"no answer", io.ErrUnexpectedEOF, plugins.Unknown, plugins.Unknown},
		{"an answer", &pgconn.PgError{SeverityUnlocalized: "ERROR", Code: "23505"}, plugins.Refused, plugins.Refused},
		{"a last answer", &pgconn.PgError{SeverityUnlocalized: "FATAL", Code: "57P01"}, plugins.Refused, plugins.Unknown},
	} {
		err := fmt.Errorf("wrapped: %w", test.err)
		if got := sentClass(err); got != test.sent {
			t.Errorf("%s: got %v, want %v", test.name, got, test.sent)
		}
		if got := commitClass(err); got != test.commit {
			t.Errorf("%s to COMMIT: got %v, want %v", test.name, got, test.commit)
		}
	}
}

func TestFailMasks(t *testing.T) {
	t.Parallel()
	d := &Database{settings: &settings{
		secrets: append(plugins.MaskURL("postgresql://u:pa%20ss@h/d"), plugins.MaskPassword("pa ss", "pa%20ss", "a")...),
	}}
	err := d.fail("try", plugins.Refused, errors.New("postgresql://u:pa%20ss@h/d: pa ss, pa%20ss; n'ew, n''ew"),
		masks(secret.NewText("n'ew"), secret.Text{})...)
	const want = "try: [connection_url]: [password], [password]; [password], [password]"
	if got := err.Error(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	password, made := secret.NewText("0123456789"), secret.NewText("SCRAM-SHA-256$4096:c2FsdHNhbHQ=$keys:keys")
	for text, want := range map[string]string{
		`unterminated quoted string at or near "'01234567"`:       "try: the server refused a statement, with a text that shows a part of the password",
		`not good: "'SCRAM-SHA-256$4096:c2FsdHNhbHQ=$keys:keys'"`: `try: not good: "'SCRAM-SHA-256$4096:[password]'"`,
	} {
		if got := d.fail("try", plugins.Refused, errors.New(text), masks(password, made)...).Error(); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	detailed := &pgconn.PgError{Severity: "ERROR", Message: "in use", Code: "2BP01", Detail: "x\ny", Where: "secret"}
	if got := d.fail("try", plugins.Refused, detailed).Error(); got != "try: ERROR: in use (SQLSTATE 2BP01): x, y" {
		t.Errorf("got %q", got)
	}
}

package mysql

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"leasehold/plugins"
)

func TestClasses(t *testing.T) {
	t.Parallel()
	for number, want := range map[uint16]plugins.Class{
		1040: plugins.Refused, 1044: plugins.Refused, 1045: plugins.Refused, 1142: plugins.Refused, 1205: plugins.Refused, 1213: plugins.Refused,
		1227: plugins.Refused, 1290: plugins.Refused, 1317: plugins.Refused, 1644: plugins.Refused, 1836: plugins.Refused, 1969: plugins.Refused,
		3024: plugins.Refused, 4006: plugins.Refused, 9999: plugins.Refused,
		1053: plugins.Unknown,
	} {
		if got := classOf(&mysql.MySQLError{Number: number}); got != want {
			t.Errorf("error %d: got %v, want %v", number, got, want)
		}
	}
	for number, want := range classes {
		if got := classOf(fmt.Errorf("wrapped: %w", &mysql.MySQLError{Number: number})); got != want {
			t.Errorf("error %d: got %v, want %v", number, got, want)
		}
	}
	if got := classOf(mysql.ErrInvalidConn); got != plugins.Unknown {
		t.Errorf("a broken connection: got %v", got)
	}
	if got := lookClass(mysql.ErrInvalidConn); got != plugins.Unreachable {
		t.Errorf("a broken connection while looking: got %v", got)
	}
}

// MariaDB says so when a plugin that checks passwords is loaded (its source, "ER_OPTION_PREVENTS_STATEMENT").
func TestWantsClear(t *testing.T) {
	t.Parallel()
	const text = "The MariaDB server is running with the %s option so it cannot execute this statement"
	for option, want := range map[string]bool{"--strict-password-validation": true, "--read-only": false} {
		if got := wantsClear(&mysql.MySQLError{Number: 1290, Message: fmt.Sprintf(text, option)}); got != want {
			t.Errorf("%s: got %v, want %v", option, got, want)
		}
	}
}

// The server quotes statements from where they went wrong, and cuts what it quotes.
func TestErrorsKeepSecrets(t *testing.T) {
	t.Parallel()
	d := &Database{settings: &settings{secrets: plugins.MaskPassword("root'sPw")}}
	const password = `ab'c"d\e-0123456789`
	masks := plugins.MaskPassword(forms(password)...)
	for _, text := range append(forms(password), "root'sPw") {
		got := d.fail("x", plugins.Refused, errors.New("near '"+text+"' at line 1"), masks...).Error()
		if got != "x: near '[password]' at line 1" {
			t.Errorf("%s: got %s", text, got)
		}
	}
	for _, part := range []string{"near '012345'", `near 'ab''c"d`, `near "d\\e-0`} {
		if got := d.fail("x", plugins.Refused, errors.New(part), masks...).Error(); strings.Contains(got, part) {
			t.Errorf("a part is shown: %s", got)
		}
	}
	if got := d.fail("x", plugins.Refused, errors.New("near 'nothing'"), masks...).Error(); got != "x: near 'nothing'" {
		t.Errorf("got %s", got)
	}
}

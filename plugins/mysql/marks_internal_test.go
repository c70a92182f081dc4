package mysql

import (
	"slices"
	"strings"
	"testing"

	"leasehold/plugins"
)

const testMark = plugins.MarkPrefix + "store=0123456789abcdef mount=8f1c connection=shop role=app issued=2040-05-06T07:08:09.123456Z"

// Which servers keep attributes, by what they call themselves.
func TestHasAttributes(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"8.0.21": true, "8.0.36-0ubuntu0.22.04.1": true, "8.4.3": true, "9.1.0-commercial": true, "8.0.mysql_aurora.3.04.0": false,
		"8.0.20": false, "5.7.44-log": false, "10.11.19-MariaDB-0+deb12u1-log": false, "5.5.5-10.6.1-MariaDB": false, "": false, "8.1": false,
	} {
		s := session{version: version, maria: strings.Contains(version, "MariaDB")}
		if got := s.hasAttributes(); got != want {
			t.Errorf("%s: got %v, want %v", version, got, want)
		}
	}
}

func TestMarkOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		testMark:                               testMark,
		"leasehold_0123456789abcdef_my_broker": plugins.MarkPrefix + "store=0123456789abcdef",
		"somebody's own":                       "",
		"":                                     "",
	} {
		if got := markOf(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if found := storeWord.FindStringSubmatch(testMark); found == nil || found[1] != "0123456789abcdef" {
		t.Errorf("the store of a mark: got %q", found)
	}
}

// Names in queries are data, whatever they hold.
func TestAccountsQuery(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{"10.11.2-MariaDB": "mysql.roles_mapping", "8.0.30": "information_schema.USER_ATTRIBUTES", "5.7.1": "SELECT u.User, NULL"} {
		s := session{version: version, maria: strings.Contains(version, "MariaDB")}
		query := s.everyAccount([]string{"it's", "b"})
		if !strings.Contains(query, want) || !strings.Contains(query, "IN (X'69742773', X'62')") {
			t.Errorf("%s: %s", version, query)
		}
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for address, want := range map[string][]string{
		"h:1":                   {"h:1"},
		"h1:1,h2:2":             {"h1:1", "h2:2"},
		"[h1:1,h2:2]:3306":      {"h1:1", "h2:2"}, // as the driver reads the one before
		"h1,h2:3306":            {"h1:3306", "h2:3306"},
		"[::1]:1,h2":            {"[::1]:1", "h2:3306"},
		"[[::1]:1,[::2]]:3306":  {"[::1]:1", "[::2]:3306"},
		"h1:3306, h2:3307,h3:1": {"h1:3306", "h2:3307", "h3:1"},
	} {
		if got := addresses("tcp", address); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", address, got, want)
		}
	}
	if got := addresses("unix", "/a,b"); !slices.Equal(got, []string{"/a,b"}) {
		t.Errorf("a socket: got %q", got)
	}
}

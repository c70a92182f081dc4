package database

import (
	"strings"
	"testing"
)

func TestWithoutPassword(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ url, want string }{ // want empty: nothing to hide
		{"postgresql://{{username}}:{{password}}@127.0.0.1:5432/db?sslmode=disable", ""},
		{"postgresql://127.0.0.1:5432,[::1]:5433/db?user={{username}}&password={{password}}", ""},
		{"postgresql://user@host/db?application_name=a@b:c", ""},
		{"postgresql://host:5432/db?application_name=a@b:c", ""},
		{"postgresql://u:pw@host/db", "postgresql://u:xxxxx@host/db"},
		{"postgresql://u:p@w:x@host:5432/db?a=b@c", "postgresql://u:xxxxx@host:5432/db?a=b@c"},
		{"postgresql://u:p/w@host/db", "postgresql://u:xxxxx@host/db"},
		{"postgresql://u:p?w@host/db", "postgresql://u:xxxxx@host/db"},
		{"postgresql://u:12/w@host/db", "postgresql://u:xxxxx@host/db"},
		{"postgresql://u:{{password}}x@host/db", "postgresql://u:xxxxx@host/db"},
		{"postgresql://host/db?password=pw&x=y", "postgresql://host/db?password=xxxxx&x=y"},
		{"postgresql://u:pw@host/db?sslpassword=pw2", "postgresql://u:xxxxx@host/db?sslpassword=xxxxx"},
		{"{{username}}:{{password}}@tcp(127.0.0.1:3306)/db?tls=true", ""},
		{"root@tcp(127.0.0.1:3306)/", ""},
		{"root:pw@tcp(127.0.0.1:3306)/db", "root:xxxxx@tcp(127.0.0.1:3306)/db"},
		{"root:p@s/w:rd@tcp(127.0.0.1:3306)/db", "root:xxxxx@tcp(127.0.0.1:3306)/db"},
		{"host=h user={{username}} password={{password}} dbname=d", ""},
		{"host=h user={{username}} password='{{password}}' dbname=d", ""},
		{"host=h password=pw dbname=d", "host=h password=xxxxx dbname=d"},
		{"host=h password = 'p w' dbname=d", "host=h password = xxxxx dbname=d"},
		{`host=h password='p\'w' dbname=d`, `host=h password=xxxxx dbname=d`},
		{`host=h password=p\ w dbname=d`, `host=h password=xxxxx dbname=d`},
		{"password=pw", "password=xxxxx"},
		{"host=h passfile=/x/y user=u", ""},
		{"server=h;user id=sa;password=p w;database=d", "server=h;user id=sa;password=xxxxx;database=d"},
		{"server=h;password={p;w=x};database=d", "server=h;password=xxxxx;database=d"},
		{"server=h;user id=sa;pwd={{password}};database=d", ""},
		{"password=p;w dbname=d", "password=xxxxx dbname=d"},
		{"sqlserver://sa:pw@host:1433?database=d", "sqlserver://sa:xxxxx@host:1433?database=d"},
		{"", ""},
	} {
		want, found := test.want, test.want != ""
		if !found {
			want = test.url
		}
		if got, ok := withoutPassword(test.url); got != want || ok != found {
			t.Errorf("%s: got %s, %v; want %s, %v", test.url, got, ok, want, found)
		}
	}
}

// FuzzWithoutPassword: a password with any characters in any of the known forms is hidden, and hiding twice is hiding once.
func FuzzWithoutPassword(f *testing.F) {
	for _, seed := range []string{"pw", "p@w", "p:w/x", "p?w#x", "{{password}}x", "12345", "@@", "p%20w", "[::1]", "p,w:1@"} {
		f.Add(seed, "host/db?x=y")
	}
	f.Add("p", "u@h:1/d@e")
	f.Fuzz(func(t *testing.T, password, rest string) {
		masked, _ := withoutPassword(rest)
		if again, _ := withoutPassword(masked); again != masked {
			t.Errorf("hiding %q twice: %q, then %q", rest, masked, again)
		}
		if len(password) < 6 || strings.ContainsAny(password, " ='\"\\;{}&#?/\t\n\v\f\r") || strings.Contains("postgresql://user@host:5432/db@tcp(xxxxx)password=", password) {
			return
		}
		for _, url := range []string{
			"postgresql://user:" + password + "@host:5432/db", "user:" + password + "@tcp(host:3306)/db", "host=h password=" + password + " user=u",
		} {
			if url == "postgresql://user:"+passwordPlaceholder+"@host:5432/db" || password == passwordPlaceholder || strings.Trim(password, `"`) == "" {
				continue
			}
			if got, found := withoutPassword(url); !found || strings.Contains(got, password) {
				t.Errorf("%q still holds %q", got, password)
			}
		}
	})
}

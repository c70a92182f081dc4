package database

import (
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"leasehold/plugins"
	"leasehold/plugins/postgres"
)

var (
	noLimits = plugins.Usernames{}
	instant  = time.Date(2031, 2, 3, 4, 5, 6, 789e6, time.UTC)
)

func TestTemplates(t *testing.T) {
	t.Parallel()
	data := nameData{DisplayName: "token", RoleName: "templaterole-sh"}
	for _, test := range []struct{ template, want string }{
		{`{{.RoleName}}-x`, `templaterole-sh-x`},
		{`{{.DisplayName}}-dn`, `token-dn`},
		{`{{.RoleName | uppercase}}`, `TEMPLATEROLE-SH`},
		{`{{"ABC-" | lowercase}}{{.RoleName}}`, `abc-templaterole-sh`},
		{`{{.RoleName | truncate 4}}`, `temp`},
		{`{{.RoleName | truncate 400}}`, `templaterole-sh`},
		{`{{.RoleName | truncate_sha256 12}}`, `tempc7cd431c`},
		{`{{.RoleName | truncate_sha256 15}}`, `templaterole-sh`},
		{`{{.RoleName | replace "-" "_"}}`, `templaterole_sh`},
		{`{{.RoleName | sha256 | truncate 8}}`, `367d6dea`},
		{`{{"hello" | base64}}`, `aGVsbG8=`},
		{`{{"aGVsbG8=" | decode_base64}}-b64d`, `hello-b64d`},
		{`{{"hi" | hex}}-hex`, `6869-hex`},
		{`{{"6869" | decode_hex}}-hexd`, `hi-hexd`},
		{`u-{{unix_time}}`, `u-1927857906`},
		{`m-{{unix_time_millis}}`, `m-1927857906789`},
		{`t-{{timestamp "2006-01-02"}}`, `t-2031-02-03`},
		{`{{printf "p-%s-%d" .RoleName 7 | truncate 20}}`, `p-templaterole-sh-7`},
		{`{{printf "2024-%05d" 7}}`, `2024-00007`},
		{`{{print .RoleName "x"}}`, `templaterole-shx`},
		{`{{if matches_glob "temp*-s*" .RoleName}}yes{{else}}no{{end}}`, `yes`},
		{`{{if matches_glob "temp*-x*" .RoleName}}yes{{else}}no{{end}}`, `no`},
		{`{{with $x := .RoleName | truncate 2}}{{$x}}{{end}}`, `te`},
		{`{{len .RoleName}}`, `15`},
	} {
		u, err := newUsernames(test.template, noLimits)
		if err != nil {
			t.Errorf("%s: %v", test.template, err)
			continue
		}
		name, err := u.create(data, instant)
		if err != nil || name.text != test.want || name.shown != test.want || name.random {
			t.Errorf("%s: got %+v, %v; want %q", test.template, name, err, test.want)
		}
	}
	for template, form := range map[string]string{
		`r-{{random 8}}`:             `^r-[A-Za-z0-9]{8}$`,
		`{{uuid}}`:                   `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`,
		``:                           `^v-token-template-[A-Za-z0-9]{20}-1927857906$`,
		`{{random 20 | truncate 9}}`: `^[A-Za-z0-9]{9}$`,
	} {
		u, err := newUsernames(template, postgres.Driver{}.Usernames())
		if err != nil {
			t.Errorf("%s: %v", template, err)
			continue
		}
		name, err := u.create(data, instant)
		other, _ := u.create(data, instant)
		if err != nil || !regexp.MustCompile(form).MatchString(name.text) || !name.random || name.text == other.text {
			t.Errorf("%s: got %+v, %v, then %+v; want the form %s", template, name, err, other, form)
		}
	}
	for _, template := range []string{`{{random 7}}`, `{{.RoleName}}{{random 20 | truncate 5}}`} {
		u, err := newUsernames(template, noLimits)
		if err != nil {
			t.Fatal(err)
		}
		if name, err := u.create(data, instant); err != nil || name.random {
			t.Errorf("%s counts as random: %+v, %v", template, name, err)
		}
	}
}

func TestTemplateRefusals(t *testing.T) {
	t.Parallel()
	const initialize, invalid = "unable to initialize username template: ", "invalid username template: "
	doubled := `{{$x := "aaaaaaaa"}}` + strings.Repeat(`{{$x = printf "%s%s" $x $x}}`, 40) + `{{$x}}`
	for _, test := range []struct{ template, want string }{
		{`{{.Nope`, initialize},
		{`{{.RoleName | nosuch}}`, initialize},
		{`{{range .RoleName}}x{{end}}`, initialize},
		{`{{range 1000000000}}{{end}}`, initialize},
		{`{{if true}}{{range 1000000000}}{{end}}{{end}}`, initialize},
		{`{{define "x"}}{{template "x"}}{{end}}{{template "x"}}`, initialize},
		{`{{template "username"}}`, initialize},
		{`{{block "x" .}}{{end}}`, initialize},
		{strings.Repeat("x", maxTemplate+1), initialize},
		{`{{.Nope}}`, invalid},
		{`{{.RoleName.Nope}}`, invalid},
		{`{{""}}`, invalid},
		{`{{/* nothing */}}`, invalid},
		{`{{.RoleName | truncate 0}}`, invalid},
		{`{{.RoleName | truncate -1}}`, invalid},
		{`{{.RoleName | truncate_sha256 8}}`, invalid},
		{`{{random 0}}`, invalid},
		{`{{random 1000000000}}`, invalid},
		{`{{"x" | decode_base64}}`, invalid},
		{`{{"x" | decode_hex}}`, invalid},
		{`{{printf "%1000000000d" 1}}`, invalid},
		{`{{printf "%*d" 1000000000 1}}`, invalid},
		{`{{printf "%.1000000000f" 1.0}}`, invalid},
		{`{{printf "%[1]1000000000d" 1}}`, invalid},
		{doubled, invalid},
		{`{{random 2000}}`, invalid},
		{`{{"aa" | replace "" "` + strings.Repeat("b", 3000) + `"}}`, invalid},
		{`a b`, invalid},
		{`a"b`, invalid},
		{`a'b`, invalid},
		{`a\b`, invalid},
		{`a;b`, invalid},
		{`ä`, invalid},
		{`{{"00" | decode_hex}}`, invalid},
		{`{{println "x"}}`, invalid},
		{`{{html "<"}}`, invalid},
	} {
		_, err := newUsernames(test.template, noLimits)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) || len(err.Error()) > 8000 {
			t.Errorf("%.60s: got %v, want %q", test.template, err, test.want)
		}
	}
}

func TestNameLimits(t *testing.T) {
	t.Parallel()
	cuts, strict := plugins.Usernames{MaxLength: 32, Cuts: true}, plugins.Usernames{MaxLength: 32}
	long := strings.Repeat("r", 40)
	for _, test := range []struct {
		template string
		limits   plugins.Usernames
		role     string
		text     int // length of the name; 0: refused
		shown    int
	}{
		{`{{.RoleName}}`, strict, long[:32], 32, 32},
		{`{{.RoleName}}`, strict, long, 0, 0},
		{`{{.RoleName}}`, cuts, long, 32, 40},
		{`{{random 20}}-{{.RoleName}}`, cuts, long, 32, 61},
		{`{{.RoleName}}-{{random 20}}`, cuts, long, 0, 0},
		{`{{random 20 | lowercase}}-{{.RoleName}}`, cuts, long, 32, 61},
		{`{{random 10 | hex}}-{{.RoleName}}`, cuts, long, 0, 0}, // no telling what is random
		{`{{.RoleName}}`, noLimits, long, 40, 40},
	} {
		u, err := newUsernames(test.template, test.limits)
		if err != nil {
			t.Errorf("%s: %v", test.template, err)
			continue
		}
		name, err := u.create(nameData{RoleName: test.role}, instant)
		if (err != nil) != (test.text == 0) || len(name.text) != test.text || len(name.shown) != test.shown {
			t.Errorf("%s with %+v: got %+v, %v", test.template, test.limits, name, err)
		}
	}
	u, err := newUsernames("", plugins.Usernames{Template: `{{.DisplayName}}.`, MaxLength: 63})
	if err != nil {
		t.Fatal(err)
	}
	if name, err := u.create(nameData{DisplayName: "O'Hara; \"DROP\"\x00 ü"}, instant); err != nil || name.text != "O-Hara---DROP----." {
		t.Errorf("display name: got %+v, %v", name, err)
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true}, {"*", "x", true}, {"", "", true}, {"", "x", false}, {"app-*", "app-1", true}, {"app-*", "app-", true},
		{"app-*", "xapp-1", false}, {"*-ro", "app-ro", true}, {"*-ro", "app-rox", false}, {"a*b*c", "abbbc", true}, {"a*b*c", "acb", false},
		{"a*a", "a", false}, {"a*a", "aa", true}, {"a**b", "ab", true}, {"exact", "exact", true}, {"exact", "exactly", false}, {"a?c", "abc", false},
		{"*ab*ab*", "ab", false}, {"*ab*ab*", "abab", true},
	} {
		if got := matchesGlob(test.pattern, test.s); got != test.want {
			t.Errorf("%q matches %q: %v", test.pattern, test.s, got)
		}
	}
}

func TestDefaultPassword(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 500 {
		p := defaultPassword().Reveal()
		if len(p) != 20 || seen[p] || strings.Trim(p, lower+upper+digits+dash) != "" ||
			!strings.ContainsAny(p, lower) || !strings.ContainsAny(p, upper) || !strings.ContainsAny(p, digits) || !strings.Contains(p, dash) {
			t.Fatal("a default password of another form, or twice")
		}
		seen[p] = true
	}
}

// FuzzTemplate: whatever an operator writes, a template is refused or makes names that need no quoting, fit the database,
// and cost little.
func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{
		postgres.Driver{}.Usernames().Template, `{{.RoleName | replace "-" "_" | sha256 | truncate_sha256 12}}`,
		`{{if matches_glob "a*" .DisplayName}}{{random 8}}{{else}}{{uuid}}{{end}}`, `{{printf "%s-%05d" .RoleName 7 | base64 | decode_base64}}`,
		`{{with $x := timestamp "2006"}}{{$x}}{{$x}}{{end}}`, `{{range .}}{{end}}`, `{{define "a"}}{{end}}`, `{{html "a"}}{{js "a"}}{{urlquery "a"}}`,
		`{{index .RoleName 0}}{{slice .RoleName 1 2}}{{len .RoleName}}{{not true}}{{eq 1 1}}{{and 1 2}}`, `{{call 1}}`, `{{"6869" | decode_hex | hex}}`,
	} {
		f.Add(seed, "token", "role")
	}
	f.Fuzz(func(t *testing.T, text, display, role string) {
		limits := plugins.Usernames{MaxLength: 63, Cuts: true, Template: "x"}
		u, err := newUsernames(text, limits)
		if err != nil {
			return
		}
		name, err := u.create(nameData{DisplayName: display, RoleName: role}, instant)
		if err != nil {
			return
		}
		if name.text == "" || len(name.text) > 63 || !strings.HasPrefix(name.shown, name.text) || len(name.shown) > maxName ||
			!utf8.ValidString(name.shown) || strings.ContainsAny(name.shown, " \t\r\n'\"\\;`$(){}%\x00") {
			t.Errorf("template %q made %q, shown as %q", text, name.text, name.shown)
		}
	})
}

// BenchmarkName asks what choosing a user name costs a request.
func BenchmarkName(b *testing.B) {
	u, err := newUsernames("", postgres.Driver{}.Usernames())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := u.create(nameData{DisplayName: "token", RoleName: "application"}, instant); err != nil {
			b.Fatal(err)
		}
	}
}

package mysql

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"unicode"

	"leasehold/plugins/sqltext"
)

// modes are the ways in which servers read quotes.
var modes = map[string]mode{
	"default": {}, "ANSI_QUOTES": {ansiQuotes: true}, "NO_BACKSLASH_ESCAPES": {noBackslashEscapes: true}, "both": {true, true},
}

func TestParseMode(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]mode{
		"": {}, "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION": {}, "REAL_AS_FLOAT,PIPES_AS_CONCAT,ANSI_QUOTES,IGNORE_SPACE,ANSI": {ansiQuotes: true},
		"NO_BACKSLASH_ESCAPES": {noBackslashEscapes: true}, "ANSI_QUOTES,NO_BACKSLASH_ESCAPES": {true, true},
	} {
		if got := parseMode(text); got != want {
			t.Errorf("%q: got %+v, want %+v", text, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	b64 := base64.StdEncoding.EncodeToString
	for _, test := range []struct {
		name  string
		mode  string
		items []string
		want  []string
	}{
		{"nothing", "default", nil, nil},
		{"blank", "default", []string{"", " ; ;\n", "-- nothing", "/* ; */;"}, nil},
		{"several, trimmed", "default", []string{" a ; b;\n", "c;"}, []string{"a", "b", "c"}},
		{"base64 of JSON", "default", []string{b64([]byte(`["a","b; c"]`))}, []string{"a", "b", "c"}},
		{"quotes", "default", []string{"a ';' b; \"c;\"\"d\"; `e;``'`; f"}, []string{`a ';' b`, `"c;""d"`, "`e;``'`", "f"}},
		{"doubled quote", "default", []string{`'it''s;'; b`}, []string{`'it''s;'`, "b"}},
		{"backslash", "default", []string{`'\';'; "\";"; b`}, []string{`'\';'`, `"\";"`, "b"}},
		{"no backslash", "NO_BACKSLASH_ESCAPES", []string{`'\'; "\"; b`}, []string{`'\'`, `"\"`, "b"}},
		{"backslash in an identifier", "default", []string{"`\\`; b"}, []string{"`\\`", "b"}},
		{"backslash in a double-quoted identifier", "ANSI_QUOTES", []string{`"\"; '\';'; b`}, []string{`"\"`, `'\';'`, "b"}},
		{"comments", "default", []string{"a -- ; '\n; # ; '\n b /* ; /* ' */; c"}, []string{"a -- ; '", "# ; '\n b /* ; /* ' */", "c"}},
		{"minus minus", "default", []string{"5--3; --'x'; b--"}, []string{"5--3", "--'x'", "b--"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			parsed, err := parse(test.items, modes[test.mode])
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range parsed {
				got = append(got, s.String())
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("parse(%q)\n got %q\nwant %q", test.items, got, test.want)
			}
		})
	}
	for _, item := range []string{
		"'", "`a", `'\'`, `"\"`, "/* ", "['", "/*!50000 a */", "a /*M! b */", "SET sql_mode = ''", "SET @@session.`SQL_MODE` = 1", "set  Names x", "SET CHARACTER SET x",
	} {
		if got, err := parse([]string{item}, mode{}); err == nil {
			t.Errorf("parse(%q): got %q, want an error", item, got)
		}
	}
}

func TestFill(t *testing.T) {
	t.Parallel()
	hostile := "a'b\"c\\d`e"
	for _, test := range []struct {
		name, mode, template, value, want string // want empty: refused
	}{
		{"plain", "default", "`{{name}}` '{{name}}' {{name}} -- {{name}}", "Größe_1", "`Größe_1` 'Größe_1' Größe_1 -- Größe_1"},
		{"usual", "default", `CREATE USER '{{username}}'@'%'`, "v-tok.en@x-1", `CREATE USER 'v-tok.en@x-1'@'%'`},
		{"unknown placeholder", "default", `'{{nothing}}' {{ name }}`, "x", `'{{nothing}}' {{ name }}`},
		{"no value", "default", `'{{password}}'`, "x", ""},
		{"not twice", "default", `'{{name}}'`, "{{username}}", `'{{username}}'`},
		{"in a text", "default", `'{{name}}'`, hostile, "'a''b\"c\\\\d`e'"},
		{"in a text without escapes", "NO_BACKSLASH_ESCAPES", `'{{name}}'`, hostile, "'a''b\"c\\d`e'"},
		{"in a double-quoted text", "default", `"{{name}}"`, hostile, "\"a'b\"\"c\\\\d`e\""},
		{"in a double-quoted identifier", "ANSI_QUOTES", `"{{name}}"`, hostile, "\"a'b\"\"c\\d`e\""},
		{"in an identifier", "default", "`{{name}}`", hostile, "`a'b\"c\\d``e`"},
		{"bare with a hyphen", "default", `{{name}}`, "a-b", ""},
		{"bare with a space", "default", `{{name}}`, "a b", ""},
		{"zero byte", "default", `'{{name}}'`, "a\x00b", ""},
		{"not UTF-8", "default", `'{{name}}'`, "a\xbf", ""},
		{"line break in a comment", "default", "-- {{name}}", "a\nb", ""},
		{"end of a comment", "default", "/* {{name}} */", "*/", ""},
		{"condition in a comment", "default", "a /*{{name}} b */", "!", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tokens, err := modes[test.mode].lexer().Cut(test.template)
			if err != nil {
				t.Fatal(err)
			}
			got, err := fillStatement(sqltext.Values{"name": test.value, "username": test.value}, tokens, modes[test.mode])
			if (err == nil) != (test.want != "") || err == nil && got != test.want {
				t.Errorf("fill %q with %q\n got %q, %v\nwant %q", test.template, test.value, got, err, test.want)
			}
			if err != nil && len(test.value) > 1 && strings.Contains(err.Error(), test.value) {
				t.Errorf("the error holds the value: %v", err)
			}
		})
	}
}

func TestHashesOnly(t *testing.T) {
	t.Parallel()
	for template, want := range map[string]string{
		"CREATE USER a IDENTIFIED BY '{{password}}'":                                       "CREATE USER a IDENTIFIED BY  PASSWORD '{{hash}}'",
		"create user a identified by\"{{password}}\", `b` identified  by '{{password}}' x": "create user a identified by PASSWORD '{{hash}}', `b` identified  by  PASSWORD '{{hash}}' x",
		"GRANT USAGE ON *.* TO a IDENTIFIED BY 'x{{password}}'":                            "GRANT USAGE ON *.* TO a IDENTIFIED BY 'x{{password}}'",
		"SET PASSWORD FOR a = PASSWORD('{{password}}')":                                    "SET PASSWORD FOR a = PASSWORD('{{password}}')",
		"CREATE USER a IDENTIFIED BY PASSWORD '{{password}}'":                              "CREATE USER a IDENTIFIED BY PASSWORD '{{password}}'",
		"CREATE USER `identified by`'{{password}}'":                                        "CREATE USER `identified by`'{{password}}'",
	} {
		tokens, err := mode{}.lexer().Cut(template)
		if err != nil {
			t.Fatal(err)
		}
		if got := hashesOnly(tokens).String(); got != want {
			t.Errorf("%s:\n got %s\nwant %s", template, got, want)
		}
	}
}

// The pieces of a text hold all of it but semicolons, comments and space at the ends, in order, and are not cut any further.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"--;",
		"CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'; GRANT SELECT ON d.* TO `{{name}}`;",
		`'\';' ; "\"" # ;` + "\n; -- ; ", "/* ; */ a;b--;--", "`;``;`'",
	} {
		for i := range uint8(4) {
			f.Add(seed, i)
		}
	}
	f.Fuzz(func(t *testing.T, sql string, bits uint8) {
		m := mode{bits&1 != 0, bits&2 != 0}
		tokens, err := m.lexer().Cut(sql)
		if err != nil {
			return
		}
		if joined := sqltext.Statement(tokens).String(); joined != strings.TrimSpace(sql) {
			t.Fatalf("tokens of %q joined: %q", sql, joined)
		}
		rest := sql
		for _, s := range split(tokens) {
			piece := s.String()
			at := strings.Index(rest, piece)
			if at < 0 || !blank(rest[:at], m) {
				t.Fatalf("split %q: piece %q is not next in %q", sql, piece, rest)
			}
			rest = rest[at+len(piece):]
			again, err := m.lexer().Cut(piece)
			if err != nil {
				t.Fatalf("split %q: piece %q: %v", sql, piece, err)
			}
			if pieces := split(again); len(pieces) != 1 || pieces[0].String() != piece {
				t.Fatalf("split %q: piece %q is cut again into %q", sql, piece, pieces)
			}
		}
		if !blank(rest, m) {
			t.Fatalf("split %q: left over %q", sql, rest)
		}
	})
}

// blank reports whether there is nothing to run.
func blank(sql string, m mode) bool {
	tokens, err := m.lexer().Cut(sql)
	return err == nil && !slices.ContainsFunc(tokens, func(t sqltext.Token) bool {
		return t.Kind != comment && strings.ContainsFunc(t.Text, func(r rune) bool { return r != ';' && !unicode.IsSpace(r) })
	})
}

// No value makes one statement into two, or text into code: outside quotes and comments the filled statement is the template
// with words in place of placeholders.
func FuzzFill(f *testing.F) {
	for _, template := range []string{"CREATE USER '{{name}}'@`{{name}}` IDENTIFIED BY \"{{name}}\"", "/* {{name}} */ a -- {{name}}", "-{{name}}'x'", "#{{name}}\n{{name}}"} {
		for _, value := range []string{"x", `'`, `"`, "`", `\`, `\'`, "*/", "!", "\n", ";", "-- ", "#", `'; DROP USER x; -- `, "\xbf'"} {
			for i := range uint8(4) {
				f.Add(template, value, i)
			}
		}
	}
	f.Fuzz(func(t *testing.T, template, value string, bits uint8) {
		m := mode{bits&1 != 0, bits&2 != 0}
		tokens, err := m.lexer().Cut(template)
		if err != nil {
			return
		}
		want, err := fillStatement(sqltext.Values{"name": "x"}, tokens, m)
		if err != nil {
			return
		}
		got, err := fillStatement(sqltext.Values{"name": value}, tokens, m)
		if err == nil && skeleton(t, got, m) != skeleton(t, want, m) {
			t.Fatalf("fill %q with %q: %q", template, value, got)
		}
	})
}

// skeleton is the SQL with its texts and words made equal.
func skeleton(t *testing.T, sql string, m mode) string {
	tokens, err := m.lexer().Cut(sql)
	if err != nil {
		t.Fatalf("filled: %q: %v", sql, err)
	}
	var b strings.Builder
	for _, token := range tokens {
		if token.Kind != sqltext.Code {
			b.WriteString([]string{"", "'", "`", "/"}[token.Kind])
			continue
		}
		inWord := false
		for _, r := range token.Text {
			word := r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r)
			if !word {
				b.WriteRune(r)
			} else if !inWord {
				b.WriteByte('w')
			}
			inWord = word
		}
	}
	return strings.TrimSpace(b.String())
}

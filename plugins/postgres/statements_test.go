package postgres

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"unicode"

	"leasehold/plugins/sqltext"
)

func TestParse(t *testing.T) {
	t.Parallel()
	b64 := base64.StdEncoding.EncodeToString
	for _, test := range []struct {
		name  string
		items []string
		want  []string
	}{
		{"nothing", nil, nil},
		{"blank", []string{"", " ; ;\n"}, nil},
		{"one", []string{"SELECT 1"}, []string{"SELECT 1"}},
		{"several, trimmed", []string{" a ; b;\n", "c;"}, []string{"a", "b", "c"}},
		{"JSON", []string{`["a; b", " c "]`}, []string{"a", "b", "c"}},
		{"base64", []string{b64([]byte("CREATE ROLE x; GRANT y TO x"))}, []string{"CREATE ROLE x", "GRANT y TO x"}},
		{"base64 of JSON", []string{b64([]byte(`["a","b"]`))}, []string{"a", "b"}},
		{"a word that could be base64", []string{"ROLLBACK"}, []string{"ROLLBACK"}},
		{"quotes", []string{`a ';' b; "c;""d"; e`}, []string{`a ';' b`, `"c;""d"`, "e"}},
		{"doubled quote", []string{`'it''s;'; b`}, []string{`'it''s;'`, "b"}},
		{"backslash in a plain string", []string{`'\'; b`}, []string{`'\'`, "b"}},
		{"backslash in an escape string", []string{`E'\';'; b`}, []string{`E'\';'`, "b"}},
		{"identifier that ends in e", []string{`name'\'; b`}, []string{`name'\'`, "b"}},
		{"dollars", []string{"DO $$ a; b $$; c"}, []string{"DO $$ a; b $$", "c"}},
		{"tagged dollars", []string{"DO $x$ a; $$ b; $y$ $x$; c"}, []string{"DO $x$ a; $$ b; $y$ $x$", "c"}},
		{"dollars in an identifier", []string{"a$$; b$$"}, []string{"a$$", "b$$"}},
		{"parameter", []string{"$1; $2"}, []string{"$1", "$2"}},
		{"comments", []string{"a -- ; '\n; /* ; /* ' */ ; */ b"}, []string{"a -- ; '", "/* ; /* ' */ ; */ b"}},
		{"parentheses", []string{"CREATE RULE r AS ON INSERT TO t DO (a; b); c"}, []string{"CREATE RULE r AS ON INSERT TO t DO (a; b)", "c"}},
		{"END keeps it whole", []string{"BEGIN ATOMIC a; b; end; c", "d; e"}, []string{"BEGIN ATOMIC a; b; end; c", "d", "e"}},
		{"END in quotes does not", []string{`a 'END'; "end" $$end$$ -- end`}, []string{"a 'END'", `"end" $$end$$ -- end`}},
		{"END in a word does not", []string{"endless; sender_end"}, []string{"endless", "sender_end"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			parsed, err := parse(test.items)
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
	for _, item := range []string{"'", `"a`, "E'\\'", "$$ a", "$x$ $$", "/* /* */", "['"} {
		if got, err := parse([]string{item}); err == nil {
			t.Errorf("parse(%q): got %q, want an error", item, got)
		}
	}
}

func TestFill(t *testing.T) {
	t.Parallel()
	hostile := `a'b"c\d`
	for _, test := range []struct {
		name, template, value, want string // want empty: refused
	}{
		{"plain", `"{{name}}" '{{name}}' {{name}} -- {{name}}`, "Größe_1", `"Größe_1" 'Größe_1' Größe_1 -- Größe_1`},
		{"usual", `CREATE ROLE "{{username}}"`, "v-tok.en@x-1", `CREATE ROLE "v-tok.en@x-1"`},
		{"unknown placeholder", `'{{nothing}}' {{ name }}`, "x", `'{{nothing}}' {{ name }}`},
		{"no value", `'{{password}}'`, "x", ""},
		{"not twice", `'{{name}}'`, "{{username}}", `'{{username}}'`},
		{"in a string", `'{{name}}'`, hostile, `'a''b"c\d'`},
		{"in an escape string", `E'{{name}}'`, hostile, `E'a''b"c\\d'`},
		{"in an identifier", `"{{name}}"`, hostile, `"a'b""c\d"`},
		{"in a unicode string", `U&'{{name}}'`, `a'b`, `U&'a''b'`},
		{"backslash in a unicode string", `U&'{{name}}'`, hostile, ""},
		{"bare with a hyphen", `{{name}}`, "a-b", ""},
		{"bare with a space", `{{name}}`, "a b", ""},
		{"zero byte", `"{{name}}"`, "a\x00b", ""},
		{"in a body", `DO $$ BEGIN CREATE ROLE "{{name}}" PASSWORD '{{name}}'; END $$`, "v-x", `DO $$ BEGIN CREATE ROLE "v-x" PASSWORD 'v-x'; END $$`},
		{"identifier in a body", `$$ "{{name}}" $$`, hostile, `$$ "a'b""c\d" $$`},
		{"string in a body", `$$ EXECUTE 'x {{name}}' $$`, hostile, ""},
		{"bare in a body", `$$ {{name}} $$`, "a-b", ""},
		{"end of a body", `$$ "{{name}}" $$`, `a$$b`, ""},
		{"body that is no SQL", `$$it's {{name}}$$`, "zz", ""},
		{"body without placeholders", `$$it's$$ '{{name}}'`, "x", `$$it's$$ 'x'`},
		{"line break in a comment", "-- {{name}}", "a\nb", ""},
		{"prefix of a quote", `{{name}}'x\'`, "E", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			parsed, err := parse([]string{test.template})
			if err != nil || len(parsed) != 1 {
				t.Fatalf("parse(%q): %v, %v", test.template, parsed, err)
			}
			got, err := fillStatement(sqltext.Values{"name": test.value, "username": test.value}, parsed[0])
			if (err == nil) != (test.want != "") || err == nil && got != test.want {
				t.Errorf("fill %q with %q\n got %q, %v\nwant %q", test.template, test.value, got, err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), test.value) {
				t.Errorf("the error holds the value: %v", err)
			}
		})
	}
}

// The pieces of a text hold all of it but semicolons and space at the ends, in order, and are not cut any further.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}";`,
		`DO $$ BEGIN a; b; END $$; c`, `E'\';' ; U&"d\0061" /* ; /* */ */ -- ;`, `(a;b);c)`, `$a$;$b$;$a$;$1;a$$`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		tokens, err := lexer.Cut(sql)
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
			if at < 0 || !blank(rest[:at]) {
				t.Fatalf("split %q: piece %q is not next in %q", sql, piece, rest)
			}
			rest = rest[at+len(piece):]
			again, err := lexer.Cut(piece)
			if err != nil {
				t.Fatalf("split %q: piece %q: %v", sql, piece, err)
			}
			if pieces := split(again); len(pieces) != 1 || pieces[0].String() != piece {
				t.Fatalf("split %q: piece %q is cut again into %q", sql, piece, pieces)
			}
		}
		if !blank(rest) {
			t.Fatalf("split %q: left over %q", sql, rest)
		}
	})
}

func blank(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r != ';' && !unicode.IsSpace(r) })
}

// No value makes one statement into two, or text into code: outside quotes and comments the filled statement is the
// template with words in place of placeholders.
func FuzzFill(f *testing.F) {
	for _, template := range []string{
		`CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{name}}'`, `E'{{name}}' U&"{{name}}" {{name}}`,
		`DO $$ BEGIN EXECUTE '{{name}}'; x "{{name}}"; END $$`, `/* {{name}} */ $a${{name}}$a$ -- {{name}}`, `e{{name}}'\'`,
	} {
		for _, value := range []string{"x", `'`, `"`, `\`, "$$", "$a$", "*/", "\n", ";", "--", "e", "U&", `'; DROP TABLE t; --`} {
			f.Add(template, value)
		}
	}
	f.Fuzz(func(t *testing.T, template, value string) {
		tokens, err := lexer.Cut(template)
		if err != nil {
			return
		}
		fill := func(value string) (string, bool) {
			filled, err := fillStatement(sqltext.Values{"name": value}, tokens)
			return skeleton(t, filled), err == nil
		}
		want, ok := fill("x")
		if !ok {
			return
		}
		if got, ok := fill(value); ok && got != want {
			t.Fatalf("fill %q with %q: %q, want %q", template, value, got, want)
		}
	})
}

// skeleton is the SQL with its texts and words made equal.
func skeleton(t *testing.T, sql string) string {
	tokens, err := lexer.Cut(sql)
	if err != nil {
		t.Fatalf("filled: %q: %v", sql, err)
	}
	var b strings.Builder
	for _, token := range tokens {
		switch token.Kind {
		case sqltext.Code:
			inWord := false
			for _, r := range token.Text {
				if word := endsWord(string(r)); !word {
					b.WriteRune(r)
					inWord = false
				} else if !inWord {
					b.WriteByte('w')
					inWord = true
				}
			}
		case dollar:
			tag := dollarTag.FindString(token.Text)
			body := token.Text[len(tag) : len(token.Text)-len(tag)]
			if _, err := lexer.Cut(body); err == nil {
				body = skeleton(t, body)
			}
			b.WriteString(tag + body + tag)
		default:
			b.WriteString([]string{"", "'", "E'", `"`, "U", "$", "/"}[token.Kind])
		}
	}
	return strings.TrimSpace(b.String())
}

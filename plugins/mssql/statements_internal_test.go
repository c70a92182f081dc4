package mssql

import (
	"slices"
	"strings"
	"testing"
	"unicode"

	"leasehold/plugins/sqltext"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, sql string
		want      []string
	}{
		{"two", "A; B", []string{"A;", "B"}},
		{"nothing", " ; ;; /* a; b */ -- c\n;", nil},
		{"text", "SELECT 'a;''b;' ; B", []string{"SELECT 'a;''b;' ;", "B"}},
		{"wide text", "SELECT N'a;''b;'; B", []string{"SELECT N'a;''b;';", "B"}},
		{"brackets", "DROP LOGIN [a]];b]; B", []string{"DROP LOGIN [a]];b];", "B"}},
		{"quotes", `DROP LOGIN "a"";b"; B`, []string{`DROP LOGIN "a"";b";`, "B"}},
		{"comments", "A -- x; y\n; /* a /* b; */ c; */ B; C", []string{"A -- x; y\n;", "/* a /* b; */ c; */ B;", "C"}},
		{"block", "IF 1 = 1 BEGIN A; B; END; C", []string{"IF 1 = 1 BEGIN A; B; END;", "C"}},
		{"nested", "BEGIN A; BEGIN B; END; C; END D; E", []string{"BEGIN A; BEGIN B; END; C; END D;", "E"}},
		{"try", "BEGIN TRY A; END TRY BEGIN CATCH B; END CATCH; C", []string{"BEGIN TRY A; END TRY BEGIN CATCH B; END CATCH;", "C"}},
		{"transaction", "BEGIN TRAN; A; COMMIT", []string{"BEGIN TRAN;", "A;", "COMMIT"}},
		{"case", "SELECT CASE WHEN 1 = 1 THEN 2 END; B", []string{"SELECT CASE WHEN 1 = 1 THEN 2 END;", "B"}},
		{"else", "IF 1 = 1 A; ELSE B; C", []string{"IF 1 = 1 A; ELSE B;", "C"}},
		{"words like these", "SELECT [begin], @begin, begins; END_; B", []string{"SELECT [begin], @begin, begins;", "END_;", "B"}},
		{"variables", "DECLARE @a int; SET @a = 1; A", []string{"DECLARE @a int; SET @a = 1; A"}},
		{"routine", "A; CREATE OR ALTER PROCEDURE p AS B; C;\nGO\nD; E", []string{"A;", "CREATE OR ALTER PROCEDURE p AS B; C;", "D;", "E"}},
		{"go", "A\nGO\nB\r\n go \r\nC", []string{"A", "B", "C"}},
		{"go at the end", "A\nGO", []string{"A"}},
		{"go in text", "SELECT 'a\nGO\nb'; B", []string{"SELECT 'a\nGO\nb';", "B"}},
		{"no go", "GOTO x; A go", []string{"GOTO x;", "A go"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			statements, err := parse([]string{test.sql})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range statements {
				got = append(got, s.String())
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%q:\ngot  %q\nwant %q", test.sql, got, test.want)
			}
		})
	}
	for _, sql := range []string{"SELECT 'a", "SELECT [a", `SELECT "a`, "A /* /* */", "A\nGO 5\nB"} {
		if _, err := parse([]string{sql}); err == nil {
			t.Errorf("%q: got no error", sql)
		}
	}
}

func TestFill(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ sql, name, want string }{
		{"CREATE LOGIN [{{name}}] WITH X", "a]b", "CREATE LOGIN [a]]b] WITH X"},
		{`CREATE LOGIN "{{name}}"`, `a"b`, `CREATE LOGIN "a""b"`},
		{"SELECT '{{name}}'", "it's", "SELECT 'it''s'"},
		{"SELECT N'{{username}}'", "it's", "SELECT N'it''s'"},
		{"SELECT '{{name}}'", "Größe", "SELECT N'Größe'"},
		{"SELECT N'{{name}}'", "Größe", "SELECT N'Größe'"},
		{"DROP LOGIN {{name}}", "plain", "DROP LOGIN plain"},
		{"DROP LOGIN {{name}}", "not-plain", ""},
		{"DROP LOGIN {{name}}", "a; DROP", ""},
		{"A /* {{name}} */", "x */ B /*", ""},
		{"A -- {{name}}", "x\nB", ""},
		{"EXEC('CREATE LOGIN [{{name}}]')", "v-a-b", "EXEC('CREATE LOGIN [v-a-b]')"},
		{"EXEC('CREATE LOGIN [{{name}}]')", "a]b", ""},
		{"EXEC('SELECT ''{{name}}''')", "it's", ""},
		{"SELECT '{{password}}'", "x", ""},
		{"SELECT '{{name}}'", "a\x00b", ""},
	} {
		statements, err := parse([]string{test.sql})
		if err != nil || len(statements) != 1 {
			t.Fatalf("%q: %v", test.sql, err)
		}
		got, err := fillStatement(sqltext.Values{"name": test.name, "username": test.name}, statements[0])
		if (err == nil) != (test.want != "") || got != test.want {
			t.Errorf("%q with %q: got %q, %v; want %q", test.sql, test.name, got, err, test.want)
		}
	}
}

// FuzzFill: whatever the values are, the statements are as many and of the same tokens as before, and what is read from the quotes
// is the value.
func FuzzFill(f *testing.F) {
	for _, sql := range []string{
		"CREATE LOGIN [{{name}}] WITH PASSWORD = '{{password}}'; USE [x]; CREATE USER [{{name}}]", `A "{{name}}"`, "{{name}}", "-- {{name}}\n B",
		"/* {{name}} /* */ */ A", "EXEC('A ''{{name}}'' B')", "N'{{name}}'", "A\nGO\nB '{{password}}'", "BEGIN A; '{{name}}'; END; B", "DECLARE @a int; B",
	} {
		for _, value := range []string{"v-token-app-x", "it's", "a]b", `a"b`, "*/ DROP", "x\n--", "Größe", ";", "N", "\x00"} {
			f.Add(sql, value)
		}
	}
	f.Fuzz(func(t *testing.T, sql, value string) {
		statements, err := parse([]string{sql})
		if err != nil {
			return
		}
		v := sqltext.Values{"name": value, "username": value, "password": value}
		for _, one := range statements {
			filled, err := fillStatement(v, one)
			if err != nil {
				continue
			}
			after, err := lexer.Cut(filled)
			if err != nil {
				t.Fatalf("%q with %q does not end: %q", sql, value, filled)
			}
			if !slices.Equal(kindsOf(one), kindsOf(after)) {
				t.Fatalf("%q with %q is another statement: %q", sql, value, filled)
			}
			if !placeholder.MatchString(one.String()) && filled != one.String() {
				t.Fatalf("%q was changed: %q", one, filled)
			}
		}
	})
}

// kindsOf are the kinds of what is not code, in their order.
func kindsOf(tokens []sqltext.Token) (kinds []sqltext.Kind) {
	for _, t := range tokens {
		if t.Kind != sqltext.Code {
			kinds = append(kinds, t.Kind)
		}
	}
	return kinds
}

// FuzzSplit: nothing that counts is lost or made up, and cutting again changes nothing.
func FuzzSplit(f *testing.F) {
	for _, sql := range []string{"A; B", "BEGIN A; END; B", "A\nGO\nB", "/* a /* */ ; */ A; 'b;'; [c;]", "DECLARE @a int; A", "A; CREATE VIEW x AS B; C", "IF A; ELSE B; C"} {
		f.Add(sql)
	}
	bare := func(sql string) string {
		return strings.Join(strings.FieldsFunc(sql, func(r rune) bool { return r == ';' || unicode.IsSpace(r) }), "")
	}
	f.Fuzz(func(t *testing.T, sql string) {
		tokens, err := lexer.Cut(sql)
		if err != nil {
			return
		}
		var joined string
		for _, tok := range tokens {
			joined += tok.Text
		}
		if joined != sql {
			t.Fatalf("lex lost something: %q, %q", sql, joined)
		}
		var all string
		for _, s := range split(tokens) {
			all += s.String()
			if again := split(s); len(again) != 1 || again[0].String() != s.String() {
				t.Fatalf("%q is cut again: %q", s, again)
			}
		}
		for _, tok := range tokens {
			if tok.Kind != comment && !strings.Contains(bare(all), bare(tok.Text)) {
				t.Fatalf("%q: %q is lost: %q", sql, tok.Text, all)
			}
		}
	})
}

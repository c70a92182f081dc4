package mysql

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"leasehold/plugins"
	"leasehold/plugins/sqltext"
)

// How a server reads quotes depends on the session's sql_mode, so the mode is asked for first, and statements that would
// change it are refused.

// mode is what of sql_mode says how statements are read.
type mode struct {
	ansiQuotes         bool // "..." is an identifier, not a text
	noBackslashEscapes bool // a backslash in a text is a backslash
}

// parseMode reads the value of @@sql_mode.
func parseMode(text string) (m mode) {
	for word := range strings.SplitSeq(text, ",") {
		switch word {
		case "ANSI_QUOTES":
			m.ansiQuotes = true
		case "NO_BACKSLASH_ESCAPES":
			m.noBackslashEscapes = true
		}
	}
	return m
}

// What a token is to the server's lexer (MySQL's documentation, "Language Structure").
const (
	text       = sqltext.Code + 1 + iota // '...', and "..." unless ANSI_QUOTES is on
	identifier                           // `...`, and "..." with ANSI_QUOTES
	comment
)

var (
	errConditional = errors.New("comments that only some servers read, /*! ... */, are not supported in statements")
	errReading     = errors.New("statements must not change sql_mode or the character set: it says how statements are read")
)

// lexer reads as a session of the mode does.
func (m mode) lexer() sqltext.Lexer {
	return func(sql string, _, i int) (sqltext.Kind, int, error) {
		switch rest := sql[i:]; {
		case rest[0] == '\'', rest[0] == '"' && !m.ansiQuotes:
			return text, sqltext.Closing(sql, i+1, rest[0], !m.noBackslashEscapes), nil
		case rest[0] == '"', rest[0] == '`':
			return identifier, sqltext.Closing(sql, i+1, rest[0], false), nil
		case rest[0] == '#', startsDashes(rest):
			return comment, sqltext.ClosingLine(sql, i, "\n"), nil
		case strings.HasPrefix(rest, "/*!"), strings.HasPrefix(rest, "/*M!"):
			return 0, 0, errConditional
		case strings.HasPrefix(rest, "/*"):
			if n := strings.Index(rest[2:], "*/"); n >= 0 {
				return comment, i + 2 + n + 2, nil
			}
			return comment, -1, nil
		}
		return sqltext.Code, 0, nil
	}
}

// startsDashes reports whether a comment begins: two dashes and a blank or control character, or the end. 5--3 is 8.
func startsDashes(rest string) bool {
	return strings.HasPrefix(rest, "--") && (len(rest) == 2 || rest[2] <= ' ' || rest[2] == 0x7f)
}

// changesReading finds what would have the server read later statements differently.
var changesReading = regexp.MustCompile(`(?i)\bsql_mode\b|\bcharacter_set_|\bset\s+(?:names|charset|character\s+set|char\s+set)\b`)

// parse reads statements as an operator writes them, cut at the semicolons outside quotes and comments.
func parse(items []string, m mode) ([]sqltext.Statement, error) {
	var statements []sqltext.Statement
	for _, item := range items {
		for _, sql := range plugins.Statements(item) {
			tokens, err := m.lexer().Cut(sql)
			if err != nil {
				return nil, err
			}
			statements = append(statements, split(tokens)...)
		}
	}
	for _, s := range statements {
		for _, t := range s {
			if (t.Kind == sqltext.Code || t.Kind == identifier) && changesReading.MatchString(t.Text) {
				return nil, errReading
			}
		}
	}
	return statements, nil
}

func split(tokens []sqltext.Token) []sqltext.Statement {
	var (
		statements []sqltext.Statement
		current    sqltext.Statement
	)
	for _, t := range tokens {
		if t.Kind != sqltext.Code {
			current = append(current, t)
			continue
		}
		from := 0
		for i := range len(t.Text) {
			if t.Text[i] == ';' {
				end := i
				if strings.HasSuffix(t.Text[from:i], "--") {
					end++ // without the semicolon behind them they would begin a comment
				}
				statements = appendStatement(statements, append(current, sqltext.Token{Kind: sqltext.Code, Text: t.Text[from:end]}))
				current, from = nil, i+1
			}
		}
		current = append(current, sqltext.Token{Kind: sqltext.Code, Text: t.Text[from:]})
	}
	return appendStatement(statements, current)
}

// appendStatement leaves out what holds no code: the server calls an empty statement an error.
func appendStatement(statements []sqltext.Statement, s sqltext.Statement) []sqltext.Statement {
	for _, t := range s {
		if t.Kind != comment && strings.TrimSpace(t.Text) != "" {
			return append(statements, s)
		}
	}
	return statements
}

var placeholder = regexp.MustCompile(`\{\{(name|username|password|hash|expiration)\}\}`)

// fillStatement puts the values into one statement.
func fillStatement(v sqltext.Values, s sqltext.Statement, m mode) (string, error) {
	filled, err := m.lexer().Fill(s, func(t sqltext.Token) (string, error) {
		return v.Replace(t.Text, placeholder, func(_, value string) (string, error) { return quote(t, value, m) })
	})
	return strings.TrimSpace(filled), err
}

// quote is the value as it has to be written inside the token.
func quote(t sqltext.Token, value string, m mode) (string, error) {
	switch {
	case strings.ContainsRune(value, 0) || !utf8.ValidString(value):
		return "", errors.New("holds a zero byte, or is not UTF-8")
	case t.Kind == sqltext.Code:
		return sqltext.Bare(value)
	case t.Kind == comment:
		if strings.ContainsAny(value, "*/!\r\n") {
			return "", errors.New("can't stand in a comment")
		}
		return value, nil
	case t.Kind == text && !m.noBackslashEscapes:
		value = strings.ReplaceAll(value, `\`, `\\`)
	}
	mark := t.Text[:1]
	return strings.ReplaceAll(value, mark, mark+mark), nil
}

// quoteName quotes an identifier or a part of an account. It is right in any mode.
func quoteName(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// quoteBytes writes a text that is compared byte by byte. It is right in any mode.
func quoteBytes(s string) string { return fmt.Sprintf("X'%X'", s) }

// quoteText writes a text.
func quoteText(s string, m mode) string {
	if !m.noBackslashEscapes {
		s = strings.ReplaceAll(s, `\`, `\\`)
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

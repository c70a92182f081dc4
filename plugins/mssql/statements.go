package mssql

import (
	"errors"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"leasehold/plugins/sqltext"
)

// No setting of a session changes where a quote ends: with QUOTED_IDENTIFIER on or off, "..." ends at the same place.

// What a token is to the server's lexer (SQL Server's documentation, "Transact-SQL syntax conventions" and "Comments").
const (
	text       = sqltext.Code + 1 + iota // '...' and N'...'
	identifier                           // [...] and "..."
	comment                              // --... and /*...*/, which nests
)

var lexer sqltext.Lexer = func(sql string, code, i int) (sqltext.Kind, int, error) {
	switch rest := sql[i:]; {
	case rest[0] == '\'':
		return text, sqltext.Closing(sql, i+1, '\'', false), nil
	case (rest[0] == 'N' || rest[0] == 'n') && strings.HasPrefix(rest[1:], "'") && !endsInWord(sql[code:i]):
		return text, sqltext.Closing(sql, i+2, '\'', false), nil
	case rest[0] == '"':
		return identifier, sqltext.Closing(sql, i+1, '"', false), nil
	case rest[0] == '[':
		return identifier, sqltext.Closing(sql, i+1, ']', false), nil
	case strings.HasPrefix(rest, "--"):
		return comment, sqltext.ClosingLine(sql, i, "\r\n"), nil
	case strings.HasPrefix(rest, "/*"):
		return comment, sqltext.ClosingComment(sql, i), nil
	}
	return sqltext.Code, 0, nil
}

// endsInWord reports whether what follows directly is part of a word.
func endsInWord(sql string) bool {
	r, _ := utf8.DecodeLastRuneInString(sql)
	return sql != "" && inWord(r)
}

// inWord reports whether a bare identifier or variable may hold r.
func inWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_@#$", r)
}

var placeholder = regexp.MustCompile(`\{\{(name|username|password|expiration)\}\}`)

// fillStatement puts the values into one statement.
func fillStatement(v sqltext.Values, s sqltext.Statement) (string, error) {
	filled, err := lexer.Fill(s, func(t sqltext.Token) (string, error) {
		wide := false
		filled, err := v.Replace(t.Text, placeholder, func(place, value string) (string, error) {
			wide = wide || strings.ContainsFunc(value, func(r rune) bool { return r > unicode.MaxASCII })
			return quote(t, place, value)
		})
		if wide && t.Kind == text && t.Text[0] == '\'' { // else the server turns it into its code page, or question marks
			filled = "N" + filled
		}
		return filled, err
	})
	return strings.TrimSpace(filled), err
}

// quote is the value as it has to be written inside the token, in the place of p.
func quote(t sqltext.Token, p, value string) (string, error) {
	if strings.ContainsRune(value, 0) || !utf8.ValidString(value) {
		return "", errors.New("holds a zero byte, or is not UTF-8")
	}
	switch t.Kind {
	case sqltext.Code:
		return sqltext.Bare(value)
	case comment:
		if strings.ContainsAny(value, "*/\r\n\u0085\u2028\u2029") {
			return "", errors.New("can't stand in a comment")
		}
		return value, nil
	case text:
		// A longer text may be SQL itself, for EXEC. How often the value has to be quoted there can't be told.
		if strings.Trim(t.Text, "Nn'") != p && strings.ContainsAny(value, "'\"[];\r\n") {
			return "", errors.New("can't stand in a longer text, which may be SQL: it holds quotes, brackets or semicolons")
		}
		return strings.ReplaceAll(value, "'", "''"), nil
	}
	if t.Text[0] == '[' {
		return strings.ReplaceAll(value, "]", "]]"), nil
	}
	return strings.ReplaceAll(value, `"`, `""`), nil
}

// quoteName quotes an identifier.
func quoteName(name string) string { return "[" + strings.ReplaceAll(name, "]", "]]") + "]" }

// quoteText writes a text.
func quoteText(s string) string { return "N'" + strings.ReplaceAll(s, "'", "''") + "'" }

package mssql

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The operator's statements are templates. They are cut into tokens before anything is put in, so that a value is quoted as the
// place it stands in asks for and can't change what is a statement and what is text. For values that need no quoting this is
// the plain substitution that the wire contract describes.
//
// No setting of a session changes where a quote ends: with QUOTED_IDENTIFIER on or off, "..." ends at the same place.

// kind is what a token is to the server's lexer (SQL Server's documentation, "Transact-SQL syntax conventions" and "Comments").
type kind int

const (
	code       kind = iota // everything else: key words, bare identifiers, operators, space
	text                   // '...' and N'...'
	identifier             // [...] and "..."
	comment                // --... and /*...*/, which nests
)

type token struct {
	kind kind
	text string // with its delimiters
}

// statement is what is sent at once.
type statement []token

func (s statement) String() string {
	var b strings.Builder
	for _, t := range s {
		b.WriteString(t.text)
	}
	return strings.TrimSpace(b.String())
}

// words is the statement without what stands in quotes and comments.
func (s statement) words() string {
	var b strings.Builder
	for _, t := range s {
		if t.kind == code {
			b.WriteString(t.text)
		} else {
			b.WriteString(" ' ")
		}
	}
	return strings.TrimSpace(b.String())
}

var errUnterminated = errors.New("a quote or comment in the statements does not end")

// lex cuts SQL into tokens; joined they are the SQL again.
func lex(sql string) ([]token, error) {
	var tokens []token
	start := 0 // of the code that no token holds yet
	for i := 0; i < len(sql); {
		end, k := i+1, code
		switch rest := sql[i:]; {
		case rest[0] == '\'':
			k, end = text, closing(sql, i+1, '\'')
		case (rest[0] == 'N' || rest[0] == 'n') && strings.HasPrefix(rest[1:], "'") && !endsInWord(sql[start:i]):
			k, end = text, closing(sql, i+2, '\'')
		case rest[0] == '"':
			k, end = identifier, closing(sql, i+1, '"')
		case rest[0] == '[':
			k, end = identifier, closing(sql, i+1, ']')
		case strings.HasPrefix(rest, "--"):
			k, end = comment, len(sql)
			if n := strings.IndexAny(rest, "\r\n"); n >= 0 {
				end = i + n
			}
		case strings.HasPrefix(rest, "/*"):
			k, end = comment, closingComment(sql, i)
		}
		if end < 0 {
			return nil, errUnterminated
		}
		if k != code {
			if i > start {
				tokens = append(tokens, token{code, sql[start:i]})
			}
			tokens = append(tokens, token{k, sql[i:end]})
			start = end
		}
		i = end
	}
	if len(sql) > start {
		tokens = append(tokens, token{code, sql[start:]})
	}
	return tokens, nil
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

// closing is where the text that began before sql[from] ends, -1 if it does not. A doubled mark is text.
func closing(sql string, from int, mark byte) int {
	for i := from; i < len(sql); i++ {
		switch {
		case sql[i] == mark && i+1 < len(sql) && sql[i+1] == mark:
			i++
		case sql[i] == mark:
			return i + 1
		}
	}
	return -1
}

// closingComment is where the comment at sql[from] ends, -1 if it does not. Comments nest.
func closingComment(sql string, from int) int {
	depth := 0
	for i := from; i < len(sql); i++ {
		switch rest := sql[i:]; {
		case strings.HasPrefix(rest, "/*"):
			depth++
			i++
		case strings.HasPrefix(rest, "*/"):
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// values are what placeholders stand for, by their names without the braces.
type values map[string]string

var placeholder = regexp.MustCompile(`\{\{(name|username|password|expiration)\}\}`)

// fill puts the values into one statement.
func (v values) fill(s statement) (string, error) {
	var b strings.Builder
	for _, t := range s {
		filled, err := v.fillToken(t)
		if err != nil {
			return "", err
		}
		b.WriteString(filled)
	}
	// A bare value beside other code could still have become the beginning of a quote or comment.
	after, err := lex(b.String())
	if err != nil || !sameShape(s, after) {
		return "", errors.New("a value would change the meaning of the statements")
	}
	return strings.TrimSpace(b.String()), nil
}

func (v values) fillToken(t token) (string, error) {
	var refused error
	wide := false
	filled := placeholder.ReplaceAllStringFunc(t.text, func(p string) string {
		value, ok := v[p[2:len(p)-2]]
		if !ok {
			refused = fmt.Errorf("there is no value for %s here", p)
			return p
		}
		quoted, err := quote(t, p, value)
		if err != nil {
			refused = fmt.Errorf("the value of %s %w", p, err)
		}
		wide = wide || strings.ContainsFunc(value, func(r rune) bool { return r > unicode.MaxASCII })
		return quoted
	})
	if wide && t.kind == text && t.text[0] == '\'' { // else the server turns it into its code page, or question marks
		filled = "N" + filled
	}
	return filled, refused
}

// quote is the value as it has to be written inside the token, in the place of p.
func quote(t token, p, value string) (string, error) {
	if strings.ContainsRune(value, 0) || !utf8.ValidString(value) {
		return "", errors.New("holds a zero byte, or is not UTF-8")
	}
	switch t.kind {
	case code:
		// Bare, it must be one word.
		if value != "" && !strings.ContainsFunc(value, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
			return value, nil
		}
		return "", errors.New("needs quotes around it")
	case comment:
		if strings.ContainsAny(value, "*/\r\n\u0085\u2028\u2029") {
			return "", errors.New("can't stand in a comment")
		}
		return value, nil
	case text:
		// A longer text may be SQL itself, for EXEC. How often the value has to be quoted there can't be told.
		if strings.Trim(t.text, "Nn'") != p && strings.ContainsAny(value, "'\"[];\r\n") {
			return "", errors.New("can't stand in a longer text, which may be SQL: it holds quotes, brackets or semicolons")
		}
		return strings.ReplaceAll(value, "'", "''"), nil
	}
	if t.text[0] == '[' {
		return strings.ReplaceAll(value, "]", "]]"), nil
	}
	return strings.ReplaceAll(value, `"`, `""`), nil
}

// sameShape reports whether both are the same kinds in the same order, but for empty code.
func sameShape(a, b []token) bool {
	kinds := func(tokens []token) (kinds []kind) {
		for _, t := range tokens {
			if t.kind != code {
				kinds = append(kinds, t.kind)
			}
		}
		return kinds
	}
	x, y := kinds(a), kinds(b)
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if x[i] != y[i] {
			return false
		}
	}
	return true
}

// quoteName quotes an identifier.
func quoteName(name string) string { return "[" + strings.ReplaceAll(name, "]", "]]") + "]" }

// quoteText writes a text.
func quoteText(s string) string { return "N'" + strings.ReplaceAll(s, "'", "''") + "'" }

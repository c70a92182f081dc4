package mysql

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"leasehold/plugins"
)

// The operator's statements are templates. They are cut into tokens before anything is put in, so that a value is quoted as the
// place it stands in asks for and can't change what is a statement and what is text. For values that need no quoting this is
// the plain substitution that the wire contract describes.
//
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

// kind is what a token is to the server's lexer (MySQL's documentation, "Language Structure").
type kind int

const (
	code       kind = iota // everything else: key words, bare identifiers, operators, space
	text                   // '...', and "..." unless ANSI_QUOTES is on
	identifier             // `...`, and "..." with ANSI_QUOTES
	comment
)

type token struct {
	kind kind
	text string // with its delimiters
}

// statement is one statement.
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

var (
	errUnterminated = errors.New("a quote or comment in the statements does not end")
	errConditional  = errors.New("comments that only some servers read, /*! ... */, are not supported in statements")
	errReading      = errors.New("statements must not change sql_mode or the character set: it says how statements are read")
)

// lex cuts SQL into tokens; joined they are the SQL again.
func lex(sql string, m mode) ([]token, error) {
	var tokens []token
	start := 0 // of the code that no token holds yet
	for i := 0; i < len(sql); {
		end, k := i+1, code
		switch rest := sql[i:]; {
		case rest[0] == '\'':
			k, end = text, closing(sql, i, !m.noBackslashEscapes)
		case rest[0] == '"' && m.ansiQuotes:
			k, end = identifier, closing(sql, i, false)
		case rest[0] == '"':
			k, end = text, closing(sql, i, !m.noBackslashEscapes)
		case rest[0] == '`':
			k, end = identifier, closing(sql, i, false)
		case rest[0] == '#', startsDashes(rest):
			k, end = comment, len(sql)
			if n := strings.IndexByte(rest, '\n'); n >= 0 {
				end = i + n
			}
		case strings.HasPrefix(rest, "/*!"), strings.HasPrefix(rest, "/*M!"):
			return nil, errConditional
		case strings.HasPrefix(rest, "/*"):
			k, end = comment, -1
			if n := strings.Index(rest[2:], "*/"); n >= 0 {
				end = i + 2 + n + 2
			}
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

// startsDashes reports whether a comment begins: two dashes and a blank or control character, or the end. 5--3 is 8.
func startsDashes(rest string) bool {
	return strings.HasPrefix(rest, "--") && (len(rest) == 2 || rest[2] <= ' ' || rest[2] == 0x7f)
}

// closing is where the text that is quoted by sql[from] ends, -1 if it does not. A doubled quote is text.
func closing(sql string, from int, backslash bool) int {
	quote := sql[from]
	for i := from + 1; i < len(sql); i++ {
		switch {
		case backslash && sql[i] == '\\':
			i++
		case sql[i] == quote && i+1 < len(sql) && sql[i+1] == quote:
			i++
		case sql[i] == quote:
			return i + 1
		}
	}
	return -1
}

// changesReading finds what would have the server read later statements differently.
var changesReading = regexp.MustCompile(`(?i)\bsql_mode\b|\bcharacter_set_|\bset\s+(?:names|charset|character\s+set|char\s+set)\b`)

// parse reads statements as an operator writes them, cut at the semicolons outside quotes and comments.
func parse(items []string, m mode) ([]statement, error) {
	var statements []statement
	for _, item := range items {
		for _, sql := range plugins.Statements(item) {
			tokens, err := lex(sql, m)
			if err != nil {
				return nil, err
			}
			statements = append(statements, split(tokens)...)
		}
	}
	for _, s := range statements {
		for _, t := range s {
			if (t.kind == code || t.kind == identifier) && changesReading.MatchString(t.text) {
				return nil, errReading
			}
		}
	}
	return statements, nil
}

func split(tokens []token) []statement {
	var (
		statements []statement
		current    statement
	)
	for _, t := range tokens {
		if t.kind != code {
			current = append(current, t)
			continue
		}
		from := 0
		for i := range len(t.text) {
			if t.text[i] == ';' {
				statements = appendStatement(statements, append(current, token{code, t.text[from:i]}))
				current, from = nil, i+1
			}
		}
		current = append(current, token{code, t.text[from:]})
	}
	return appendStatement(statements, current)
}

// appendStatement leaves out what holds no code: the server calls an empty statement an error.
func appendStatement(statements []statement, s statement) []statement {
	for _, t := range s {
		if t.kind != comment && strings.TrimSpace(t.text) != "" {
			return append(statements, s)
		}
	}
	return statements
}

// values are what placeholders stand for, by their names without the braces.
type values map[string]string

var placeholder = regexp.MustCompile(`\{\{(name|username|password|hash|expiration)\}\}`)

// fill puts the values into one statement.
func (v values) fill(s statement, m mode) (string, error) {
	var b strings.Builder
	for _, t := range s {
		filled, err := v.fillToken(t, m)
		if err != nil {
			return "", err
		}
		b.WriteString(filled)
	}
	// A bare value beside other code could still have become the beginning of a quote or comment.
	after, err := lex(b.String(), m)
	if err != nil || !sameShape(s, after) {
		return "", errors.New("a value would change the meaning of the statements")
	}
	return strings.TrimSpace(b.String()), nil
}

func (v values) fillToken(t token, m mode) (string, error) {
	var refused error
	filled := placeholder.ReplaceAllStringFunc(t.text, func(p string) string {
		value, ok := v[p[2:len(p)-2]]
		if !ok {
			refused = fmt.Errorf("there is no value for %s here", p)
			return p
		}
		quoted, err := quote(t, value, m)
		if err != nil {
			refused = fmt.Errorf("the value of %s %w", p, err)
		}
		return quoted
	})
	return filled, refused
}

// quote is the value as it has to be written inside the token.
func quote(t token, value string, m mode) (string, error) {
	switch {
	case strings.ContainsRune(value, 0) || !utf8.ValidString(value):
		return "", errors.New("holds a zero byte, or is not UTF-8")
	case t.kind == code:
		// Bare, it must be one word.
		if value != "" && !strings.ContainsFunc(value, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
			return value, nil
		}
		return "", errors.New("needs quotes around it")
	case t.kind == comment:
		if strings.ContainsAny(value, "*/!\r\n") {
			return "", errors.New("can't stand in a comment")
		}
		return value, nil
	case t.kind == text && !m.noBackslashEscapes:
		value = strings.ReplaceAll(value, `\`, `\\`)
	}
	mark := t.text[:1]
	return strings.ReplaceAll(value, mark, mark+mark), nil
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

package postgres

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"leasehold/plugins"
	"leasehold/plugins/sqltext"
)

// What a token is to PostgreSQL's lexer (its documentation, "Lexical Structure"). Prefixes such as E belong to the code before.
const (
	quoted     = sqltext.Code + 1 + iota // '...', also with the prefixes B, N and X
	escaped                              // E'...', where a backslash escapes
	identifier                           // "..."
	unicoded                             // U&'...' and U&"...", where a backslash escapes but not the closing quote
	dollar                               // $tag$...$tag$
	comment
)

var (
	dollarTag = regexp.MustCompile(`^\$(?:[A-Za-z_\x{80}-\x{10ffff}][A-Za-z0-9_\x{80}-\x{10ffff}]*)?\$`)
	endWord   = regexp.MustCompile(`(?i)\bend\b`)
)

var lexer sqltext.Lexer = func(sql string, code, i int) (sqltext.Kind, int, error) {
	switch rest, before := sql[i:], sql[code:i]; {
	case rest[0] == '\'' && hasPrefix(before, "e"):
		return escaped, sqltext.Closing(sql, i+1, '\'', true), nil
	case (rest[0] == '\'' || rest[0] == '"') && hasPrefix(before, "u&"):
		return unicoded, sqltext.Closing(sql, i+1, rest[0], false), nil
	case rest[0] == '\'':
		return quoted, sqltext.Closing(sql, i+1, '\'', false), nil
	case rest[0] == '"':
		return identifier, sqltext.Closing(sql, i+1, '"', false), nil
	case rest[0] == '$' && !endsWord(before):
		tag := dollarTag.FindString(rest)
		if tag == "" {
			break
		}
		if n := strings.Index(rest[len(tag):], tag); n >= 0 {
			return dollar, i + len(tag) + n + len(tag), nil
		}
		return dollar, -1, nil
	case strings.HasPrefix(rest, "--"):
		return comment, sqltext.ClosingLine(sql, i, "\r\n"), nil
	case strings.HasPrefix(rest, "/*"):
		return comment, sqltext.ClosingComment(sql, i), nil
	}
	return sqltext.Code, 0, nil
}

// hasPrefix reports whether the code before a quote ends in a prefix of that quote.
func hasPrefix(before, prefix string) bool {
	n := len(before) - len(prefix)
	return n >= 0 && strings.EqualFold(before[n:], prefix) && !endsWord(before[:n])
}

// endsWord reports whether the code ends inside an identifier or number.
func endsWord(before string) bool {
	if before == "" {
		return false
	}
	c := before[len(before)-1]
	return c >= utf8.RuneSelf || c == '_' || c == '$' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// parse reads statements as an operator writes them: each item is SQL separated by semicolons, a JSON array as text, or
// the base64 of either. An item with the word END outside quotes stays whole: its semicolons may belong to a body.
func parse(items []string) ([]sqltext.Statement, error) {
	var statements []sqltext.Statement
	for _, item := range items {
		for _, sql := range plugins.Statements(item) {
			tokens, err := lexer.Cut(sql)
			if err != nil {
				return nil, err
			}
			statements = append(statements, split(tokens)...)
		}
	}
	return statements, nil
}

func split(tokens []sqltext.Token) []sqltext.Statement {
	for _, t := range tokens {
		if t.Kind == sqltext.Code && endWord.MatchString(t.Text) {
			return appendStatement(nil, tokens)
		}
	}
	var (
		statements []sqltext.Statement
		current    sqltext.Statement
		depth      int // CREATE RULE has semicolons between parentheses
	)
	for _, t := range tokens {
		if t.Kind != sqltext.Code {
			current = append(current, t)
			continue
		}
		from := 0
		for i := range len(t.Text) {
			switch t.Text[i] {
			case '(':
				depth++
			case ')':
				depth--
			case ';':
				if depth > 0 {
					continue
				}
				statements = appendStatement(statements, append(current, sqltext.Token{Kind: sqltext.Code, Text: t.Text[from:i]}))
				current, from, depth = nil, i+1, 0
			}
		}
		current = append(current, sqltext.Token{Kind: sqltext.Code, Text: t.Text[from:]})
	}
	return appendStatement(statements, current)
}

// appendStatement leaves out what is empty.
func appendStatement(statements []sqltext.Statement, s sqltext.Statement) []sqltext.Statement {
	if s.String() == "" {
		return statements
	}
	return append(statements, s)
}

var placeholder = regexp.MustCompile(`\{\{(name|username|password|verifier|expiration)\}\}`)

// fillAll puts the values into statements.
func fillAll(v sqltext.Values, statements []sqltext.Statement) ([]string, error) {
	var filled []string
	for _, s := range statements {
		sql, err := fillStatement(v, s)
		if err != nil {
			return nil, err
		}
		filled = append(filled, sql)
	}
	return filled, nil
}

// fillStatement puts the values into one statement.
func fillStatement(v sqltext.Values, s sqltext.Statement) (string, error) {
	filled, err := fillTokens(v, s, false)
	return strings.TrimSpace(filled), err
}

// nested says that the tokens are the text of a DO block or function.
func fillTokens(v sqltext.Values, tokens []sqltext.Token, nested bool) (string, error) {
	return lexer.Fill(tokens, func(t sqltext.Token) (string, error) {
		if t.Kind == dollar && placeholder.MatchString(t.Text) {
			return fillBody(v, t.Text)
		}
		return v.Replace(t.Text, placeholder, func(_, value string) (string, error) { return quote(t, value, nested) })
	})
}

func fillBody(v sqltext.Values, text string) (string, error) {
	tag := dollarTag.FindString(text)
	tokens, err := lexer.Cut(text[len(tag) : len(text)-len(tag)])
	if err != nil {
		return "", fmt.Errorf("a dollar-quoted text with placeholders must be SQL: %w", err)
	}
	body, err := fillTokens(v, tokens, true)
	return tag + body + tag, err
}

// quote is the value as it has to be written inside the token.
func quote(t sqltext.Token, value string, nested bool) (string, error) {
	const marks, commentMarks = "'\"\\;", "*/\r\n"
	mark := t.Text[:1]
	double := func(s string) string { return strings.ReplaceAll(value, s, s+s) }
	switch {
	case strings.ContainsRune(value, 0):
		return "", errors.New("holds a zero byte")
	case t.Kind == sqltext.Code:
		return sqltext.Bare(value)
	case t.Kind == comment && strings.ContainsAny(value, commentMarks):
		return "", errors.New("can't be quoted safely where it stands")
	case t.Kind == comment, nested && t.Kind != identifier:
		// Text in the body of a function may become SQL a second time.
		if strings.ContainsAny(value, marks) {
			return "", errors.New("can't be quoted safely where it stands")
		}
		return value, nil
	case t.Kind == unicoded && strings.Contains(value, `\`):
		return "", errors.New("can't be quoted safely where it stands")
	case t.Kind == escaped:
		return strings.ReplaceAll(double(`\`), `'`, `''`), nil
	default:
		return double(mark), nil
	}
}

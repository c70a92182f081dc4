package postgres

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"leasehold/plugins"
)

// The operator's statements are templates. They are cut into tokens before anything is put in, so that a value is quoted
// as the place it stands in asks for and can't change what is a statement and what is text. For values that need no
// quoting this is the plain substitution that the wire contract describes.

// kind is what a token is to PostgreSQL's lexer (its documentation, "Lexical Structure").
type kind int

const (
	code       kind = iota // everything else: key words, bare identifiers, operators, space
	quoted                 // '...', also with the prefixes B, N and X
	escaped                // E'...', where a backslash escapes
	identifier             // "..."
	unicoded               // U&'...' and U&"...", where a backslash escapes but not the closing quote
	dollar                 // $tag$...$tag$
	comment
)

type token struct {
	kind kind
	text string // with its delimiters; prefixes such as E belong to the code before
}

// statement is one statement, or several that have to stay together.
type statement []token

func (s statement) String() string {
	var b strings.Builder
	for _, t := range s {
		b.WriteString(t.text)
	}
	return strings.TrimSpace(b.String())
}

var (
	errUnterminated = errors.New("a quote or comment in the statements does not end")

	dollarTag = regexp.MustCompile(`^\$(?:[A-Za-z_\x{80}-\x{10ffff}][A-Za-z0-9_\x{80}-\x{10ffff}]*)?\$`)
	endWord   = regexp.MustCompile(`(?i)\bend\b`)
)

// lex cuts SQL into tokens; joined they are the SQL again.
func lex(sql string) ([]token, error) {
	var tokens []token
	start := 0 // of the code that no token holds yet
	emit := func(k kind, from, to int) {
		if from > start {
			tokens = append(tokens, token{code, sql[start:from]})
		}
		if to > from {
			tokens = append(tokens, token{k, sql[from:to]})
		}
		start = to
	}
	for i := 0; i < len(sql); {
		end, k := i+1, code
		switch rest := sql[i:]; {
		case rest[0] == '\'':
			k, end = quoted, closing(sql, i, false)
			switch prefix := sql[start:i]; {
			case hasPrefix(prefix, "e"):
				k, end = escaped, closing(sql, i, true)
			case hasPrefix(prefix, "u&"):
				k = unicoded
			}
		case rest[0] == '"':
			k, end = identifier, closing(sql, i, false)
			if hasPrefix(sql[start:i], "u&") {
				k = unicoded
			}
		case rest[0] == '$' && !endsWord(sql[start:i]):
			if tag := dollarTag.FindString(rest); tag != "" {
				k, end = dollar, -1
				if n := strings.Index(rest[len(tag):], tag); n >= 0 {
					end = i + len(tag) + n + len(tag)
				}
			}
		case strings.HasPrefix(rest, "--"):
			k, end = comment, len(sql)
			if n := strings.IndexAny(rest, "\r\n"); n >= 0 {
				end = i + n
			}
		case strings.HasPrefix(rest, "/*"):
			k, end = comment, commentEnd(sql, i)
		}
		if end < 0 {
			return nil, errUnterminated
		}
		if k != code {
			emit(k, i, end)
		}
		i = end
	}
	emit(code, len(sql), len(sql))
	return tokens, nil
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

// commentEnd is where the comment at from ends, -1 if it does not. These comments nest.
func commentEnd(sql string, from int) int {
	depth := 0
	for i := from; i+1 < len(sql); i++ {
		switch sql[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// parse reads statements as an operator writes them: each item is SQL separated by semicolons, a JSON array as text, or
// the base64 of either. An item with the word END outside quotes stays whole: its semicolons may belong to a body.
func parse(items []string) ([]statement, error) {
	var statements []statement
	for _, item := range items {
		for _, sql := range plugins.Statements(item) {
			tokens, err := lex(sql)
			if err != nil {
				return nil, err
			}
			statements = append(statements, split(tokens)...)
		}
	}
	return statements, nil
}

func split(tokens []token) []statement {
	for _, t := range tokens {
		if t.kind == code && endWord.MatchString(t.text) {
			return appendStatement(nil, tokens)
		}
	}
	var (
		statements []statement
		current    statement
		depth      int // CREATE RULE has semicolons between parentheses
	)
	for _, t := range tokens {
		if t.kind != code {
			current = append(current, t)
			continue
		}
		from := 0
		for i := range len(t.text) {
			switch t.text[i] {
			case '(':
				depth++
			case ')':
				depth--
			case ';':
				if depth > 0 {
					continue
				}
				statements = appendStatement(statements, append(current, token{code, t.text[from:i]}))
				current, from, depth = nil, i+1, 0
			}
		}
		current = append(current, token{code, t.text[from:]})
	}
	return appendStatement(statements, current)
}

// appendStatement leaves out what is empty.
func appendStatement(statements []statement, s statement) []statement {
	if s.String() == "" {
		return statements
	}
	return append(statements, s)
}

// values are what placeholders stand for, by their names without the braces.
type values map[string]string

var placeholder = regexp.MustCompile(`\{\{(name|username|password|verifier|expiration)\}\}`)

// fillAll puts the values into statements.
func (v values) fillAll(statements []statement) ([]string, error) {
	var filled []string
	for _, s := range statements {
		sql, err := v.fill(s)
		if err != nil {
			return nil, err
		}
		filled = append(filled, sql)
	}
	return filled, nil
}

// fill puts the values into one statement.
func (v values) fill(s statement) (string, error) {
	filled, err := v.fillTokens(s, false)
	return strings.TrimSpace(filled), err
}

// nested says that the tokens are the text of a DO block or function.
func (v values) fillTokens(tokens []token, nested bool) (string, error) {
	var b strings.Builder
	for _, t := range tokens {
		if !placeholder.MatchString(t.text) {
			b.WriteString(t.text)
			continue
		}
		var text string
		var err error
		if t.kind == dollar {
			text, err = v.fillBody(t.text)
		} else {
			text, err = v.fillToken(t, nested)
		}
		if err != nil {
			return "", err
		}
		b.WriteString(text)
	}
	// A value beside a quote could still have become its prefix, or have ended a body.
	after, err := lex(b.String())
	if err != nil || !sameShape(tokens, after) {
		return "", errors.New("a value would change the meaning of the statements")
	}
	return b.String(), nil
}

func (v values) fillBody(text string) (string, error) {
	tag := dollarTag.FindString(text)
	tokens, err := lex(text[len(tag) : len(text)-len(tag)])
	if err != nil {
		return "", fmt.Errorf("a dollar-quoted text with placeholders must be SQL: %w", err)
	}
	body, err := v.fillTokens(tokens, true)
	return tag + body + tag, err
}

func (v values) fillToken(t token, nested bool) (string, error) {
	var refused error
	text := placeholder.ReplaceAllStringFunc(t.text, func(p string) string {
		name := p[2 : len(p)-2]
		value, ok := v[name]
		if !ok {
			refused = fmt.Errorf("there is no value for %s here", p)
			return p
		}
		q, err := quote(t, value, nested)
		if err != nil {
			refused = fmt.Errorf("the value of %s %w", p, err)
		}
		return q
	})
	return text, refused
}

// quote is the value as it has to be written inside the token.
func quote(t token, value string, nested bool) (string, error) {
	const marks, commentMarks = "'\"\\;", "*/\r\n"
	mark := t.text[:1]
	double := func(s string) string { return strings.ReplaceAll(value, s, s+s) }
	switch {
	case strings.ContainsRune(value, 0):
		return "", errors.New("holds a zero byte")
	case t.kind == code:
		// Bare, it must be one word.
		if value != "" && !strings.ContainsFunc(value, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
			return value, nil
		}
		return "", errors.New("needs quotes around it")
	case t.kind == comment && strings.ContainsAny(value, commentMarks):
		return "", errors.New("can't be quoted safely where it stands")
	case t.kind == comment, nested && t.kind != identifier:
		// Text in the body of a function may become SQL a second time.
		if strings.ContainsAny(value, marks) {
			return "", errors.New("can't be quoted safely where it stands")
		}
		return value, nil
	case t.kind == unicoded && strings.Contains(value, `\`):
		return "", errors.New("can't be quoted safely where it stands")
	case t.kind == escaped:
		return strings.ReplaceAll(double(`\`), `'`, `''`), nil
	default:
		return double(mark), nil
	}
}

// sameShape reports whether both are the same kinds in the same order.
func sameShape(a, b []token) bool {
	// Empty code between two tokens is none at all, so only the others are compared.
	next := func(tokens []token) (kind, []token) {
		for i, t := range tokens {
			if t.kind != code {
				return t.kind, tokens[i+1:]
			}
		}
		return code, nil
	}
	for {
		var x, y kind
		x, a = next(a)
		y, b = next(b)
		if x != y {
			return false
		}
		if x == code {
			return true
		}
	}
}

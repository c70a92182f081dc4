// Package sqltext puts values into the statements that operators write, for databases that speak SQL.
//
// The statements are templates. They are cut into tokens before anything is put in, so that a value is quoted as the place it
// stands in asks for and can't change what is a statement and what is text. For values that need no quoting this is the
// plain substitution that the wire contract describes. What a token is, and how a value is quoted in it, each database says
// for itself.
package sqltext

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// Kind is what a token is to a server's lexer. Beside Code each database has its own.
type Kind int

// Code is everything that is no other token: key words, bare identifiers, operators, space.
const Code Kind = 0

// Token is a piece of SQL, with its delimiters.
type Token struct {
	Kind Kind
	Text string
}

// Statement is what is sent at once.
type Statement []Token

func (s Statement) String() string {
	var b strings.Builder
	for _, t := range s {
		b.WriteString(t.Text)
	}
	return strings.TrimSpace(b.String())
}

// Words is the statement without what stands in quotes and comments.
func (s Statement) Words() string {
	var b strings.Builder
	for _, t := range s {
		if t.Kind == Code {
			b.WriteString(t.Text)
		} else {
			b.WriteString(" ' ")
		}
	}
	return strings.TrimSpace(b.String())
}

// ErrUnterminated says that a token has no end.
var ErrUnterminated = errors.New("a quote or comment in the statements does not end")

// Lexer tells what begins at sql[i]: a token of some kind that ends before sql[end], where -1 says that it does not end; or Code. code is
// where the code before it began.
type Lexer func(sql string, code, i int) (k Kind, end int, err error)

// Cut cuts SQL into tokens; joined they are the SQL again.
//
// Errors: ErrUnterminated, and those of the lexer.
func (begins Lexer) Cut(sql string) ([]Token, error) {
	var tokens []Token
	start := 0 // of the code that no token holds yet
	for i := 0; i < len(sql); {
		k, end, err := begins(sql, start, i)
		switch {
		case err != nil:
			return nil, err
		case k == Code:
			i++
			continue
		case end < 0:
			return nil, ErrUnterminated
		case i > start:
			tokens = append(tokens, Token{Code, sql[start:i]})
		}
		tokens = append(tokens, Token{k, sql[i:end]})
		start, i = end, end
	}
	if len(sql) > start {
		tokens = append(tokens, Token{Code, sql[start:]})
	}
	return tokens, nil
}

// Closing is where a text ends that goes on at sql[from] and is closed by mark, -1 if it does not end. A doubled mark is text, and so is
// what follows a backslash, where that escapes.
func Closing(sql string, from int, mark byte, backslash bool) int {
	for i := from; i < len(sql); i++ {
		switch {
		case backslash && sql[i] == '\\':
			i++
		case sql[i] == mark && i+1 < len(sql) && sql[i+1] == mark:
			i++
		case sql[i] == mark:
			return i + 1
		}
	}
	return -1
}

// ClosingComment is where the comment at sql[from] ends, -1 if it does not. Comments nest.
func ClosingComment(sql string, from int) int {
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

// ClosingLine is where the line at sql[from] ends, by any of the given characters or with the text.
func ClosingLine(sql string, from int, ends string) int {
	if n := strings.IndexAny(sql[from:], ends); n >= 0 {
		return from + n
	}
	return len(sql)
}

// Values are what placeholders stand for, by their names without the braces.
type Values map[string]string

// Replace puts values in the places that the pattern finds, each quoted. The pattern finds {{NAME}}; quote is told the place and the value.
//
// Errors: there is no such value; it cannot be quoted there.
func (v Values) Replace(text string, places *regexp.Regexp, quote func(place, value string) (string, error)) (string, error) {
	var refused error
	filled := places.ReplaceAllStringFunc(text, func(place string) string {
		value, ok := v[place[2:len(place)-2]]
		if !ok {
			refused = fmt.Errorf("there is no value for %s here", place)
			return place
		}
		quoted, err := quote(place, value)
		if err != nil {
			refused = fmt.Errorf("the value of %s %w", place, err)
		}
		return quoted
	})
	return filled, refused
}

// Fill has each token filled and joins them. It refuses what the lexer would then read otherwise: a bare value beside other code could
// have become the beginning of a quote or comment, or have ended one.
func (begins Lexer) Fill(tokens []Token, fill func(Token) (string, error)) (string, error) {
	var b strings.Builder
	for _, t := range tokens {
		filled, err := fill(t)
		if err != nil {
			return "", err
		}
		b.WriteString(filled)
	}
	after, err := begins.Cut(b.String())
	if err != nil || !sameShape(tokens, after) {
		return "", errors.New("a value would change the meaning of the statements")
	}
	return b.String(), nil
}

// Bare is a value that stands in code. It must be one word.
func Bare(value string) (string, error) {
	if value != "" && !strings.ContainsFunc(value, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		return value, nil
	}
	return "", errors.New("needs quotes around it")
}

// sameShape reports whether both are the same kinds in the same order, but for code, which may be empty between two others.
func sameShape(a, b []Token) bool {
	next := func(tokens []Token) (Kind, []Token) {
		for i, t := range tokens {
			if t.Kind != Code {
				return t.Kind, tokens[i+1:]
			}
		}
		return Code, nil
	}
	for {
		var x, y Kind
		x, a = next(a)
		y, b = next(b)
		if x != y {
			return false
		}
		if x == Code {
			return true
		}
	}
}

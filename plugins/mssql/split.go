package mssql

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"leasehold/plugins"
	"leasehold/plugins/sqltext"
)

// An item is cut at lines that say GO, and then at the semicolons outside quotes, comments and BEGIN ... END, so that the first
// statement that fails is the last that is run. It stays whole where cutting it would break it: when it declares variables, which live as long as
// what is sent at once; and from a CREATE PROCEDURE or the like on, whose body goes on to the end.

var (
	goLine  = regexp.MustCompile(`(?im)^[ \t]*go[ \t]*\r?$`)
	goCount = regexp.MustCompile(`(?im)^[ \t]*go[ \t]+\d+[ \t]*\r?$`)

	routine = regexp.MustCompile(`(?i)^\s*(?:create(?:\s+or\s+alter)?|alter)\s+(?:proc|procedure|function|trigger|view)\b`)
)

// parse reads statements as an operator writes them.
func parse(items []string) ([]sqltext.Statement, error) {
	var statements []sqltext.Statement
	for _, item := range items {
		for _, sql := range plugins.Statements(item) {
			tokens, err := lexer.Cut(sql)
			if err != nil {
				return nil, err
			}
			batches, err := splitBatches(tokens)
			if err != nil {
				return nil, err
			}
			for _, batch := range batches {
				statements = append(statements, split(batch)...)
			}
		}
	}
	return statements, nil
}

// splitBatches cuts at GO.
func splitBatches(tokens []sqltext.Token) ([][]sqltext.Token, error) {
	var (
		batches [][]sqltext.Token
		current []sqltext.Token
	)
	for i, t := range tokens {
		if t.Kind != sqltext.Code {
			current = append(current, t)
			continue
		}
		// A line that other tokens are on is not GO alone.
		alone := func(at []int) bool { return (at[0] > 0 || i == 0) && (at[1] < len(t.Text) || i == len(tokens)-1) }
		for _, at := range goCount.FindAllStringIndex(t.Text, -1) {
			if alone(at) {
				return nil, errors.New("GO with a count is not supported in statements")
			}
		}
		from := 0
		for _, at := range goLine.FindAllStringIndex(t.Text, -1) {
			if alone(at) {
				batches = append(batches, append(current, sqltext.Token{Kind: sqltext.Code, Text: t.Text[from:at[0]]}))
				current, from = nil, at[1]
			}
		}
		current = append(current, sqltext.Token{Kind: sqltext.Code, Text: t.Text[from:]})
	}
	return append(batches, current), nil
}

// word is a bare word or a semicolon, and where it is.
type word struct {
	text      string // upper case; empty for what stands in quotes
	token     int
	start, to int // in the token
}

func wordsOf(tokens []sqltext.Token) []word {
	var words []word
	for i, t := range tokens {
		if t.Kind == comment {
			continue
		}
		if t.Kind != sqltext.Code {
			words = append(words, word{token: i})
			continue
		}
		start := -1
		for at, r := range t.Text + " " {
			switch {
			case inWord(r) && start < 0:
				start = at
			case !inWord(r) && start >= 0:
				words = append(words, word{strings.ToUpper(t.Text[start:at]), i, start, at})
				start = -1
			}
			if r == ';' {
				words = append(words, word{";", i, at, at + 1})
			}
		}
	}
	return words
}

// notBlocks follow a BEGIN that begins no block.
var notBlocks = []string{"TRAN", "TRANSACTION", "DISTRIBUTED", "DIALOG", "CONVERSATION"}

// split cuts at semicolons. They stay with the statement before them.
func split(tokens []sqltext.Token) []sqltext.Statement {
	words := wordsOf(tokens)
	if slices.ContainsFunc(words, func(w word) bool { return w.text == "DECLARE" }) {
		return appendStatement(nil, tokens)
	}
	after := func(i int) string {
		if i+1 < len(words) {
			return words[i+1].text
		}
		return ""
	}
	var statements []sqltext.Statement
	rest := cutter{tokens: tokens}
	depth := 0
	for i, w := range words {
		switch w.text {
		case "BEGIN":
			if !slices.Contains(notBlocks, after(i)) {
				depth++
			}
		case "CASE":
			depth++
		case "END":
			if after(i) != "CONVERSATION" {
				depth = max(depth-1, 0)
			}
		case ";":
			if depth > 0 || after(i) == "ELSE" {
				continue
			}
			if s := rest.upTo(w.token, w.to); routine.MatchString(s.Words()) {
				return appendStatement(statements, append(s, rest.upTo(len(tokens), 0)...))
			} else {
				statements = appendStatement(statements, s)
			}
		}
	}
	return appendStatement(statements, rest.upTo(len(tokens), 0))
}

// cutter hands out tokens from the front.
type cutter struct {
	tokens      []sqltext.Token
	token, from int
}

func (c *cutter) upTo(last, to int) sqltext.Statement {
	var s sqltext.Statement
	for ; c.token < last; c.token, c.from = c.token+1, 0 {
		t := c.tokens[c.token]
		s = append(s, sqltext.Token{Kind: t.Kind, Text: t.Text[c.from:]})
	}
	if c.token < len(c.tokens) && to > c.from {
		s = append(s, sqltext.Token{Kind: c.tokens[c.token].Kind, Text: c.tokens[c.token].Text[c.from:to]})
		c.from = to
	}
	return s
}

// appendStatement leaves out what holds no code.
func appendStatement(statements []sqltext.Statement, s sqltext.Statement) []sqltext.Statement {
	for _, t := range s {
		if t.Kind != comment && strings.ContainsFunc(t.Text, func(r rune) bool { return r != ';' && !unicode.IsSpace(r) }) {
			return append(statements, s)
		}
	}
	return statements
}

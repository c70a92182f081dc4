package mssql

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"leasehold/plugins"
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
func parse(items []string) ([]statement, error) {
	var statements []statement
	for _, item := range items {
		for _, sql := range plugins.Statements(item) {
			tokens, err := lex(sql)
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
func splitBatches(tokens []token) ([][]token, error) {
	var (
		batches [][]token
		current []token
	)
	for i, t := range tokens {
		if t.kind != code {
			current = append(current, t)
			continue
		}
		// A line that other tokens are on is not GO alone.
		alone := func(at []int) bool { return (at[0] > 0 || i == 0) && (at[1] < len(t.text) || i == len(tokens)-1) }
		for _, at := range goCount.FindAllStringIndex(t.text, -1) {
			if alone(at) {
				return nil, errors.New("GO with a count is not supported in statements")
			}
		}
		from := 0
		for _, at := range goLine.FindAllStringIndex(t.text, -1) {
			if alone(at) {
				batches = append(batches, append(current, token{code, t.text[from:at[0]]}))
				current, from = nil, at[1]
			}
		}
		current = append(current, token{code, t.text[from:]})
	}
	return append(batches, current), nil
}

// word is a bare word or a semicolon, and where it is.
type word struct {
	text      string // upper case; empty for what stands in quotes
	token     int
	start, to int // in the token
}

func wordsOf(tokens []token) []word {
	var words []word
	for i, t := range tokens {
		if t.kind == comment {
			continue
		}
		if t.kind != code {
			words = append(words, word{token: i})
			continue
		}
		start := -1
		for at, r := range t.text + " " {
			switch {
			case inWord(r) && start < 0:
				start = at
			case !inWord(r) && start >= 0:
				words = append(words, word{strings.ToUpper(t.text[start:at]), i, start, at})
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
func split(tokens []token) []statement {
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
	var statements []statement
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
			if s := rest.upTo(w.token, w.to); routine.MatchString(s.words()) {
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
	tokens      []token
	token, from int
}

func (c *cutter) upTo(last, to int) statement {
	var s statement
	for ; c.token < last; c.token, c.from = c.token+1, 0 {
		t := c.tokens[c.token]
		s = append(s, token{t.kind, t.text[c.from:]})
	}
	if c.token < len(c.tokens) && to > c.from {
		s = append(s, token{c.tokens[c.token].kind, c.tokens[c.token].text[c.from:to]})
		c.from = to
	}
	return s
}

// appendStatement leaves out what holds no code.
func appendStatement(statements []statement, s statement) []statement {
	for _, t := range s {
		if t.kind != comment && strings.ContainsFunc(t.text, func(r rune) bool { return r != ';' && !unicode.IsSpace(r) }) {
			return append(statements, s)
		}
	}
	return statements
}

package tdstest

import (
	"fmt"
	"strings"
	"unicode"
)

// tokenKind is what a token is.
type tokenKind int

const (
	end       tokenKind = iota
	word                // a key word, a bare identifier, a variable
	quoted              // [...] or "..."
	text                // '...' or N'...'
	number              // 12
	hexNumber           // 0x12
	symbol              // anything else
)

type token struct {
	kind tokenKind
	text string // without quotes
}

// lex cuts a batch into tokens, comments left out.
func lex(sql string) ([]token, error) {
	var tokens []token
	runes := []rune(sql)
	at := func(i int) rune {
		if i < len(runes) {
			return runes[i]
		}
		return 0
	}
	isWord := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_@#$", r) && r != 0
	}
	take := func(from int, mark rune) (string, int, bool) {
		var b strings.Builder
		for i := from; i < len(runes); i++ {
			if runes[i] == mark && at(i+1) == mark {
				i++
			} else if runes[i] == mark {
				return b.String(), i + 1, true
			}
			b.WriteRune(runes[i])
		}
		return b.String(), len(runes), false
	}
	for i := 0; i < len(runes); {
		r := runes[i]
		var one token
		ok := true
		switch {
		case unicode.IsSpace(r):
			i++
			continue
		case r == '-' && at(i+1) == '-':
			for i < len(runes) && runes[i] != '\n' {
				i++
			}
			continue
		case r == '/' && at(i+1) == '*':
			depth := 0
			for ; i < len(runes); i++ {
				if runes[i] == '/' && at(i+1) == '*' {
					depth++
					i++
				} else if runes[i] == '*' && at(i+1) == '/' {
					depth--
					i++
					if depth == 0 {
						break
					}
				}
			}
			if depth > 0 {
				return nil, sqlError(113, "Missing end comment mark '*/'.")
			}
			i++
			continue
		case r == '\'':
			one.kind = text
			one.text, i, ok = take(i+1, '\'')
		case (r == 'N' || r == 'n') && at(i+1) == '\'':
			one.kind = text
			one.text, i, ok = take(i+2, '\'')
		case r == '[':
			one.kind = quoted
			one.text, i, ok = take(i+1, ']')
		case r == '"':
			one.kind = quoted
			one.text, i, ok = take(i+1, '"')
		case isWord(r):
			from := i
			for i < len(runes) && isWord(runes[i]) {
				i++
			}
			one = token{word, string(runes[from:i])}
			if unicode.IsDigit(r) {
				one.kind = number
				if digits, isHex := strings.CutPrefix(strings.ToLower(one.text), "0x"); isHex {
					one = token{hexNumber, digits}
				}
			}
		default:
			one = token{symbol, string(r)}
			for _, two := range []string{"::", "<>", "!=", "<=", ">="} {
				if string([]rune{r, at(i + 1)}) == two {
					one.text = two
				}
			}
			i += len([]rune(one.text))
		}
		if !ok {
			return nil, sqlError(105, "Unclosed quotation mark after the character string '%s'.", one.text)
		}
		if one.kind == quoted && len([]rune(one.text)) > 128 {
			return nil, sqlError(103, "The identifier that starts with '%.20s' is too long. Maximum length is 128.", one.text)
		}
		tokens = append(tokens, one)
	}
	return tokens, nil
}

// serverError is an error as the server tells it.
type serverError struct {
	number   int32
	class    uint8
	text     string
	endBatch bool // nothing of the batch is run after it
	told     bool // the client has it already
}

func (e *serverError) Error() string { return fmt.Sprintf("%s (%d)", e.text, e.number) }

// sqlError is an error of severity 16, after which the batch goes on with its next statement.
func sqlError(number int32, format string, args ...any) *serverError {
	return &serverError{number: number, class: 16, text: fmt.Sprintf(format, args...)}
}

// abort is an error that ends the batch.
func abort(number int32, format string, args ...any) *serverError {
	e := sqlError(number, format, args...)
	e.endBatch = true
	return e
}

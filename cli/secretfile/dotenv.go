package secretfile

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/joho/godotenv"
)

// dotenvKey is a name that every reader of such files takes.
var dotenvKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// Where the parser would change a value without a word, it is given the text a second time, with these stand-ins for the
// characters that it acts upon. What then comes out differently is refused.
const (
	dollar = "\uE000"
	quote  = "\uE001"
)

func decodeDotenv(text []byte) (map[string]any, error) {
	values, err := godotenv.UnmarshalBytes(text)
	if err != nil {
		return nil, dotenvError(text)
	}
	if len(values) == 0 {
		return nil, errors.New("there are no keys in it")
	}
	plain, err := godotenv.Unmarshal(strings.NewReplacer("$", dollar, `\"`, quote).Replace(string(text)))
	data := map[string]any{}
	for _, key := range sorted(values) {
		value := values[key]
		switch other := strings.ReplaceAll(plain[key], dollar, "$"); {
		case !dotenvKey.MatchString(key):
			return nil, fmt.Errorf("%q is not a name for a variable", key)
		case err != nil, value != strings.ReplaceAll(other, quote, `"`) && value != strings.ReplaceAll(other, quote, `\"`):
			return nil, fmt.Errorf(`the value of key %q is ambiguous, as it holds $ or \": put it in single quotes, `+
				`or have it refer to no variable and not end with \"`, key)
		case unquotedComment(text, value):
			return nil, fmt.Errorf("the value of key %q is ambiguous, as it holds a # after a blank: put it in quotes", key)
		}
		data[key] = value
	}
	return data, nil
}

var commentStart = regexp.MustCompile(`[ \t\v\f]#`)

// unquotedComment reports whether value was read from a line without quotes and holds what looks like a comment: of
// several ones the parser takes away the last alone.
func unquotedComment(text []byte, value string) bool {
	at := commentStart.FindStringIndex(value)
	return at != nil && regexp.MustCompile(`[=:][ \t\v\f]*`+regexp.QuoteMeta(value[:at[1]])).Match(text)
}

// dotenvError says in which line text stops being dotenv. The parser's own words quote the text.
func dotenvError(text []byte) error {
	const maxLines = 1000
	lines := bytes.SplitAfter(text, []byte("\n"))
	for n := min(len(lines)-1, maxLines); n >= 0; n-- {
		if _, err := godotenv.UnmarshalBytes(bytes.Join(lines[:n], nil)); err == nil {
			return fmt.Errorf("not dotenv, in line %d", n+1)
		}
	}
	return errors.New("not dotenv")
}

// encodeDotenv writes each value in the simplest way that reads back as it is.
func encodeDotenv(data map[string]any) ([]byte, error) {
	var buf bytes.Buffer
	for _, key := range sorted(data) {
		value, err := textOf(Dotenv, data, key)
		if err != nil {
			return nil, err
		}
		if !dotenvKey.MatchString(key) {
			return nil, fmt.Errorf("%q is not a name for a variable: use json or yaml", key)
		}
		line, ok := dotenvLine(key, value)
		if !ok {
			return nil, cannotHold(Dotenv, key)
		}
		buf.WriteString(line)
	}
	return buf.Bytes(), nil
}

var (
	dotenvPlain  = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]*$`)
	dotenvEscape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, `"`, `\"`, `$`, `\$`, "`", "\\`", "!", `\!`)
)

func dotenvLine(key, value string) (line string, ok bool) {
	forms := []string{"'" + value + "'", `"` + dotenvEscape.Replace(value) + `"`}
	if dotenvPlain.MatchString(value) {
		forms = []string{value}
	}
	for _, form := range forms {
		line := key + "=" + form + "\n"
		if back, err := decodeDotenv([]byte(line)); err == nil && len(back) == 1 && back[key] == value {
			return line, true
		}
	}
	return "", false
}

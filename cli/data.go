package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
)

// parseData reads the data arguments of a command into an object.
//
//	key=value   a string, never converted     key=@file   the file's content, as it is
//	key=\@text  the text @text                key=-       the content of stdin
//	-           a JSON object from stdin      @file       a JSON object from a file
//
// A key given more than once becomes a list. Errors name the argument by its number: its text may be a secret.
func (e *env) parseData(args []string) (map[string]any, error) {
	data := map[string]any{}
	for i, arg := range args {
		switch key, value, pair := strings.Cut(arg, "="); {
		case arg == "-":
			text, err := e.takeStdin()
			if err != nil {
				return nil, err
			}
			if err := mergeObject(data, text, "stdin"); err != nil {
				return nil, err
			}
		case strings.HasPrefix(arg, "@"):
			text, err := os.ReadFile(arg[1:])
			if err != nil {
				return nil, mistake("Failed to read data: %s", err)
			}
			if err := mergeObject(data, text, arg[1:]); err != nil {
				return nil, err
			}
		case !pair || key == "":
			return nil, mistake("Failed to parse data: argument %d is not of the form key=value", i+1).
				hint("key=@file and key=- read the value from a file or stdin")
		default:
			text, err := e.dataValue(key, value)
			if err != nil {
				return nil, err
			}
			add(data, key, text)
		}
	}
	return data, nil
}

// dataValue resolves the right side of key=value.
func (e *env) dataValue(key, value string) (string, error) {
	switch {
	case value == "-":
		text, err := e.takeStdin()
		return string(text), err
	case strings.HasPrefix(value, "@"):
		text, err := os.ReadFile(value[1:])
		if err != nil {
			return "", mistake("Failed to read data: %s", err).hint(`%s=\@... stands for a text that begins with @`, key)
		}
		return string(text), nil
	case strings.HasPrefix(value, `\@`):
		return value[1:], nil
	}
	return value, nil
}

func add(data map[string]any, key, value string) {
	switch had := data[key].(type) {
	case nil:
		data[key] = value
	case []any:
		data[key] = append(had, value)
	default:
		data[key] = []any{had, value}
	}
}

// mergeObject adds the keys of a JSON object to data. Numbers keep their text.
func mergeObject(data map[string]any, text []byte, source string) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var object map[string]any
	err := dec.Decode(&object)
	if err == nil && dec.Decode(&struct{}{}) != io.EOF {
		err = errors.New("text after the object")
	}
	var typed *json.UnmarshalTypeError
	if errors.As(err, &typed) {
		err = errors.New("not an object") // the error's own text quotes the value
	}
	if err != nil {
		return mistake("Failed to parse data: %s: want a JSON object: %s", source, err)
	}
	for key, value := range object {
		data[key] = value
	}
	return nil
}

// takeStdin reads all of stdin, once.
func (e *env) takeStdin() ([]byte, error) {
	if e.stdinTaken {
		return nil, mistake("stdin can be read for one value only")
	}
	e.stdinTaken = true
	text, err := io.ReadAll(e.stdin)
	if err != nil {
		return nil, mistake("read stdin: %s", err)
	}
	return text, nil
}

// cleanPath brings a path argument into the form that follows /v1/.
func cleanPath(path string) string {
	path = strings.TrimSpace(path)
	path = strings.TrimPrefix(path, "/v1/")
	return strings.Trim(path, "/")
}

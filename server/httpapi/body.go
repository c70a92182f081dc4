package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"leasehold/internal/errs"
)

// limits bound what a body may hold. Negative: no limit.
type limits struct {
	bytes   int64
	memory  int64 // estimated size of the decoded value
	strings int64 // keys and texts
}

// maxJSONDepth bounds how deep a body may nest.
const maxJSONDepth = 300

// valueCost is the estimated memory of a decoded value beside its text: an interface, and its share of a map or list.
const valueCost = 48

// readBody reads the whole body.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.Body == nil || r.ContentLength == 0 {
		return nil, nil
	}
	if limit >= 0 {
		if r.ContentLength > limit {
			return nil, errs.New(errs.TooLarge, "http: request body too large")
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
	}
	var buffer bytes.Buffer
	if r.ContentLength > 0 {
		// A client may promise more than it sends: what is set aside before it arrives stays small.
		buffer.Grow(int(min(r.ContentLength, 64<<10)) + bytes.MinRead)
	}
	_, err := buffer.ReadFrom(r.Body)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, errs.New(errs.TooLarge, "http: request body too large")
	}
	if err != nil {
		return nil, errs.New(errs.Invalid, "the request body could not be read").Because(err)
	}
	return buffer.Bytes(), nil
}

// decodeBody reads the fields of a write: a JSON object whatever the content type says, or a form.
func decodeBody(w http.ResponseWriter, r *http.Request, l limits) (map[string]any, error) {
	body, err := readBody(w, r, l.bytes)
	if err != nil {
		return nil, err
	}
	if isForm(r.Header.Get("Content-Type"), body) {
		return decodeForm(body, l)
	}
	return decodeJSON(body, l)
}

func isForm(contentType string, body []byte) bool {
	if contentType == "" {
		return false
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil || media != "application/x-www-form-urlencoded" {
		return false
	}
	first := bytes.TrimLeft(body, " \t\r\n")
	return len(first) > 0 && first[0] != '{' && first[0] != '['
}

func decodeForm(body []byte, l limits) (map[string]any, error) {
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errs.New(errs.Invalid, "failed to decode form input").Because(err)
	}
	if l.strings >= 0 && int64(len(values)) > l.strings {
		return nil, tooComplex("number of strings")
	}
	data := make(map[string]any, len(values))
	for name, all := range values {
		data[name] = strings.Join(all, ",")
	}
	return data, nil
}

func badJSON(what string) error {
	return errs.New(errs.Invalid, "failed to decode JSON input: %s", what)
}

func tooComplex(what string) error {
	return errs.New(errs.Invalid, "refused JSON input due to high complexity: exceeded maximum %s", what)
}

// decodeJSON reads a JSON object. No body and null are no fields. A key twice: the last one counts. Numbers stay text.
func decodeJSON(body []byte, l limits) (map[string]any, error) {
	first := bytes.TrimLeft(body, " \t\r\n")
	if len(first) == 0 {
		return nil, nil
	}
	if err := measure(body, l); err != nil {
		return nil, err
	}
	var data map[string]any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&data); err != nil {
		var wrongKind *json.UnmarshalTypeError
		switch {
		case errors.As(err, &wrongKind):
			return nil, badJSON("json: cannot unmarshal " + wrongKind.Value + " into Go value of type map[string]interface {}")
		case errors.Is(err, io.ErrUnexpectedEOF):
			return nil, badJSON("unexpected EOF")
		default:
			return nil, badJSON(err.Error())
		}
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, badJSON("text after the object")
	}
	return data, nil
}

// measure refuses a body that would take far more to decode than to send. It looks at the raw bytes and needs no
// memory of its own; a body that is not JSON passes or is refused, and fails at the latest in the decoder.
func measure(body []byte, l limits) error {
	var texts, values, depth int64
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '"':
			texts++
			values++
			for i++; i < len(body) && body[i] != '"'; i++ {
				if body[i] == '\\' {
					i++
				}
			}
			if l.strings >= 0 && texts > l.strings {
				return tooComplex("number of strings")
			}
		case '{', '[':
			values++
			if depth++; depth > maxJSONDepth {
				return tooComplex("depth")
			}
		case '}', ']':
			depth--
		case ',':
			values++
		}
	}
	if l.memory >= 0 && int64(len(body))+values*valueCost > l.memory {
		return tooComplex("memory")
	}
	return nil
}

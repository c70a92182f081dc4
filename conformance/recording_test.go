package conformance

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// line is one line of a recording; the wire contract's README describes the keys.
type line struct {
	ID       string            `json:"id"`
	Flow     string            `json:"flow"`
	Area     string            `json:"area"`
	Note     string            `json:"note"`
	Kind     string            `json:"kind"` // "": an exchange; flow, probe, restart
	WaitMS   int               `json:"wait_ms"`
	Request  *request          `json:"request"`
	Response *response         `json:"response"`
	Capture  map[string]string `json:"capture"`
	Absent   []string          `json:"absent"`
	Probe    map[string]any    `json:"probe"`
	X509     map[string]any    `json:"x509"`
	CRL      map[string]any    `json:"crl"`
	OCSP     any               `json:"ocsp"`

	Compute map[string]computation `json:"compute"`

	Unordered []string `json:"unordered"`
	Superset  []string `json:"superset"`
	Closed    []string `json:"closed"`

	ImplementationNote string `json:"implementation_note"`

	// of a flow header
	Server        string   `json:"server"`
	ServerConfig  string   `json:"server_config"`
	ServerOptions []string `json:"server_options"`
	Storage       string   `json:"storage"`
	Needs         []string `json:"needs"`
}

type request struct {
	Method        string            `json:"method"`
	Path          string            `json:"path"`
	Headers       map[string]string `json:"headers"`
	Body          any               `json:"body"`
	TLSClientCert *string           `json:"tls_client_cert"`
}

type response struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    any               `json:"body"`
}

// flow is the lines of one test, in file order.
type flow struct {
	Name, Area string
	Head       line
	Lines      []line
}

// exchanges is how many lines count: all but restarts.
func (f *flow) exchanges() int {
	n := 0
	for _, l := range f.Lines {
		if l.Kind != "restart" {
			n++
		}
	}
	return n
}

func loadFlows(dir string) ([]*flow, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("no recordings in %s: %w", dir, err)
	}
	var flows []*flow
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		byName := map[string]*flow{}
		lines := bufio.NewScanner(bytes.NewReader(data))
		lines.Buffer(nil, 64<<20)
		for lines.Scan() {
			if len(bytes.TrimSpace(lines.Bytes())) == 0 {
				continue
			}
			var l line
			if err := decode(lines.Bytes(), &l); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			f := byName[l.Flow]
			if f == nil {
				f = &flow{Name: l.Flow, Area: l.Area, Head: line{Server: "dev"}}
				byName[l.Flow] = f
				flows = append(flows, f)
			}
			if l.Kind == "flow" {
				f.Head = l
			} else {
				f.Lines = append(f.Lines, l)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return flows, nil
}

// decode reads JSON and keeps numbers as they are written.
func decode(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(into)
}

// variables are what recordings refer to as ${name}.
type variables map[string]any

var variable = regexp.MustCompile(`\$\{([A-Za-z0-9_]+)(?:\|([a-z0-9]+))?\}`)

// fill replaces variables at any depth. A text that is exactly one variable takes its JSON type.
func (vars variables) fill(v any) (any, error) {
	switch v := v.(type) {
	case string:
		if m := variable.FindStringSubmatch(v); m != nil && m[0] == v && m[2] == "" {
			if value, ok := vars[m[1]]; ok {
				return value, nil
			}
		}
		return vars.text(v)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			var err error
			if out[i], err = vars.fill(item); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			key, err := vars.text(key)
			if err != nil {
				return nil, err
			}
			if out[key], err = vars.fill(item); err != nil {
				return nil, err
			}
		}
		return out, nil
	default:
		return v, nil
	}
}

func (vars variables) text(s string) (string, error) {
	var missing error
	out := variable.ReplaceAllStringFunc(s, func(found string) string {
		m := variable.FindStringSubmatch(found)
		value, ok := vars[m[1]]
		if !ok {
			missing = fmt.Errorf("%s has no value: an earlier exchange failed", found)
			return found
		}
		text, isText := value.(string)
		if !isText {
			data, _ := json.Marshal(value)
			text = string(data)
		}
		switch m[2] {
		case "b64":
			return base64.StdEncoding.EncodeToString([]byte(text))
		case "last":
			text = strings.TrimRight(text, "/")
			return text[strings.LastIndexByte(text, '/')+1:]
		}
		return text
	})
	return out, missing
}

var pathStep = regexp.MustCompile(`^(?:\.([^.\[]+)|\["([^"]*)"\]|\[(-?\d+)\])`)

// parsePath turns `$.a["x/y"][0]` into its steps: string keys and int indexes.
func parsePath(text string) []any {
	var steps []any
	rest := strings.TrimPrefix(text, "$")
	for rest != "" {
		m := pathStep.FindStringSubmatchIndex(rest)
		if m == nil {
			panic("bad JSON path " + text)
		}
		switch {
		case m[2] >= 0:
			steps = append(steps, rest[m[2]:m[3]])
		case m[4] >= 0:
			steps = append(steps, rest[m[4]:m[5]])
		default:
			n := 0
			_, _ = fmt.Sscanf(rest[m[6]:m[7]], "%d", &n)
			steps = append(steps, n)
		}
		rest = rest[m[1]:]
	}
	return steps
}

// at follows a path; ok is false where there is nothing.
func at(doc any, path string) (value any, ok bool) {
	for _, step := range parsePath(path) {
		switch step := step.(type) {
		case string:
			object, _ := doc.(map[string]any)
			if doc, ok = object[step]; !ok {
				return nil, false
			}
		case int:
			array, _ := doc.([]any)
			if step < 0 {
				step += len(array)
			}
			if step < 0 || step >= len(array) {
				return nil, false
			}
			doc = array[step]
		}
	}
	return doc, true
}

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// The output formats.
const (
	formatTable  = "table"  // for people
	formatPretty = "pretty" // a table whose nested values are JSON
	formatJSON   = "json"
	formatYAML   = "yaml"
	formatRaw    = "raw" // the answer's bytes; read only
)

// format is the chosen output format.
func (e *env) format() (string, error) {
	format := strings.ToLower(e.flagOr(e.flags.format, "FORMAT"))
	switch format {
	case "":
		return formatTable, nil
	case "yml":
		return formatYAML, nil
	case formatTable, formatPretty, formatJSON, formatYAML, formatRaw:
		return format, nil
	}
	return "", mistake("Invalid output format: %s", format).hint("formats: table, json, yaml, pretty, raw")
}

// structured reports whether the output is for programs. The format was checked before the command ran.
func (e *env) structured() bool {
	format, _ := e.format()
	return format == formatJSON || format == formatYAML
}

// detailed reports whether more was asked for.
func (e *env) detailed() (bool, error) { return e.switchOr(e.flags.detailed, "DETAILED") }

// success prints a text for people.
func (e *env) success(format string, args ...any) error {
	if e.structured() {
		return nil
	}
	return e.print(fmt.Sprintf(format, args...) + "\n")
}

func (e *env) print(text string) error {
	_, err := io.WriteString(e.stdout, text)
	return err
}

// warn shows what the server had to say beside its answer.
func (e *env) warn(warnings []string) {
	if len(warnings) == 0 {
		return
	}
	_, _ = fmt.Fprint(e.stderr, "WARNING! The following warnings were returned from the server:\n\n")
	for _, w := range warnings {
		_, _ = fmt.Fprintf(e.stderr, "  * %s\n", w)
	}
	_, _ = fmt.Fprintln(e.stderr)
}

// view is a result in the two forms that it can be shown in.
type view struct {
	rows   [][]string // the table, its header first
	object any        // what json and yaml show
}

// show prints v in the chosen format, or the one field that was asked for.
func (e *env) show(v view) error {
	if e.flags.field != "" {
		value, ok := member(v.object, e.flags.field)
		if !ok {
			return e.noField()
		}
		return e.showField(value)
	}
	format, err := e.format()
	if err != nil {
		return err
	}
	switch format {
	case formatJSON:
		return e.showJSON(v.object)
	case formatYAML:
		return e.showYAML(v.object)
	case formatRaw:
		return mistake("The raw format is for read only")
	}
	return e.print(table(v.rows))
}

func (e *env) noField() error {
	return mistake("Field %q not present in secret", e.flags.field)
}

// showField prints one value: bare for people and pipes, encoded for the other formats.
func (e *env) showField(value any) error {
	format, err := e.format()
	if err != nil {
		return err
	}
	switch format {
	case formatJSON:
		return e.showJSON(value)
	case formatYAML:
		return e.showYAML(value)
	}
	text := plain(value)
	if isTerminal(e.stdout) {
		text += "\n"
	}
	return e.print(text)
}

func (e *env) showJSON(v any) error {
	text, err := encodeJSON(v, "  ")
	if err != nil {
		return err
	}
	return e.print(text)
}

// showYAML goes through JSON, so that both formats have the same keys and the numbers keep their text.
func (e *env) showYAML(v any) error {
	text, err := encodeJSON(v, "")
	if err != nil {
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal([]byte(text), &node); err != nil {
		return fmt.Errorf("encode yaml: %w", err)
	}
	blockStyle(&node)
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return fmt.Errorf("encode yaml: %w", err)
	}
	return e.print(buf.String())
}

func blockStyle(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		blockStyle(child)
	}
}

func encodeJSON(v any, indent string) (string, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return "", fmt.Errorf("encode json: %w", err)
	}
	return buf.String(), nil
}

// member is object[name] by its name on the wire.
func member(object any, name string) (any, bool) {
	text, err := encodeJSON(object, "")
	if err != nil {
		return nil, false
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var fields map[string]any
	if dec.Decode(&fields) != nil {
		return nil, false
	}
	value, ok := fields[name]
	return value, ok
}

// plain is a value as a table shows it.
func plain(value any) string { return fmt.Sprintf("%v", value) }

// cell is a value of a table in the chosen format.
func (e *env) cell(value any) string {
	if format, _ := e.format(); format == formatPretty {
		switch value.(type) {
		case map[string]any, []any:
			if text, err := encodeJSON(value, ""); err == nil {
				return strings.TrimSuffix(text, "\n")
			}
		}
	}
	return plain(value)
}

const columnGap = "    "

// table aligns rows by columns and underlines the first one.
func table(rows [][]string) string {
	if len(rows) == 0 {
		return ""
	}
	underline := make([]string, len(rows[0]))
	for i, title := range rows[0] {
		underline[i] = strings.Repeat("-", utf8.RuneCountInString(title))
	}
	return aligned(slices.Insert(slices.Clone(rows), 1, underline))
}

func aligned(rows [][]string) string {
	var widths []int
	for _, row := range rows {
		for i, text := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, text := range row {
			if i > 0 {
				line.WriteString(columnGap)
			}
			line.WriteString(text)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)))
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// keyValues starts a table of two columns.
func keyValues() [][]string { return [][]string{{"Key", "Value"}} }

// column is a table of one column.
func column(title string, values []string) [][]string {
	rows := [][]string{{title}}
	for _, v := range values {
		rows = append(rows, []string{v})
	}
	return rows
}

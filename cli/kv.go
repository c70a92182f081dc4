package cli

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"leasehold/client"
)

func (e *env) kv() *cli.Command {
	return group("kv", "Secrets that are kept: key/value, with or without versions",
		e.kvGet(),
		e.kvPut(),
		e.kvPatch(),
		e.kvDelete(),
		e.kvUndelete(),
		e.kvDestroy(),
		e.kvList(),
		e.kvRollback(),
		e.kvDiff(),
		e.kvImport(),
		e.kvExport(),
		group("metadata", "What is known of a secret beside its data",
			e.kvMetadataGet(),
			e.kvMetadataPut(),
			e.kvMetadataPatch(),
			e.kvMetadataDelete(),
		),
		e.kvEnableVersioning(),
	)
}

// kvSecret is a secret's place. A mount of version 2 has a path for each thing that can be done.
type kvSecret struct {
	mount, path string
	versioned   bool
}

// at is the request path for something that can be done: data, metadata, delete, undelete or destroy. Version 1 has
// but one path.
func (s kvSecret) at(what string) string {
	parts := []string{s.mount, what, s.path}
	if !s.versioned {
		parts[1] = ""
	}
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "/")
}

// needVersions refuses what version 1 cannot do.
func (s kvSecret) needVersions(what string) error {
	if s.versioned {
		return nil
	}
	return mistake("%s not supported on KV Version 1", what).
		hint("kv enable-versioning turns a mount into version 2; if the mount has it, the token may not see that")
}

func mountFlag(to *string) cli.Flag {
	return &cli.StringFlag{Name: "mount", Usage: "mount of the secret; PATH is then below it", Destination: to}
}

const kvPathHelp = "PATH is MOUNT/NAME, or NAME alone with -mount=MOUNT."

// kvAt finds out which mount a path is on, and of which version it is. A server that does not tell this token is treated
// as if it were version 1.
func (e *env) kvAt(ctx context.Context, mount, path string) (kvSecret, error) {
	mount, path = cleanPath(mount), cleanPath(path)
	s := kvSecret{mount: mount, path: path}
	asked := mount
	if asked == "" {
		asked = path
	}
	resp, err := e.inquire(ctx, client.Request{Method: http.MethodGet, Path: "sys/internal/ui/mounts/" + asked})
	if status := statusOf(err); status == http.StatusForbidden || status == http.StatusNotFound {
		return s, nil
	}
	if err != nil {
		return s, failed(err, "Error looking up the mount of %s", asked)
	}
	var answer struct {
		Path    string            `json:"path"`
		Options map[string]string `json:"options"`
	}
	if err := resp.Decode(&answer); err != nil {
		return s, failed(err, "Error looking up the mount of %s", asked)
	}
	s.versioned = answer.Options["version"] == "2"
	if found := cleanPath(answer.Path); s.mount == "" {
		if below, ok := strings.CutPrefix(path+"/", found+"/"); ok {
			s.mount, s.path = found, strings.TrimSuffix(below, "/")
		}
	}
	return s, nil
}

// inquire sends a request whose answer the command itself needs: it is sent when others are only shown, and its answer
// is never wrapped.
func (e *env) inquire(ctx context.Context, r client.Request) (*client.Response, error) {
	c, err := e.api()
	if err != nil {
		return nil, err
	}
	return c.WithWrapTTL("").Send(ctx, r)
}

func (e *env) kvGet() *cli.Command {
	var mount, version string
	return e.command(leaf{
		name: "get", args: "PATH", usage: "Read a secret", help: kvPathHelp,
		min: 1, max: 1,
		flags: []cli.Flag{mountFlag(&mount), versionFlag(&version)},
		run: func(ctx context.Context, args []string) error {
			s, err := e.kvAt(ctx, mount, args[0])
			if err != nil {
				return err
			}
			return getSecret(ctx, e, s, version)
		},
	})
}

func versionFlag(to *string) cli.Flag {
	return &cli.StringFlag{Name: "version", Usage: "version to read; the newest if not given", Destination: to}
}

// versionQuery asks for a version; "" and 0 stand for the newest.
func versionQuery(s kvSecret, version string) (url.Values, error) {
	if version == "" {
		return nil, nil
	}
	if err := s.needVersions("Versions are"); err != nil {
		return nil, err
	}
	if _, err := strconv.ParseUint(version, 10, 63); err != nil {
		return nil, mistake("-version: not a version: %q", version)
	}
	return url.Values{"version": {version}}, nil
}

func getSecret(ctx context.Context, e *env, s kvSecret, version string) error {
	q, err := versionQuery(s, version)
	if err != nil {
		return err
	}
	path := s.at("data")
	resp, err := e.send(ctx, client.Request{Method: http.MethodGet, Path: path, Query: q})
	if client.IsNotFound(err) {
		return noValue(err, path)
	}
	if err != nil {
		return failed(err, "Error reading %s", path)
	}
	if resp.Empty() {
		return noValue(nil, path)
	}
	if !s.versioned || resp.WrapInfo != nil {
		return e.showSecret(resp, section{"Data", e.sortedRows(resp.Data)})
	}
	data, _ := resp.Data["data"].(map[string]any)
	if e.flags.field != "" {
		return e.showSecretField(path, resp, data)
	}
	metadata, _ := resp.Data["metadata"].(map[string]any)
	sections := []section{{"Secret Path", [][]string{{path}}}, {"Metadata", e.metadataRows(metadata)}}
	if data != nil {
		sections = append(sections, section{"Data", e.sortedRows(data)})
	}
	return e.showSecret(resp, sections...)
}

// showSecretField looks for the field in the secret itself. "data" is the whole secret, unless it has a key of that name.
func (e *env) showSecretField(path string, resp *client.Response, data map[string]any) error {
	e.warn(resp.Warnings)
	value, ok := data[e.flags.field]
	switch {
	case data == nil:
		return refused("No data found at %s", path).hint("the version is deleted or destroyed")
	case !ok && e.flags.field == "data":
		return e.showField(data)
	case !ok:
		return e.noField()
	}
	return e.showField(value)
}

func (e *env) kvPut() *cli.Command {
	var mount string
	options := fields{}
	return e.command(leaf{
		name: "put", args: "PATH DATA...", usage: "Write a secret: a new version, or in place of the old one",
		help: kvPathHelp + "\nDATA is key=@file, key=- (stdin), key=value, @file.json or - (a JSON object from stdin).\n" +
			"Arguments are visible to other users of the machine: secrets go through a file or stdin.",
		min: 1, max: -1,
		flags: []cli.Flag{mountFlag(&mount), casFlag(options)},
		run: func(ctx context.Context, args []string) error {
			if len(args) < 2 {
				return mistake("Must supply data")
			}
			data, err := e.parseData(args[1:])
			if err != nil {
				return err
			}
			s, err := e.kvAt(ctx, mount, args[0])
			if err != nil {
				return err
			}
			return putSecret(ctx, e, s, data, options)
		},
	})
}

// casFlag is sent when it is not negative.
func casFlag(options fields) cli.Flag {
	return options.number("cas", "cas", "write only if this is the current version; 0: only if there is none")
}

// casOption are the options of a write.
func casOption(s kvSecret, options fields) (fields, error) {
	if n, ok := options["cas"].(int64); !ok || n < 0 {
		return nil, nil
	}
	return options, s.needVersions("Check-and-set is")
}

func putSecret(ctx context.Context, e *env, s kvSecret, data map[string]any, options fields) error {
	options, err := casOption(s, options)
	if err != nil {
		return err
	}
	var body any = data
	if s.versioned {
		body = versionBody(data, options)
	}
	path := s.at("data")
	resp, err := e.call(ctx, http.MethodPut, path, body)
	if err != nil {
		return failed(err, "Error writing data to %s", path)
	}
	return e.showWritten(s, resp)
}

func versionBody(data map[string]any, options fields) map[string]any {
	body := map[string]any{"data": data}
	if options != nil {
		body["options"] = options
	}
	return body
}

// showWritten tells of the version that a write made.
func (e *env) showWritten(s kvSecret, resp *client.Response) error {
	path := s.at("data")
	if !s.versioned || resp.WrapInfo != nil || e.flags.field != "" || resp.Empty() {
		return e.showAnswer(resp, "Success! Data written to: "+path)
	}
	return e.showSecret(resp, section{"Secret Path", [][]string{{path}}}, section{"Metadata", e.metadataRows(resp.Data)})
}

func (e *env) kvList() *cli.Command {
	var mount string
	return e.command(leaf{
		name: "list", args: "PATH", usage: "List the names of the secrets below a path", help: kvPathHelp,
		min: 0, max: 1,
		flags: []cli.Flag{mountFlag(&mount)},
		run: func(ctx context.Context, args []string) error {
			if len(args) == 0 {
				if mount == "" {
					return mistake("Not enough arguments (expected 1, got 0)").hint("arguments: PATH, or -mount=MOUNT")
				}
				args = []string{""}
			}
			s, err := e.kvAt(ctx, mount, args[0])
			if err != nil {
				return err
			}
			return list(ctx, e, s.at("metadata"), nil)
		},
	})
}

func (e *env) kvEnableVersioning() *cli.Command {
	return e.command(leaf{
		name: "enable-versioning", args: "MOUNT", usage: "Turn a mount of version 1 into version 2",
		help: "Every secret becomes its own first version. There is no way back.",
		min:  1, max: 1,
		run: func(ctx context.Context, args []string) error {
			mount := cleanPath(args[0])
			body := map[string]any{"options": map[string]string{"version": "2"}}
			resp, err := e.call(ctx, http.MethodPut, "sys/mounts/"+mount+"/tune", body)
			if err != nil {
				return failed(err, "Error tuning secrets engine %s", mount)
			}
			return e.showAnswer(resp, "Success! Tuned the secrets engine at: "+mount+"/")
		},
	})
}

// section is a part of the answer that a command shows under a title of its own.
type section struct {
	title string
	rows  [][]string // one row of one column is shown as it is
}

// showSecret prints sections, or the answer in the chosen format.
func (e *env) showSecret(resp *client.Response, sections ...section) error {
	format, err := e.format()
	if err != nil {
		return err
	}
	if e.flags.field != "" || resp.WrapInfo != nil || format == formatRaw || e.structured() {
		return e.showAnswer(resp, "")
	}
	e.warn(resp.Warnings)
	var b strings.Builder
	for i, s := range sections {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(s.String())
	}
	return e.print(b.String())
}

func (s section) String() string {
	if len(s.rows) == 1 && len(s.rows[0]) == 1 {
		return titled(s.title, len(s.rows[0][0])) + s.rows[0][0] + "\n"
	}
	key := 0
	for _, row := range s.rows[1:] {
		key = max(key, len(row[0]))
	}
	return titled(s.title, key+len(columnGap)+len("Value")) + table(s.rows)
}

// titled is a title between signs, about as wide as what stands below it, and two signs at least where that is narrower.
func titled(title string, width int) string {
	missing := width - len(title) - len("  ")
	if missing <= 0 {
		missing = 4
	}
	signs := strings.Repeat("=", (missing+1)/2)
	return signs + " " + title + " " + signs + "\n"
}

// sortedRows is the table of an object.
func (e *env) sortedRows(object map[string]any) [][]string {
	rows := keyValues()
	for _, key := range slices.Sorted(maps.Keys(object)) {
		rows = append(rows, []string{key, e.cell(object[key])})
	}
	return rows
}

// metadataRows is the same for what is known of a version: a time that is not set is not applicable.
func (e *env) metadataRows(metadata map[string]any) [][]string {
	shown := maps.Clone(metadata)
	if shown["deletion_time"] == "" {
		shown["deletion_time"] = "n/a"
	}
	return e.sortedRows(shown)
}

// versionList is what -versions=1,2 -versions=3 names.
func versionList(given []string) ([]int64, error) {
	var versions []int64
	for _, text := range strings.Split(strings.Join(given, ","), ",") {
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil || n < 1 {
			return nil, mistake("-versions: not a version: %q", text)
		}
		versions = append(versions, n)
	}
	return versions, nil
}

func versionsFlag(to *[]string, usage string) cli.Flag {
	return repeated("versions", usage, "", func(v []string) error { *to = v; return nil })
}

package conformance

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// failure is a line that did not conform.
type failure struct {
	id    string
	diffs []string
}

// result is how a flow went.
type result struct {
	flow     *flow
	passed   int
	failures []failure
}

func (r *result) ok() bool { return len(r.failures) == 0 }

func (r *result) fail(id string, diffs ...string) {
	r.failures = append(r.failures, failure{id, diffs})
}

// runner replays one flow.
type runner struct {
	flow  *flow
	proc  *process
	vars  variables
	audit map[string]int // audit file -> bytes seen
}

// replay runs a flow on a fresh server. vars are those of its databases and fakes. database is the URL of an empty PostgreSQL
// database that takes the place of the flow's own storage; empty: nothing does.
func replay(f *flow, binary string, vars variables, database string) *result {
	r := &result{flow: f}
	dir, err := os.MkdirTemp("", "wire-")
	if err != nil {
		r.fail(f.Name, err.Error())
		return r
	}
	defer func() { _ = os.RemoveAll(dir) }()
	run := &runner{flow: f, vars: vars, audit: map[string]int{}}
	run.vars["TMP"] = filepath.Join(dir, "tmp")
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o700); err != nil {
		r.fail(f.Name, err.Error())
		return r
	}
	run.proc, err = newProcess(binary, dir, f, run.vars, database)
	if err == nil {
		defer run.proc.stop()
		err = run.proc.start()
	}
	if err != nil {
		r.fail(f.Name, err.Error())
		return r
	}
	for i := range f.Lines {
		l := &f.Lines[i]
		diffs := run.step(l)
		if len(diffs) > 0 {
			r.fail(l.ID, diffs...)
		} else if l.Kind != "restart" {
			r.passed++
		}
	}
	return r
}

// step runs one line and returns the differences.
func (run *runner) step(l *line) []string {
	time.Sleep(time.Duration(l.WaitMS) * time.Millisecond) // a recorded pause is part of the exchange
	switch l.Kind {
	case "restart":
		if err := run.proc.restart(); err != nil {
			return []string{err.Error()}
		}
		return nil
	case "probe":
		if l.Probe["kind"] == "sql" {
			return run.sqlProbe(l)
		}
		return run.auditProbe(l)
	default:
		return run.exchange(l)
	}
}

func (run *runner) exchange(l *line) []string {
	if len(l.X509)+len(l.CRL) > 0 || l.OCSP != nil {
		return []string{"needs the extra checks of PKI, which come with that engine"}
	}
	if err := run.compute(l); err != nil {
		return []string{err.Error()}
	}
	got, err := run.send(l.Request)
	if err != nil {
		return []string{err.Error()}
	}
	want := l.Response
	if got.status != want.Status {
		if got.status == 400 && strings.Contains(l.ImplementationNote, "answering 400") {
			if want.Status == 500 {
				return append(newMatcher(l).match(map[string]any{"errors": "<array>"}, got.body, "$"), run.body(l, got)...)
			}
			return newMatcher(l).match(map[string]any{"errors": "<array>"}, got.body, "$")
		}
		run.capture(l, got.body)
		return []string{fmt.Sprintf("status: want %d, got %d %.300s", want.Status, got.status, got.raw)}
	}
	diffs := run.capture(l, got.body)
	diffs = append(diffs, run.body(l, got)...)
	return append(diffs, run.headers(want, got)...)
}

func (run *runner) capture(l *line, body any) []string {
	var diffs []string
	for name, path := range l.Capture {
		if value, ok := at(body, path); ok {
			run.vars[name] = value
		} else {
			diffs = append(diffs, "nothing to capture at "+path)
		}
	}
	return diffs
}

func (run *runner) body(l *line, got *answer) []string {
	want, err := run.vars.fill(l.Response.Body)
	if err != nil {
		return []string{err.Error()}
	}
	diffs := newMatcher(l).match(want, got.body, "$")
	for _, path := range l.Absent {
		if _, there := at(got.body, path); there {
			diffs = append(diffs, path+": must be absent")
		}
	}
	return diffs
}

func (run *runner) headers(want *response, got *answer) []string {
	var diffs []string
	for name, value := range want.Headers {
		filled, err := run.vars.text(value)
		if err != nil {
			return []string{err.Error()}
		}
		var have any // null when it is missing
		if values := got.header.Values(name); len(values) > 0 {
			have = strings.Join(values, ", ")
		}
		for _, d := range (&matcher{}).match(filled, have, "") {
			diffs = append(diffs, "header "+name+d)
		}
	}
	return diffs
}

// answer is a response, decoded where it is JSON.
type answer struct {
	status int
	header http.Header
	raw    string
	body   any
}

// send sends a request byte for byte over a connection of its own, and follows no redirect.
func (run *runner) send(r *request) (*answer, error) {
	path, err := run.vars.text(r.Path)
	if err != nil {
		return nil, err
	}
	body, isJSON, err := run.requestBody(r.Body)
	if err != nil {
		return nil, err
	}
	if r.TLSClientCert != nil {
		return nil, errors.New("needs a TLS listener, which comes with the cert method")
	}
	// Written by hand, because net/http would clean the path.
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nAccept-Encoding: identity\r\n", r.Method, escape(path), run.proc.addr)
	hasType := false
	for name, value := range r.Headers {
		filled, err := run.vars.text(value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "%s: %s\r\n", name, filled)
		hasType = hasType || strings.EqualFold(name, "Content-Type")
	}
	if isJSON && !hasType {
		out.WriteString("Content-Type: application/json\r\n")
	}
	if body != nil || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
		fmt.Fprintf(&out, "Content-Length: %d\r\n", len(body))
	}
	out.WriteString("\r\n")
	out.Write(body)
	return roundTrip(run.proc.addr, r.Method, out.Bytes())
}

// escape percent-encodes what cannot stand in a request line, and nothing else.
func escape(path string) string {
	var out strings.Builder
	for _, b := range []byte(path) {
		if b < 0x21 || b > 0x7e {
			fmt.Fprintf(&out, "%%%02X", b)
		} else {
			out.WriteByte(b)
		}
	}
	return out.String()
}

func (run *runner) requestBody(recorded any) (body []byte, isJSON bool, err error) {
	filled, err := run.vars.fill(recorded)
	if err != nil || filled == nil {
		return nil, false, err
	}
	if text, ok := filled.(string); ok {
		return []byte(text), false, nil
	}
	if object, ok := filled.(map[string]any); ok && len(object) == 1 {
		if raw, ok := object["$raw"].(string); ok {
			return []byte(raw), false, nil
		}
		if encoded, ok := object["$base64"].(string); ok {
			body, err := base64.StdEncoding.DecodeString(encoded)
			return body, false, err
		}
	}
	body, err = json.Marshal(filled)
	return body, true, err
}

// --------------------------------------------------------------------------------------------------- probes

func (run *runner) sqlProbe(l *line) []string {
	filled, err := run.vars.fill(map[string]any(l.Probe))
	if err != nil {
		return []string{err.Error()}
	}
	probe := filled.(map[string]any)
	text := func(key string) string { s, _ := probe[key].(string); return s }
	host, port, err := net.SplitHostPort(text("addr"))
	if err != nil {
		return []string{err.Error()}
	}
	var cmd *exec.Cmd
	if text("engine") == "postgresql" {
		cmd = exec.Command("psql", "-X", "-h", host, "-p", port, "-U", text("user"), "-d", text("db"), "-Atqc", text("sql"))
		cmd.Env = append(os.Environ(), "PGPASSWORD="+text("password"), "PGCONNECT_TIMEOUT=5")
	} else {
		cmd = exec.Command("mariadb", "--no-defaults", "-h", host, "-P", port, "-u", text("user"), "-N", "-B", "-e", text("sql"))
		if db := text("db"); db != "" {
			cmd.Args = append(cmd.Args, db)
		}
		cmd.Env = append(os.Environ(), "MYSQL_PWD="+text("password"))
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	outcome := "ok"
	if err != nil {
		outcome = "fail"
		if stderr.Len() == 0 || strings.Contains(stderr.String(), "Connection refused") || strings.Contains(stderr.String(), "Can't connect") {
			return []string{fmt.Sprintf("the probe could not be made: %v %s", err, stderr.String())}
		}
	}
	if outcome != text("expect") {
		return []string{fmt.Sprintf("statement: want %s, got %s: %s", text("expect"), outcome, strings.TrimSpace(stderr.String()))}
	}
	rows, ok := probe["rows"]
	if !ok {
		return nil
	}
	got := []any{}
	if out := strings.TrimSpace(string(stdout)); out != "" {
		for _, row := range strings.Split(out, "\n") {
			got = append(got, row)
		}
	}
	return (&matcher{}).match(rows, got, "rows")
}

// auditProbe compares the last of the lines that were added to the audit file since the last look.
func (run *runner) auditProbe(l *line) []string {
	filled, err := run.vars.fill(map[string]any(l.Probe))
	if err != nil {
		return []string{err.Error()}
	}
	probe := filled.(map[string]any)
	want, _ := probe["entries"].([]any)
	file, _ := probe["file"].(string)
	data, _ := os.ReadFile(file) // a device's line is in its file before the answer is sent
	added := data[min(run.audit[file], len(data)):]
	added = added[:bytes.LastIndexByte(added, '\n')+1]
	run.audit[file] += len(added)
	got := []any{}
	for _, text := range strings.Split(string(added), "\n") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		start := max(strings.IndexByte(text, '{'), 0)
		var entry any
		if err := decode([]byte(text[start:]), &entry); err != nil {
			return []string{fmt.Sprintf("audit line: %v: %s", err, text)}
		}
		if start > 0 {
			entry = map[string]any{"$prefix": text[:start], "$entry": entry}
		}
		got = append(got, entry)
	}
	got = got[max(0, len(got)-len(want)):]
	if len(want) == 0 {
		got = []any{}
	}
	return append(newMatcher(l).match(want, got, "$"), run.capture(l, got)...)
}

// -------------------------------------------------------------------------------------------------- process

// process is the server of a flow: fresh at start, on the same storage and port after restart.
type process struct {
	binary, dir, config, addr string
	mode                      string
	cmd                       *exec.Cmd

	database  string // in place of the flow's storage; empty: nothing is
	unsealKey string // of a dev server on a database
}

// optionSettings are the server options of a flow header, as settings: option -> (setting, in the listener).
var optionSettings = map[string]struct {
	setting    string
	inListener bool
}{
	"raw-storage":                   {"raw_storage_endpoint = true", false},
	"api-audit":                     {"unsafe_allow_api_audit_creation = true", false},
	"unauthenticated-rekey":         {"disable_unauthed_rekey_endpoints = false", true},
	"unauthenticated-generate-root": {"disable_unauthed_generate_root_endpoints = false", true},
}

const rootToken = "root"

func newProcess(binary, dir string, f *flow, vars variables, database string) (*process, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &process{
		binary: binary, dir: dir, addr: listener.Addr().String(), mode: f.Head.Server, config: filepath.Join(dir, "config.hcl"), database: database,
	}
	_ = listener.Close()
	if p.mode == "" {
		p.mode = "dev"
	}
	vars["base"] = "http://" + p.addr
	if p.mode == "dev" {
		vars["root"] = rootToken
	}
	extra, err := vars.text(f.Head.ServerConfig)
	if err != nil {
		return nil, err
	}
	top, inListener := "", ""
	for _, option := range f.Head.ServerOptions {
		if o := optionSettings[option]; o.inListener {
			inListener += "  " + o.setting + "\n"
		} else {
			top += o.setting + "\n"
		}
	}
	text := extra + "\n" + top
	if p.mode == "bare" || database != "" {
		storage, err := p.storage(f.Head.Storage)
		if err != nil {
			return nil, err
		}
		text = fmt.Sprintf("%slistener \"tcp\" {\n  address = %q\n  tls_disable = true\n%s}\napi_addr = %q\ndisable_mlock = true\n%s",
			storage, p.addr, inListener, vars["base"], text)
	}
	return p, os.WriteFile(p.config, []byte(text), 0o600)
}

// storage is the storage block of the configuration.
func (p *process) storage(kind string) (string, error) {
	if p.database != "" {
		return fmt.Sprintf("storage \"postgresql\" {\n  connection_url = %q\n}\n", p.database), nil
	}
	if kind == "" {
		kind = "file"
	}
	node := ""
	if kind == "raft" {
		node = "  node_id = \"n1\"\n"
	}
	data := filepath.Join(p.dir, "data")
	return fmt.Sprintf("storage %q {\n  path = %q\n%s}\n", kind, data, node), os.Mkdir(data, 0o700)
}

func (p *process) start() error {
	args := []string{"server", "-config=" + p.config}
	if p.mode == "dev" && p.database == "" {
		args = []string{"server", "-dev", "-dev-root-token-id=" + rootToken, "-dev-listen-address=" + p.addr, "-config=" + p.config}
	}
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	p.cmd = exec.Command(p.binary, args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = []string{"HOME=" + p.dir, "PATH=" + os.Getenv("PATH")}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	if err := p.awaitReady(); err != nil || p.mode != "dev" || p.database == "" {
		return err
	}
	return p.openAsDev()
}

// awaitReady asks for the seal status until it answers.
func (p *process) awaitReady() error {
	question := []byte("GET /v1/sys/seal-status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if got, err := roundTrip(p.addr, http.MethodGet, question); err == nil && got.status < 500 {
			return nil
		}
		if p.cmd.ProcessState != nil || syscall.Kill(p.cmd.Process.Pid, 0) != nil {
			break
		}
	}
	text, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	return fmt.Errorf("the server did not get ready: %s", text)
}

func (p *process) restart() error {
	p.stop()
	return p.start()
}

// stop asks the server to end, and ends what is left of its process group.
func (p *process) stop() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	kill := time.AfterFunc(15*time.Second, func() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) })
	_ = p.cmd.Wait()
	kill.Stop()
}

// roundTrip writes a request as it is and reads the answer.
func roundTrip(addr, method string, out []byte) (*answer, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(90 * time.Second))
	if _, err := conn.Write(out); err != nil {
		return nil, err
	}
	resp, err := readResponse(conn, method)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	got := &answer{status: resp.StatusCode, header: resp.Header, raw: string(data)}
	if len(data) > 0 {
		if err := decode(data, &got.body); err != nil {
			got.body = string(data)
		}
	}
	return got, nil
}

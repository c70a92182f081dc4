package broker_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"leasehold/broker"
	"leasehold/broker/brokertest"
	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
)

var audited = broker.Settings{APIAudit: true, AuditPrefix: true}

// enable adds a device that writes to a file.
func enable(n *brokertest.Node, name, file string, options map[string]any) {
	n.T.Helper()
	all := map[string]any{"file_path": file}
	for k, v := range options {
		all[k] = v
	}
	n.Must(engine.Update, "sys/audit/"+name, map[string]any{"type": "file", "options": all})
}

// lines reads what a device has written.
func lines(t *testing.T, file string) []map[string]any {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var all []map[string]any
	for s := bufio.NewScanner(f); s.Scan(); {
		var line map[string]any
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Fatalf("line %q: %v", s.Text(), err)
		}
		all = append(all, line)
	}
	return all
}

func TestEveryRequestIsAudited(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, audited)
	file := filepath.Join(t.TempDir(), "audit.log")
	n.Must(engine.Update, "sys/mounts/notes", map[string]any{"type": "lab"})
	n.Must(engine.Update, "sys/auth/door", map[string]any{"type": "door"})
	plain := n.MustToken("", nil)
	enable(n, "f", file, nil)
	seen := len(lines(t, file))

	for _, test := range []struct {
		name      string
		token     secret.Text
		op        engine.Operation
		path      string
		atRequest string // error texts of the two lines
		atEnd     string
	}{
		{"done", n.Root, engine.Update, "notes/a", "", ""},
		{"nothing there", n.Root, engine.Read, "notes/none", "", ""},
		{"no token", secret.Text{}, engine.Read, "notes/a", "permission denied", framedDenial},
		{"bad token", secret.NewText("canary-token"), engine.Read, "notes/a", "permission denied", framedDenial},
		{"denied", plain, engine.Read, "notes/a", framedDenial, framedDenial},
		{"refused", n.Root, engine.Update, "sys/mounts/x", "", "1 error occurred:\n\t* invalid request\n\n"},
		{"no mount", n.Root, engine.Read, "nowhere/x", "", framedNoPath},
		{"login", secret.Text{}, engine.Update, "auth/door/login", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _ = n.Do(test.token, test.op, test.path, map[string]any{"v": "canary-value"})
			all := lines(t, file)
			if len(all) != seen+2 {
				t.Fatalf("%d lines, want 2", len(all)-seen)
			}
			request, response := all[seen], all[seen+1]
			seen = len(all)
			for line, want := range map[string]string{"request": test.atRequest, "response": test.atEnd} {
				got := request
				if line == "response" {
					got = response
				}
				if got["type"] != line || text(got["error"]) != want || got["request"].(map[string]any)["path"] != test.path {
					t.Errorf("%s line: %v, want error %q", line, got, want)
				}
			}
		})
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, marked := range []string{"canary", n.Root.Reveal(), plain.Reveal()} {
		if strings.Contains(string(written), marked) {
			t.Errorf("a secret is in the audit file")
		}
	}
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// With devices, a request that none of them takes is not run, and an answer that none of them takes is withheld.
func TestAuditFailsClosed(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, audited)
	n.Must(engine.Update, "sys/mounts/notes", map[string]any{"type": "lab"})
	enable(n, "good", filepath.Join(t.TempDir(), "audit.log"), nil)
	enable(n, "full", "/dev/full", map[string]any{"skip_test": "true"})
	n.Must(engine.Update, "notes/a", nil) // one that works is enough

	n.Lab.AfterLend(func() {
		if err := n.DisableAudit(t.Context(), "good/"); err != nil {
			t.Errorf("disable: %v", err)
		}
	})
	if _, err := n.Do(n.Root, engine.Read, "notes/lend/a", nil); err == nil || errs.From(err) != nil {
		t.Fatalf("the answer was not withheld: %v", err)
	}
	if n.Lab.Lent() != 1 {
		t.Fatalf("%d things are out", n.Lab.Lent())
	}
	if err := n.Leases.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n.Lab.Lent() != 0 {
		t.Error("the lease of an answer that was withheld stays")
	}

	if _, err := n.Do(n.Root, engine.Update, "notes/b", nil); err == nil || errs.From(err) != nil {
		t.Fatalf("ran without an audit line: %v", err)
	}
	if _, err := n.Do(secret.Text{}, engine.Read, "notes/b", nil); err == nil || errs.From(err) != nil {
		t.Fatalf("refused without an audit line: %v", err)
	}
	if err := n.DisableAudit(t.Context(), "full/"); err != nil {
		t.Fatal(err)
	}
	_, err := n.Do(n.Root, engine.Read, "notes/b", nil)
	wantError(t, err, errs.NotFound, "")
}

// Sealing takes the devices away. A request that is on its way then is not answered without its line.
func TestSealingWithholdsAnswers(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, audited)
	n.Must(engine.Update, "sys/mounts/notes", map[string]any{"type": "lab"})
	enable(n, "f", filepath.Join(t.TempDir(), "audit.log"), nil)
	n.Lab.AfterLend(n.SealNow)
	_, err := n.Do(n.Root, engine.Read, "notes/lend/a", nil)
	wantError(t, err, errs.Sealed, "leasehold is sealed")
}

// A device that one node enables takes the lines of all, and again after the store was sealed and opened.
func TestDevicesFollowTheConfiguration(t *testing.T) {
	t.Parallel()
	a := brokertest.New(t, audited)
	b := a.Another()
	file := filepath.Join(t.TempDir(), "audit.log")
	enable(a, "f", file, nil)
	before := len(lines(t, file))
	b.Must(engine.Read, "sys/mounts", nil)
	if got := len(lines(t, file)); got != before+2 {
		t.Errorf("another node wrote %d lines", got-before)
	}
	hash := a.Must(engine.Update, "sys/audit-hash/f", map[string]any{"input": "x"}).Data["hash"]
	a.SealNow()
	a.MustUnseal()
	if again := a.Must(engine.Update, "sys/audit-hash/f", map[string]any{"input": "x"}).Data["hash"]; again != hash {
		t.Errorf("the device's key has changed: %v, %v", hash, again)
	}
	a.Must(engine.Delete, "sys/audit/f", nil)
	before = len(lines(t, file))
	b.Must(engine.Read, "sys/mounts", nil)
	if got := len(lines(t, file)); got != before {
		t.Errorf("a disabled device got %d lines", got-before)
	}
}

func TestEnablingAuditDevices(t *testing.T) {
	t.Parallel()
	shut := brokertest.New(t, broker.Settings{})
	_, err := shut.Do(shut.Root, engine.Update, "sys/audit/f", map[string]any{"type": "file"})
	wantError(t, err, errs.Invalid, "audit devices cannot be enabled through the API: see unsafe_allow_api_audit_creation")

	n := brokertest.New(t, broker.Settings{APIAudit: true})
	enable(n, "f", "discard", nil)
	for name, test := range map[string]struct {
		path string
		data map[string]any
		text string
	}{
		"taken":       {"f", map[string]any{"type": "file", "options": map[string]any{"file_path": "discard"}}, "path already in use"},
		"below taken": {"f/x", map[string]any{"type": "file", "options": map[string]any{"file_path": "discard"}}, "path already in use"},
		"no type":     {"x", nil, `unknown backend type: ""`},
		"bad type":    {"x", map[string]any{"type": "pigeon"}, `unknown backend type: "pigeon"`},
		"no path":     {"x", map[string]any{"type": "file"}, "file_path is required"},
		"prefix": {"x", map[string]any{"type": "file", "options": map[string]any{"file_path": "discard", "prefix": "p"}},
			"audit devices cannot have a prefix: see allow_audit_log_prefixing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := n.Do(n.Root, engine.Update, "sys/audit/"+test.path, test.data)
			wantError(t, err, errs.Invalid, test.text)
		})
	}
}

// The headers that operators choose, and no others.
func TestAuditedHeaders(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, audited)
	file := filepath.Join(t.TempDir(), "audit.log")
	enable(n, "f", file, nil)
	n.Must(engine.Update, "sys/config/auditing/request-headers/X-Plain", nil)
	_, _, err := n.Handle(t.Context(), &broker.Request{ID: "1", Operation: engine.Read, Path: "sys/mounts", Token: n.Root,
		Header: map[string][]string{"X-Plain": {"seen"}, "X-Other": {"unseen"}}})
	if err != nil {
		t.Fatal(err)
	}
	all := lines(t, file)
	headers, _ := json.Marshal(all[len(all)-1]["request"].(map[string]any)["headers"])
	if string(headers) != `{"x-plain":["seen"]}` {
		t.Errorf("headers %s", headers)
	}
}

// Seal is audited like every request, and needs sudo as well as update.
func TestSealNeedsSudo(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, audited)
	file := filepath.Join(t.TempDir(), "audit.log")
	updater := n.MustToken(`path "sys/seal" { capabilities = ["update"] }`, nil)
	sudoer := n.MustToken(`path "sys/seal" { capabilities = ["update", "sudo"] }`, nil)
	enable(n, "f", file, nil)
	before := len(lines(t, file))
	wantError(t, n.Seal(t.Context(), &broker.Request{}), errs.Unauthenticated, "permission denied")
	wantError(t, n.Seal(t.Context(), &broker.Request{Token: updater}), errs.Denied, framedDenial)
	if n.Sealed() {
		t.Fatal("sealed by who may not")
	}
	if err := n.Seal(t.Context(), &broker.Request{Token: sudoer}); err != nil || !n.Sealed() {
		t.Fatalf("seal: %v", err)
	}
	if err := n.Seal(t.Context(), &broker.Request{}); err != nil {
		t.Errorf("seal when sealed: %v", err)
	}
	if got := len(lines(t, file)) - before; got != 6 {
		t.Errorf("%d lines, want 6", got)
	}
	n.Clock.Advance(time.Second)
	if err := n.Reap(t.Context()); err != nil {
		t.Errorf("reap while sealed: %v", err)
	}
}

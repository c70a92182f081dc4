package external_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/plugins"
	"leasehold/plugins/external"
)

// target is an open database of a plugin with some manners.
type target struct {
	*testing.T
	plugins.Database
	namer plugins.Namer
	dir   string // where its users are
	clock *clock.Fake
	log   *buffer
}

type buffer struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes.String()
}

// self is the program of this test, and its SHA-256.
var self = sync.OnceValues(func() (string, []byte) {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	file, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		panic(err)
	}
	return path, sum.Sum(nil)
})

func open(t *testing.T, manners string, change func(*external.Program)) *target {
	t.Helper()
	return openWith(t, manners, change, plugins.Settings{"password": "canary-password"})
}

func openWith(t *testing.T, manners string, change func(*external.Program), s plugins.Settings) *target {
	t.Helper()
	o := &target{T: t, dir: t.TempDir(), clock: clock.NewFake(time.Date(2040, 5, 6, 7, 8, 9, 0, time.UTC)), log: &buffer{}}
	path, sum := self()
	program := external.Program{
		Path: path, SHA256: sum, Args: []string{"an", "argument"}, Env: []string{"PLUGIN_MANNERS=" + manners, "TOKEN=canary-environment"},
	}
	if change != nil {
		change(&program)
	}
	s["host"] = o.dir
	db, err := external.Driver{
		Name: "files", Program: func(context.Context) (external.Program, error) { return program, nil },
		Clock: o.clock, Log: slog.New(slog.NewTextHandler(o.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	o.Database, o.namer = db, db.(plugins.Namer)
	t.Cleanup(func() {
		_ = db.Close()
		if strings.Contains(o.log.String(), "canary-") {
			t.Errorf("the log holds a secret:\n%s", o.log)
		}
	})
	return o
}

func user(name string) plugins.User {
	return plugins.User{Name: name, Password: secret.NewText("canary-of-the-user"), Expiration: time.Date(2040, 5, 6, 8, 0, 0, 0, time.UTC)}
}

func (o *target) has(name string) bool {
	_, err := os.Stat(filepath.Join(o.dir, name))
	return err == nil
}

// pid is the process that made a user.
func (o *target) pid(name string) string {
	o.Helper()
	text, err := os.ReadFile(filepath.Join(o.dir, name))
	if err != nil {
		o.Fatal(err)
	}
	return string(text)
}

func (o *target) create(name string) {
	o.Helper()
	if got, err := o.namer.CreateNamed(o.Context(), user(name)); err != nil || got != name {
		o.Fatalf("create %s: got %q, %v", name, got, err)
	}
}

// failed demands an error of a class with a text and without secrets.
func failed(t *testing.T, err error, class plugins.Class, text string) {
	t.Helper()
	var told *plugins.Error
	if !errors.As(err, &told) || told.Class != class || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v (%v); want %v with %q", err, plugins.ClassOf(err), class, text)
	}
	if err != nil && strings.Contains(err.Error(), "canary-") {
		t.Errorf("the error holds a secret: %v", err)
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	o := open(t, "good", nil)
	if err := o.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if o.namer.Obeys("V_ONE_1", plugins.TypePassword) {
		t.Error("it is known before it made any user")
	}
	o.create("V_ONE_1")
	for name, want := range map[string]bool{"V_ONE_2": true, "V_1": true, "V_ONE_22": false, "v_one_2": false, "V-ONE-2": false} {
		if got := o.namer.Obeys(name, plugins.TypePassword); got != want {
			t.Errorf("Obeys(%s) = %v", name, got)
		}
	}
	if err := o.AlterUser(t.Context(), "V_ONE_1", plugins.Change{Password: secret.NewText("canary-next")}); err != nil {
		t.Error(err)
	}
	failed(t, o.AlterUser(t.Context(), "V_NONE", plugins.Change{Expiration: time.Date(2040, 5, 6, 9, 0, 0, 0, time.UTC)}), plugins.Refused, "there is none of that name")
	for range 2 {
		if err := o.DropUser(t.Context(), "V_ONE_1", nil); err != nil || o.has("V_ONE_1") {
			t.Error(err)
		}
	}
}

func TestOwnNames(t *testing.T) {
	t.Parallel()
	o := open(t, "names by itself", nil)
	got, err := o.namer.CreateNamed(t.Context(), user("V_ONE"))
	if err != nil || got != "v_one-own" || o.namer.Obeys("V_ONE", plugins.TypePassword) || !o.has("v_one-own") {
		t.Errorf("got %q, %v", got, err)
	}
	failed(t, o.CreateUser(t.Context(), user("V_TWO")), plugins.Unknown, "instead of")
	if got := strings.Count(o.log.String(), "does not call its users as it is told"); got != 1 {
		t.Errorf("the log tells %d times of it", got)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		manners, text string
		class         plugins.Class
	}{
		{"refuses", `cannot SET PASSWORD "[password]" with [password]`, plugins.Refused},
		{"says no name", "no name", plugins.Unknown},
		{"panics", "has ended", plugins.Unknown},
		{"answers too much", "larger than max", plugins.Unknown},
	} {
		o := open(t, test.manners, nil)
		_, err := o.namer.CreateNamed(t.Context(), user("V_ONE"))
		failed(t, err, test.class, test.text)
	}
}

func TestStart(t *testing.T) {
	t.Parallel()
	script := filepath.Join(t.TempDir(), "plugin")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexit 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("#!/bin/sh\nexit 0\n"))
	for _, test := range []struct {
		manners, text string
		change        func(*external.Program)
	}{
		{"exits", "does not start", nil},
		{"says nonsense", "[password] and nonsense", nil},
		{"never accepts", "protocol version 5", nil},
		{"of another kind", "does not start", nil},
		{"of another version", "ncompatible API version", nil},
		{"of another service", "protocol version 5", nil},
		{"good", "SHA-256", func(p *external.Program) { p.SHA256 = bytes.Repeat([]byte{1}, 32) }},
		{"good", "no such file", func(p *external.Program) { p.Path += "-missing" }},
		{"good", "permission denied", func(p *external.Program) { p.Path, p.SHA256 = script, sum[:] }},
	} {
		t.Run(test.manners, func(t *testing.T) {
			t.Parallel()
			o := open(t, test.manners, test.change)
			_, err := o.namer.CreateNamed(t.Context(), user("V_ONE"))
			failed(t, err, plugins.Unreachable, test.text)
			failed(t, o.Verify(t.Context()), plugins.Unreachable, test.text)
			failed(t, o.Verify(t.Context()), plugins.Unreachable, "started again in")
			o.clock.Advance(time.Minute)
			failed(t, o.Verify(t.Context()), plugins.Unreachable, test.text)
		})
	}
}

func TestWrongSettings(t *testing.T) {
	t.Parallel()
	o := openWith(t, "good", nil, plugins.Settings{"password": "wrong-canary"})
	err := o.Verify(t.Context())
	failed(t, err, plugins.Unreachable, "no login with [password]")
	o.create("V_ONE") // only verifying was refused
}

// TestEnds has a plugin end in a call, hang in one, and stand still as a whole, and shows that the next call has another process where
// the former is of no use any more, and that another connection to the same plugin notices nothing.
func TestEnds(t *testing.T) {
	t.Parallel()
	for _, manners := range []string{"exits once", "hangs once", "freezes once"} {
		t.Run(manners, func(t *testing.T) {
			t.Parallel()
			other := open(t, "good", nil)
			other.create("V_FIRST")
			o := open(t, manners, nil)
			if err := o.Verify(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, done := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer done()
			if manners == "exits once" {
				ctx = t.Context()
			}
			_, err := o.namer.CreateNamed(ctx, user("V_LOST"))
			failed(t, err, plugins.Unknown, "the plugin")
			o.create("V_SECOND")
			other.create("V_SECOND")
			if other.pid("V_FIRST") != other.pid("V_SECOND") {
				t.Error("the other connection's process was replaced")
			}
			if manners != "hangs once" && o.pid("V_LOST") == o.pid("V_SECOND") {
				t.Error("the process was not replaced")
			}
		})
	}
}

func TestVerifyReplaces(t *testing.T) {
	t.Parallel()
	o := open(t, "good", nil)
	o.create("V_ONE")
	o.create("V_TWO")
	if err := o.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.create("V_THREE")
	if o.pid("V_ONE") != o.pid("V_TWO") || o.pid("V_TWO") == o.pid("V_THREE") {
		t.Error("want one process until it is verified, and another then")
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	failed(t, o.DropUser(t.Context(), "V_ONE", nil), plugins.Unreachable, "closed")
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	o := open(t, "tells secrets", nil)
	o.create("V_ONE")
	for deadline := time.Now().Add(time.Minute); !strings.Contains(o.log.String(), "-[pass") && time.Now().Before(deadline); {
		<-time.After(time.Millisecond) // what a plugin writes comes beside its answers
	}
	_ = o.Close()
	if got := o.log.String(); !strings.Contains(got, "[password] [password] [password]") || !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "-[pass") {
		t.Errorf("log:\n%s", got)
	}
}

func TestSurroundings(t *testing.T) {
	t.Parallel()
	o := open(t, "shows its surroundings", nil)
	o.create("V_ONE")
	text, err := os.ReadFile(filepath.Join(o.dir, "surroundings"))
	if err != nil {
		t.Fatal(err)
	}
	want := "PLUGIN_CLIENT_CERT PLUGIN_MANNERS PLUGIN_MAX_PORT PLUGIN_MIN_PORT PLUGIN_PROTOCOL_VERSIONS PLUGIN_UNIX_SOCKET_DIR TMPDIR TOKEN VAULT_DATABASE_PLUGIN\nan argument"
	if string(text) != want {
		t.Errorf("got %s\nwant %s", text, want)
	}
}

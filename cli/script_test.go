package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/server"
	"leasehold/server/proctest"
)

// programs is the folder of the program, under both of its names.
var programs string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "leasehold-cli-")
		if err == nil {
			defer func() { _ = os.RemoveAll(dir) }()
			programs = dir
			_, err = proctest.Build(dir)
		}
		if err == nil {
			err = os.Symlink("leasehold", filepath.Join(dir, "vault"))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

func path(env *testscript.Env) string {
	return programs + string(os.PathListSeparator) + env.Getenv("PATH")
}

// TestScript runs the program against a server that keeps requests and gives the answers that the script names.
// Besides the usual commands, scripts have those of commands below. Whatever is marked "canary" in a script is a
// secret: run fails when it shows up on stderr.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			s := startRecorder()
			env.Defer(s.close)
			env.Values["server"] = s
			env.Setenv("HOME", env.WorkDir+"/home")
			env.Setenv("VAULT_ADDR", s.url())
			env.Setenv("ADDR", s.url())
			env.Setenv("HOSTPORT", strings.TrimPrefix(s.url(), "http://"))
			env.Setenv("VAULT_MAX_RETRIES", "0")
			env.Setenv("PATH", path(env))
			return os.Mkdir(env.WorkDir+"/home", 0o700)
		},
		Cmds: commands,
	})
}

// TestRealServer runs the program against a server in dev mode, with a PostgreSQL server to hand out users of. Where a
// script starts a server of its own, it leaves the other one alone.
func TestRealServer(t *testing.T) {
	t.Parallel()
	db := testdb.Postgres(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/real",
		Setup: func(env *testscript.Env) error {
			address, err := startServer(env)
			if err != nil {
				return err
			}
			host, port, err := net.SplitHostPort(db.Addr)
			if err != nil {
				return err
			}
			env.Values["database"] = db
			for name, value := range map[string]string{
				"HOME": env.WorkDir + "/home", "VAULT_ADDR": "http://" + address, "VAULT_TOKEN": devRoot, "VAULT_MAX_RETRIES": "0",
				"PATH": path(env), "PG_ADDR": db.Addr, "PG_USER": db.User, "PG_PASSWORD": db.Password, "PG_DATABASE": db.Database,
				"PG_HOST": host, "PG_PORT": port, "GROUP": "group_" + strings.ToLower(secret.Random(secret.Base62, 12).Reveal()),
			} {
				env.Setenv(name, value)
			}
			return os.Mkdir(env.WorkDir+"/home", 0o700)
		},
		Cmds: commands,
	})
}

const devRoot = "canary-root-token"

// startServer runs a server in dev mode until the script's end and returns its address.
func startServer(env *testscript.Env) (string, error) {
	var said bytes.Buffer
	s, err := server.New(context.Background(), server.Options{
		Dev: true, DevListenAddress: "127.0.0.1:0", DevRootTokenID: devRoot, Version: "1.2.3",
		Getenv: func(string) string { return "" }, Stdout: io.Discard, Stderr: &said,
	})
	if err != nil {
		return "", err
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx) }()
	env.Defer(func() {
		stop()
		if err := <-ended; err != nil {
			env.T().Log("server: ", err)
		}
		if strings.Contains(said.String(), "canary") {
			env.T().Fatal("a secret in the log:\n", said.String())
		}
	})
	return s.Addr(0).String(), nil
}

var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// run CODE PROGRAM ARG... wants that exit code, and no secret on stderr.
	"run": func(ts *testscript.TestScript, _ bool, args []string) {
		if len(args) < 2 {
			ts.Fatalf("usage: run code program arg...")
		}
		want, err := strconv.Atoi(args[0])
		ts.Check(err)
		got := 0
		if err := ts.Exec(args[1], args[2:]...); err != nil {
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				ts.Fatalf("%s: %s", args[1], err)
			}
			got = exit.ExitCode()
		}
		if got != want {
			ts.Fatalf("exit code %d, want %d", got, want)
		}
		if strings.Contains(ts.ReadFile("stderr"), "canary") {
			ts.Fatalf("a secret on stderr:\n%s", ts.ReadFile("stderr"))
		}
	},
	// answer METHOD PATH STATUS [FILE] is what the server says to that request; PATH has no /v1/ and no parameters.
	// Several answers to the same request are given in turn, the last one from then on.
	"answer": func(ts *testscript.TestScript, _ bool, args []string) {
		if len(args) < 3 || len(args) > 4 {
			ts.Fatalf("usage: answer method path status [file]")
		}
		status, err := strconv.Atoi(args[2])
		ts.Check(err)
		body := ""
		if len(args) == 4 {
			body = ts.ReadFile(args[3])
		}
		serverOf(ts).answer(args[0], args[1], status, body)
	},
	// requests FILE compares the requests since the last time with FILE: a line each, method, path, body, and
	// after it, indented, the headers that start with X-Vault- and the content type. X-Vault-Request is left out.
	"requests": func(ts *testscript.TestScript, _ bool, args []string) {
		if len(args) != 1 {
			ts.Fatalf("usage: requests file")
		}
		if got, want := serverOf(ts).take(), ts.ReadFile(args[0]); got != want {
			ts.Fatalf("requests:\n%s\nwant:\n%s", got, want)
		}
	},
	// psql FILE runs SQL in the database as its administrator.
	"psql": func(ts *testscript.TestScript, _ bool, args []string) {
		c, err := ts.Value("database").(*testdb.Server).Connect(context.Background())
		ts.Check(err)
		defer func() { _ = c.Close(context.Background()) }()
		_, err = c.Exec(context.Background(), ts.ReadFile(args[0]))
		ts.Check(err)
	},
	// login FILE logs in by the URL in the file.
	"login": func(ts *testscript.TestScript, neg bool, args []string) {
		c, err := pgx.Connect(context.Background(), strings.TrimSpace(ts.ReadFile(args[0])))
		if err == nil {
			_ = c.Close(context.Background())
		}
		if (err != nil) != neg {
			ts.Fatalf("log in: %v", err)
		}
	},
	// forget drops the requests so far.
	"forget": func(ts *testscript.TestScript, _ bool, _ []string) { serverOf(ts).take() },
}

func serverOf(ts *testscript.TestScript) *recorder { return ts.Value("server").(*recorder) }

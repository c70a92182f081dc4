package cli_test

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"leasehold/cli"
)

func TestMain(m *testing.M) {
	program := func() { os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
	testscript.Main(m, map[string]func(){"leasehold": program, "vault": program})
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
			return os.Mkdir(env.WorkDir+"/home", 0o700)
		},
		Cmds: commands,
	})
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
	// forget drops the requests so far.
	"forget": func(ts *testscript.TestScript, _ bool, _ []string) { serverOf(ts).take() },
}

func serverOf(ts *testscript.TestScript) *recorder { return ts.Value("server").(*recorder) }

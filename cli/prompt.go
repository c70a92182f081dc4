package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"leasehold/internal/secret"
)

// askSecret reads a secret: from a terminal without showing it, else the first line of stdin.
func (e *env) askSecret(label string) (secret.Text, error) {
	line, err := e.ask(label+" (will be hidden): ", func(f *os.File) (string, error) {
		text, err := term.ReadPassword(int(f.Fd()))
		_, _ = fmt.Fprintln(e.stderr)
		return string(text), err
	})
	if err == nil && line == "" {
		return secret.Text{}, mistake("no %s given", strings.ToLower(label))
	}
	return secret.NewText(line), err
}

// askText reads a line that may be seen.
func (e *env) askText(label string) (string, error) {
	return e.ask(label+": ", func(f *os.File) (string, error) { return firstLine(f) })
}

// ask prompts on stderr, so that stdout holds the answer of the command alone.
func (e *env) ask(prompt string, fromTerminal func(*os.File) (string, error)) (string, error) {
	if e.flags.nonInteractive {
		return "", mistake("%sinput is needed, and -non-interactive forbids to ask", prompt)
	}
	var line string
	var err error
	if isTerminal(e.stdin) {
		_, _ = fmt.Fprint(e.stderr, prompt)
		line, err = fromTerminal(e.stdin.(*os.File))
	} else {
		line, err = firstLine(e.stdin)
	}
	if err != nil {
		return "", mistake("%s%s", prompt, err)
	}
	return strings.TrimSpace(line), nil
}

func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(r).ReadString('\n')
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return line, err
}

// confirm says what is about to be destroyed and has its name typed back. Scripts are not asked: it needs a terminal.
func (e *env) confirm(what, name string) error {
	if e.flags.nonInteractive || e.flags.outputCurl || e.flags.showPolicy || !isTerminal(e.stdin) {
		return nil
	}
	_, _ = fmt.Fprintln(e.stderr, what)
	typed, err := e.askText("Type " + name + " to go on")
	if err != nil {
		return err
	}
	if typed != name {
		return mistake("Nothing was done: the name was not typed back")
	}
	return nil
}

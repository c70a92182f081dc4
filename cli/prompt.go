package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"leasehold/internal/secret"
)

// askSecret reads a secret: from a terminal without showing it, else the first line of stdin.
func (e *env) askSecret(ctx context.Context, label string) (secret.Text, error) {
	line, err := e.ask(ctx, label+" (will be hidden): ", func(f *os.File) (string, error) {
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
func (e *env) askText(ctx context.Context, label string) (string, error) {
	return e.ask(ctx, label+": ", func(f *os.File) (string, error) { return firstLine(f) })
}

// guided reports whether a person is there to be asked for what flags did not say.
func (e *env) guided() bool { return isTerminal(e.stdin) && !e.flags.nonInteractive && !e.dryRun() }

// orAsk asks for a value that was not given. Nothing typed, or nobody there, stands for the usual one; without one, a value is needed.
func (e *env) orAsk(ctx context.Context, given, flag, label, usual string) (string, error) {
	if given != "" {
		return given, nil
	}
	if e.guided() {
		if usual != "" {
			label += " [" + usual + "]"
		}
		var err error
		if given, err = e.askText(ctx, label); err != nil {
			return "", err
		}
	}
	if given == "" {
		given = usual
	}
	if given == "" {
		return "", mistake("-%s is needed", flag)
	}
	return given, nil
}

// askYes asks a person; usual is the answer when nothing is typed, or nobody is there.
func (e *env) askYes(ctx context.Context, question string, usual bool) (bool, error) {
	if !e.guided() {
		return usual, nil
	}
	choice := " [y/N]"
	if usual {
		choice = " [Y/n]"
	}
	answer, err := e.askText(ctx, question+choice)
	if err != nil || answer == "" {
		return usual, err
	}
	return strings.EqualFold(answer, "y") || strings.EqualFold(answer, "yes"), nil
}

// ask prompts on stderr, so that stdout holds the answer of the command alone.
func (e *env) ask(ctx context.Context, prompt string, fromTerminal func(*os.File) (string, error)) (string, error) {
	if e.flags.nonInteractive {
		return "", mistake("%sinput is needed, and -non-interactive forbids to ask", prompt)
	}
	var line string
	var err error
	if isTerminal(e.stdin) {
		_, _ = fmt.Fprint(e.stderr, prompt)
		if line, err = interruptibly(ctx, e.stdin.(*os.File), fromTerminal); err != nil {
			_, _ = fmt.Fprintln(e.stderr) // the prompt's line is not ended
		}
	} else {
		line, err = firstLine(e.stdin)
	}
	if err != nil {
		return "", mistake("Nothing was read: %s", err)
	}
	return strings.TrimSpace(line), nil
}

// interruptibly reads from a terminal until ctx ends, and then puts the terminal back as it was: it may show nothing of
// what is typed. The reader cannot be woken, so it is left behind; the process is about to end.
func interruptibly(ctx context.Context, f *os.File, read func(*os.File) (string, error)) (string, error) {
	before, err := term.GetState(int(f.Fd()))
	if err != nil {
		return "", err
	}
	type result struct {
		line string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		line, err := read(f)
		done <- result{line, err}
	}()
	select {
	case r := <-done:
		return r.line, r.err
	case <-ctx.Done():
		return "", errors.Join(errors.New("interrupted"), term.Restore(int(f.Fd()), before))
	}
}

func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(r).ReadString('\n')
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return line, err
}

// confirm says what is about to be destroyed and has its name typed back. Scripts are not asked: it needs a terminal.
func (e *env) confirm(ctx context.Context, what, name string) error {
	if e.flags.nonInteractive || e.flags.outputCurl || e.flags.showPolicy || !isTerminal(e.stdin) {
		return nil
	}
	_, _ = fmt.Fprintln(e.stderr, what)
	typed, err := e.askText(ctx, "Type "+name+" to go on")
	if err != nil {
		return err
	}
	if typed != name {
		return mistake("Nothing was done: the name was not typed back")
	}
	return nil
}

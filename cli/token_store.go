package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl"

	"leasehold/internal/secret"
)

// tokenStore keeps the token between commands.
type tokenStore interface {
	read() (secret.Text, error) // empty: there is none
	write(secret.Text) error
}

// readToken is the environment's token, or else the stored one.
func (e *env) readToken() (secret.Text, error) {
	if v := e.variable("TOKEN"); v != "" {
		return secret.NewText(v), nil
	}
	store, err := e.tokens()
	if err != nil {
		return secret.Text{}, err
	}
	return store.read()
}

// tokens is the store that the client's configuration file names: a helper program, or else a file.
func (e *env) tokens() (tokenStore, error) {
	helper, err := e.tokenHelper()
	if err != nil {
		return nil, err
	}
	if helper != "" {
		return helperProgram(helper), nil
	}
	if path := e.variable("TOKEN_PATH"); path != "" {
		return tokenFile(path), nil
	}
	path, err := e.inHome(".vault-token")
	if err != nil {
		return nil, mistake("find the token file: %s", err)
	}
	return tokenFile(path), nil
}

// tokenHelper reads token_helper from the client's configuration file: VAULT_CONFIG_PATH, or ~/.vault.
func (e *env) tokenHelper() (string, error) {
	path := e.variable("CONFIG_PATH")
	if path == "" {
		var err error
		if path, err = e.inHome(".vault"); err != nil {
			return "", mistake("find the configuration file: %s", err)
		}
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", mistake("read the client's configuration: %s", err)
	}
	var config struct {
		TokenHelper string `hcl:"token_helper"`
	}
	if err := hcl.Decode(&config, string(text)); err != nil {
		return "", mistake("read the client's configuration: %s: %s", path, err)
	}
	if config.TokenHelper != "" && !filepath.IsAbs(config.TokenHelper) {
		return "", mistake("%s: token_helper must be an absolute path", path)
	}
	return config.TokenHelper, nil
}

// tokenFile is a file that holds nothing but the token, readable by its owner alone.
type tokenFile string

func (f tokenFile) read() (secret.Text, error) {
	text, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return secret.Text{}, nil
	}
	if err != nil {
		return secret.Text{}, mistake("read the token file: %s", err)
	}
	return secret.NewText(strings.TrimSpace(string(text))), nil
}

// write replaces the file by renaming, which also leaves the old file's mode behind.
func (f tokenFile) write(token secret.Text) error {
	if err := replaceFile(string(f), []byte(token.Reveal()), 0o600); err != nil {
		return mistake("store the token: %s", err)
	}
	return nil
}

// helperProgram is run with "get" (the token comes on its stdout) or "store" (it goes to its stdin).
type helperProgram string

func (h helperProgram) read() (secret.Text, error) {
	out, err := h.run("get", nil)
	return secret.NewText(strings.TrimSpace(string(out))), err
}

func (h helperProgram) write(token secret.Text) error {
	_, err := h.run("store", []byte(token.Reveal()))
	return err
}

func (h helperProgram) run(verb string, stdin []byte) ([]byte, error) {
	cmd := exec.Command(string(h), verb) // #nosec G204 -- the user's own configuration names it
	cmd.Stdin = bytes.NewReader(stdin)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, mistake("token helper %s %s: %s", h, verb, fmt.Sprintf("%s %s", err, strings.TrimSpace(said.String())))
	}
	return out, nil
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"leasehold/client"
	"leasehold/internal/secret"
)

// env is what a command may touch.
type env struct {
	program        string // as it was called, for hints
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	flags          clientFlags

	stdinTaken  bool           // stdin was read as a value: there is nothing left for a second one
	token       secret.Text    // what the client sends, once it is made or chosen
	tokenChosen bool           // the command chose token: the environment's and the stored one do not matter
	client      *client.Client // made by the first call
}

// clientFlags are the flags that every client command takes. Empty: the environment decides.
type clientFlags struct {
	address, agentAddress  string
	caCert, caPath         string
	clientCert, clientKey  string
	tlsServerName          string
	tlsSkipVerify          bool
	namespace              string
	wrapTTL                string
	mfa                    []string
	header                 []string // NAME=VALUE
	policyOverride         bool
	nonInteractive         bool
	disableRedirects       bool
	format, field          string
	detailed               bool
	outputCurl, showPolicy bool
}

// variable is the value of LEASEHOLD_name, or else of VAULT_name. An empty one counts as not set.
func (e *env) variable(name string) string {
	if v := e.getenv("LEASEHOLD_" + name); v != "" {
		return v
	}
	return e.getenv("VAULT_" + name)
}

// flagOr is the flag's value, or else the variable's.
func (e *env) flagOr(flag, name string) string {
	if flag != "" {
		return flag
	}
	return e.variable(name)
}

// switchOr is true when the flag is, or else what the variable says.
func (e *env) switchOr(flag bool, name string) (bool, error) {
	v := e.variable(name)
	if flag || v == "" {
		return flag, nil
	}
	on, err := strconv.ParseBool(v)
	if err != nil {
		return false, mistake("VAULT_%s: not a boolean: %q", name, v)
	}
	return on, nil
}

// address is the server's address as flags and environment give it.
func (e *env) address() string {
	for _, v := range []string{e.flags.agentAddress, e.flags.address, e.variable("AGENT_ADDR"), e.variable("ADDR")} {
		if v != "" {
			return v
		}
	}
	return client.DefaultAddress
}

// api is the client that flags and environment describe.
func (e *env) api() (*client.Client, error) {
	if e.client != nil {
		return e.client, nil
	}
	cfg := client.Config{
		Address:   e.address(),
		Namespace: e.flagOr(e.flags.namespace, "NAMESPACE"),
		WrapTTL:   e.flagOr(e.flags.wrapTTL, "WRAP_TTL"),
		ProxyURL:  e.variable("PROXY_ADDR"),
		TLS: client.TLS{
			CACert:     e.flagOr(e.flags.caCert, "CACERT"),
			CAPath:     e.flagOr(e.flags.caPath, "CAPATH"),
			ClientCert: e.flagOr(e.flags.clientCert, "CLIENT_CERT"),
			ClientKey:  e.flagOr(e.flags.clientKey, "CLIENT_KEY"),
			ServerName: e.flagOr(e.flags.tlsServerName, "TLS_SERVER_NAME"),
		},
	}
	if cfg.ProxyURL == "" {
		cfg.ProxyURL = e.variable("HTTP_PROXY")
	}
	if e.flags.caCert == "" {
		cfg.TLS.CACertPEM = e.variable("CACERT_BYTES")
	}
	var err error
	if cfg.TLS.SkipVerify, err = e.switchOr(e.flags.tlsSkipVerify, "SKIP_VERIFY"); err != nil {
		return nil, err
	}
	if cfg.RefuseRedirects, err = e.switchOr(e.flags.disableRedirects, "DISABLE_REDIRECTS"); err != nil {
		return nil, err
	}
	if cfg.Header, err = e.headers(); err != nil {
		return nil, err
	}
	if v := e.variable("CLIENT_TIMEOUT"); v != "" {
		if cfg.Timeout, err = parseDuration(v); err != nil {
			return nil, mistake("VAULT_CLIENT_TIMEOUT: %s", err)
		}
	}
	if v := e.variable("MAX_RETRIES"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return nil, mistake("VAULT_MAX_RETRIES: not a number: %q", v)
		}
		if cfg.MaxRetries = n; n == 0 {
			cfg.MaxRetries = -1
		}
	}
	if v := e.variable("RATE_LIMIT"); v != "" {
		if cfg.Rate, cfg.Burst, err = parseRate(v); err != nil {
			return nil, err
		}
	}
	if !e.tokenChosen {
		if e.token, err = e.readToken(); err != nil {
			return nil, err
		}
	}
	cfg.Token = e.token
	c, err := client.New(cfg)
	if err != nil {
		return nil, mistake("%s", err)
	}
	e.client = c
	return c, nil
}

// useToken makes the command's further calls with this token. The stored one need not even be readable.
func (e *env) useToken(token secret.Text) {
	e.token, e.tokenChosen = token, true
	if e.client != nil {
		e.client = e.client.WithToken(token)
	}
}

// headers are the further headers of every request.
func (e *env) headers() (http.Header, error) {
	h := http.Header{}
	for _, pair := range e.flags.header {
		name, value, ok := strings.Cut(pair, "=")
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		switch {
		case !ok || name == "":
			return nil, mistake("-header: want NAME=VALUE")
		case strings.HasPrefix(name, "X-Vault-"):
			return nil, refused("-header: names that start with X-Vault- are reserved: %s", name)
		}
		h.Add(name, strings.TrimSpace(value))
	}
	mfa := e.flags.mfa
	if v := e.variable("MFA"); len(mfa) == 0 && v != "" {
		mfa = []string{v}
	}
	for _, v := range mfa {
		h.Add("X-Vault-Mfa", v)
	}
	if e.flags.policyOverride {
		h.Set("X-Vault-Policy-Override", "true")
	}
	return h, nil
}

// call sends one request. Every command's requests pass here, so that -output-curl-string and -output-policy can show
// the first one instead.
func (e *env) call(ctx context.Context, method, path string, body any) (*client.Response, error) {
	return e.send(ctx, client.Request{Method: method, Path: path, Body: body})
}

func (e *env) send(ctx context.Context, r client.Request) (*client.Response, error) {
	c, err := e.api()
	if err != nil {
		return nil, err
	}
	switch {
	case e.flags.outputCurl:
		return nil, e.showCurl(ctx, c, r)
	case e.flags.showPolicy:
		return nil, e.showPolicy(r)
	}
	return c.Send(ctx, r)
}

// query is the values of k=v pairs as parameters of a read.
func query(data map[string]any) url.Values {
	q := url.Values{}
	for name, value := range data {
		if list, ok := value.([]any); ok {
			for _, v := range list {
				q.Add(name, fmt.Sprint(v))
			}
			continue
		}
		q.Set(name, fmt.Sprint(value))
	}
	return q
}

// isTerminal reports whether a stream is a person's.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// home is the user's home directory.
func (e *env) home() (string, error) {
	if dir := e.getenv("HOME"); dir != "" {
		return dir, nil
	}
	return "", errors.New("HOME is not set")
}

func (e *env) inHome(name string) (string, error) {
	dir, err := e.home()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, name), nil
}

// parseDuration reads a duration as the API does: whole seconds, Go's form, or whole days.
func parseDuration(text string) (time.Duration, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseInt(days, 10, 32); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("not a duration: %q", text)
	}
	return d, nil
}

// parseRate reads RATE[:BURST], requests a second.
func parseRate(text string) (perSecond float64, burst int, err error) {
	first, second, both := strings.Cut(text, ":")
	perSecond, err = strconv.ParseFloat(first, 64)
	if err == nil && both {
		burst, err = strconv.Atoi(second)
	}
	if err != nil || perSecond <= 0 || burst < 0 {
		return 0, 0, mistake("VAULT_RATE_LIMIT: want RATE[:BURST], not %q", text)
	}
	return perSecond, burst, nil
}

package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"leasehold/client"
)

// dryRun says that requests are shown and not sent.
func (e *env) dryRun() bool { return e.flags.outputCurl || e.flags.showPolicy }

// showCurl prints the curl command that equals r, and ends the command. The token is not in it: the shell asks for it.
func (e *env) showCurl(ctx context.Context, c *client.Client, r client.Request) error {
	req, err := c.Prepare(ctx, r)
	if err != nil {
		return err
	}
	parts := []string{"curl"}
	if req.Method != http.MethodGet {
		parts = append(parts, "-X", req.Method)
	}
	if socket, ok := strings.CutPrefix(e.address(), "unix://"); ok {
		parts = append(parts, "--unix-socket", shellQuote(socket))
	}
	if skip, err := e.switchOr(e.flags.tlsSkipVerify, "SKIP_VERIFY"); err == nil && skip {
		parts = append(parts, "--insecure")
	}
	for _, option := range []struct{ flag, value string }{
		{"--cacert", e.flagOr(e.flags.caCert, "CACERT")},
		{"--capath", e.flagOr(e.flags.caPath, "CAPATH")},
		{"--cert", e.flagOr(e.flags.clientCert, "CLIENT_CERT")},
		{"--key", e.flagOr(e.flags.clientKey, "CLIENT_KEY")},
	} {
		if option.value != "" {
			parts = append(parts, option.flag, shellQuote(option.value))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(req.Header)) {
		for _, value := range req.Header[name] {
			if name == "X-Vault-Token" {
				parts = append(parts, "-H", fmt.Sprintf(`"%s: $(%s print token)"`, name, e.program))
				continue
			}
			parts = append(parts, "-H", shellQuote(name+": "+value))
		}
	}
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return err
		}
		parts = append(parts, "-d", shellQuote(string(body)))
	}
	parts = append(parts, shellQuote(req.URL.String()))
	if err := e.print(strings.Join(parts, " ") + "\n"); err != nil {
		return err
	}
	return errNothingSent
}

// shellQuote makes text one word of a POSIX shell.
func shellQuote(text string) string {
	plain := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:=@%+,", r))
	}
	if text != "" && strings.IndexFunc(text, plain) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// showPolicy prints a policy that allows r, and ends the command.
func (e *env) showPolicy(r client.Request) error {
	path := r.Path
	if ns := strings.Trim(e.flagOr(e.flags.namespace, "NAMESPACE"), "/"); ns != "" {
		path = ns + "/" + path
	}
	capabilities := map[string][]string{
		http.MethodGet:    {"read"},
		"LIST":            {"list"},
		http.MethodPut:    {"create", "update"},
		http.MethodDelete: {"delete"},
		http.MethodPatch:  {"patch"},
	}[r.Method]
	if needsSudo(r.Method, r.Path) {
		capabilities = append(capabilities, "sudo")
	}
	if err := e.print(fmt.Sprintf("path %q {\n  capabilities = [\"%s\"]\n}\n", path, strings.Join(capabilities, `", "`))); err != nil {
		return err
	}
	return errNothingSent
}

// needsSudo knows the paths that want the sudo capability besides the ordinary one.
//
// Source: public reference of policies, "Root protected API endpoints".
func needsSudo(method, path string) bool {
	switch path {
	case "auth/token/accessors", "auth/token/revoke-orphan", "sys/audit", "sys/config/cors", "sys/leases", "sys/raw",
		"sys/remount", "sys/rotate", "sys/seal", "sys/step-down":
		return true
	}
	if strings.HasPrefix(path, "sys/leases/lookup") {
		return method == "LIST"
	}
	for _, prefix := range []string{"sys/audit/", "sys/auth/", "sys/config/auditing/", "sys/config/ui/headers/",
		"sys/leases/revoke-prefix/", "sys/leases/revoke-force/", "sys/raw/", "sys/rotate/", "sys/plugins/catalog/",
		"sys/internal/inspect/"} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

package transit_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"leasehold/internal/secret"
	"leasehold/server/servertest"
	"leasehold/store/seal/transit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var plain = bytes.Repeat([]byte{7, 200}, 16)

// helper is a server with a transit engine and a token for its key.
func helper(t *testing.T, ttl string) (s *servertest.Server, token string) {
	t.Helper()
	s = servertest.Start(t, servertest.Options{InMemory: true})
	s.Root(t, http.MethodPut, "sys/mounts/keys/transit", map[string]any{"type": "transit"})
	s.Root(t, http.MethodPut, "keys/transit/keys/store", map[string]any{})
	s.Root(t, http.MethodPut, "sys/policies/acl/seal", map[string]any{"policy": `
		path "keys/transit/encrypt/store" { capabilities = ["update"] }
		path "keys/transit/decrypt/store" { capabilities = ["update"] }`})
	answer := s.Root(t, http.MethodPut, "auth/token/create-orphan", map[string]any{"policies": []string{"seal"}, "period": ttl})
	token, _ = answer["auth"].(map[string]any)["client_token"].(string)
	return s, token
}

func config(address, token string) transit.Config {
	return transit.Config{
		Address: address, Token: secret.NewText(token), KeyName: "store", MountPath: "keys/transit/", Log: slog.New(slog.DiscardHandler),
	}
}

func mustNew(t *testing.T, cfg transit.Config) *transit.Seal {
	t.Helper()
	s, err := transit.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestWrapAndUnwrap(t *testing.T) {
	t.Parallel()
	server, token := helper(t, "1h")
	s := mustNew(t, config(server.URL, token))
	wrapped, err := s.Wrap(t.Context(), plain)
	if err != nil {
		t.Fatal(err)
	}
	stale := func(want bool) {
		t.Helper()
		if got, err := s.Stale(t.Context(), wrapped); got != want || err != nil {
			t.Errorf("stale is %v, %v", got, err)
		}
		if got, err := s.Unwrap(t.Context(), wrapped); !bytes.Equal(got, plain) || err != nil {
			t.Errorf("got %x, %v", got, err)
		}
	}
	stale(false)
	server.Root(t, http.MethodPut, "keys/transit/keys/store/rotate", nil)
	stale(true)
	if wrapped, err = s.Wrap(t.Context(), plain); err != nil {
		t.Fatal(err)
	}
	stale(false)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	server, token := helper(t, "1h")
	wrapped, err := mustNew(t, config(server.URL, token)).Wrap(t.Context(), plain)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(change func(*transit.Config)) transit.Config {
		cfg := config(server.URL, token)
		change(&cfg)
		return cfg
	}
	for name, test := range map[string]struct {
		cfg     transit.Config
		wrapped []byte
		want    string
	}{
		"wrong token":    {edit(func(c *transit.Config) { c.Token = secret.NewText("hvs.canary") }), wrapped, "permission denied"},
		"another key":    {edit(func(c *transit.Config) { c.KeyName = "other" }), wrapped, "permission denied"},
		"another mount":  {edit(func(c *transit.Config) { c.MountPath = "secret" }), wrapped, "permission denied"},
		"edited":         {edit(func(*transit.Config) {}), append(wrapped[:len(wrapped)-2:len(wrapped)-2], 'A', 'A'), "status 400"},
		"nothing wraped": {edit(func(*transit.Config) {}), nil, "status 400"},
		"nobody there":   {edit(func(c *transit.Config) { c.Address = "http://127.0.0.1:1" }), wrapped, "connection refused"},
	} {
		_, err := mustNew(t, test.cfg).Unwrap(t.Context(), test.wrapped)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	for name, cfg := range map[string]transit.Config{
		"address":    edit(func(c *transit.Config) { c.Address = "" }),
		"token":      edit(func(c *transit.Config) { c.Token = secret.Text{} }),
		"key_name":   edit(func(c *transit.Config) { c.KeyName = "" }),
		"mount_path": edit(func(c *transit.Config) { c.MountPath = "/" }),
		"CA":         edit(func(c *transit.Config) { c.CACertFile = "/none/ca.pem" }),
	} {
		if _, err := transit.New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Another server may say anything: what it should not, is not repeated.
func TestWhatAServerMaySay(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]struct {
		status int
		body   func(sent string) string
	}{
		"repeats the request": {http.StatusBadRequest, func(sent string) string {
			return `{"errors":["cannot read ` + strings.ReplaceAll(sent, `"`, `'`) + `"]}`
		}},
		"repeats the token": {http.StatusForbidden, func(string) string { return `{"errors":["hvs.canary is not known"]}` }},
		"a proxy's page":    {http.StatusBadGateway, func(sent string) string { return "<html>" + sent }},
		"no JSON":           {http.StatusOK, func(sent string) string { return sent[1:] }},
		"no envelope":       {http.StatusOK, func(sent string) string { return "[" + sent + "]" }},
		"another type":      {http.StatusOK, func(string) string { return `{"request_id":"1","data":{"ciphertext":7,"plaintext":7}}` }},
		"nothing":           {http.StatusOK, func(string) string { return `{"request_id":"1","data":{}}` }},
		"no answer":         {http.StatusNoContent, func(string) string { return "" }},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sent, _ := io.ReadAll(r.Body)
			w.WriteHeader(answer.status)
			_, _ = io.WriteString(w, answer.body(string(sent)))
		}))
		s := mustNew(t, config(server.URL, "hvs.canary"))
		_, wrapErr := s.Wrap(t.Context(), plain)
		if wrapErr == nil {
			t.Errorf("%s: Wrap succeeded", name)
		}
		got, err := s.Unwrap(t.Context(), []byte("vault:v1:canary"))
		if err == nil && len(got) > 0 {
			t.Errorf("%s: Unwrap gave %x", name, got)
		}
		for _, said := range []error{wrapErr, err} {
			for _, hidden := range []string{"hvs.canary", "B8gHyAfIB8g"} { // the start of the plaintext in base64
				if said != nil && strings.Contains(said.Error(), hidden) {
					t.Errorf("%s: the error holds a secret: %v", name, said)
				}
			}
		}
		server.Close()
	}
}

func TestTheTokenIsRenewed(t *testing.T) {
	t.Parallel()
	server, token := helper(t, "1h")
	end := func() string {
		data, _ := server.Must(t, http.MethodGet, "auth/token/lookup-self", token, nil)["data"].(map[string]any)
		at, _ := data["expire_time"].(string)
		return at
	}
	before := end()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		mustNew(t, config(server.URL, token)).Run(ctx)
		close(ended)
	}()
	for end() == before { // until it was renewed, or the test's time is over
		<-time.After(5 * time.Millisecond)
	}
	stop()
	<-ended
}

// Run ends by itself where there is nothing to renew, or somebody else does it.
func TestTokensThatAreLeftAlone(t *testing.T) {
	t.Parallel()
	server, token := helper(t, "1h")
	outside := config(server.URL, token)
	outside.RenewedOutside = true
	mustNew(t, outside).Run(t.Context())

	said := &servertest.Log{}
	root := config(server.URL, server.RootToken)
	root.Log = slog.New(slog.NewTextHandler(said, nil))
	mustNew(t, root).Run(t.Context())
	if text := said.String(); !strings.Contains(text, "is not renewed") && !strings.Contains(text, "cannot be renewed") || strings.Contains(text, server.RootToken) {
		t.Errorf("logged: %s", text)
	}
}

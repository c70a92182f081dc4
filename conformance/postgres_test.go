package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"testing"

	"leasehold/internal/testdb"
)

// everyFlow is which of the passing flows run on PostgreSQL: the first of each so many. LEASEHOLD_EVERY_FLOW sets another
// number; `make soak` asks for all of them.
const everyFlow = 24

// TestRecordingsOnPostgreSQL replays flows with a PostgreSQL database in place of their own storage. Whatever passes on an
// embedded store passes there.
func TestRecordingsOnPostgreSQL(t *testing.T) {
	t.Parallel()
	every := everyFlow
	if text := os.Getenv("LEASEHOLD_EVERY_FLOW"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("LEASEHOLD_EVERY_FLOW: %q is no positive number", text)
		}
		every = n
	}
	flows, err := loadFlows("../testdata/wire")
	if err != nil {
		t.Fatal(err)
	}
	listed := readList(t)
	store := testdb.Postgres(t, testdb.Durable())
	passing := 0
	for _, f := range flows {
		if !listed[f.Name] {
			continue
		}
		if passing++; passing%every != 0 {
			continue
		}
		for i := range f.Lines {
			f.Lines[i].onSharedStorage()
		}
		t.Run(f.Area+"/"+f.Name, func(t *testing.T) {
			t.Parallel()
			report(t, replayWithNeeds(t, f, store.Scratch(t).URL()), true)
		})
	}
}

// onSharedStorage changes the little that an answer says of the storage itself.
func (l *line) onSharedStorage() {
	if l.Response != nil {
		rename(l.Response.Body)
	}
}

func rename(body any) {
	switch body := body.(type) {
	case map[string]any:
		for name, value := range body {
			switch name {
			case "storage_type":
				body[name] = "postgresql"
			case "ha_enabled":
				body[name] = true
			}
			rename(value)
		}
	case []any:
		for _, value := range body {
			rename(value)
		}
	}
}

// openAsDev makes of a server on a database what a dev server is: open, with a root token of a known name and a key/value
// mount. A server that was started again is opened.
func (p *process) openAsDev() error {
	if p.unsealKey != "" {
		_, err := p.ask(http.MethodPut, "sys/unseal", "", map[string]any{"key": p.unsealKey})
		return err
	}
	made, err := p.ask(http.MethodPut, "sys/init", "", map[string]any{"secret_shares": 1, "secret_threshold": 1})
	if err != nil {
		return err
	}
	keys, _ := made["keys"].([]any)
	first, _ := made["root_token"].(string)
	if len(keys) != 1 {
		return fmt.Errorf("init gave %d keys", len(keys))
	}
	p.unsealKey, _ = keys[0].(string)
	for _, step := range []struct {
		method, path, token string
		body                map[string]any
	}{
		{http.MethodPut, "sys/unseal", "", map[string]any{"key": p.unsealKey}},
		{http.MethodPost, "auth/token/create", first, map[string]any{"id": rootToken, "policies": []string{"root"}, "no_parent": true}},
		{http.MethodPost, "sys/mounts/secret", rootToken, map[string]any{
			"type": "kv", "description": "key/value secret storage", "options": map[string]string{"version": "2"},
		}},
		{http.MethodPost, "auth/token/revoke-self", first, nil},
	} {
		if _, err := p.ask(step.method, step.path, step.token, step.body); err != nil {
			return err
		}
	}
	return nil
}

// ask sends a request that is no part of the flow.
func (p *process) ask(method, path, token string, body map[string]any) (map[string]any, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s /v1/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Vault-Token: %s\r\nContent-Length: %d\r\n\r\n%s",
		method, path, token, len(data), data)
	got, err := roundTrip(p.addr, method, out.Bytes())
	if err != nil {
		return nil, err
	}
	if got.status >= 300 {
		return nil, fmt.Errorf("%s %s: status %d %s", method, path, got.status, got.raw)
	}
	answer, _ := got.body.(map[string]any)
	return answer, nil
}

package crash

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/vault/api"

	"leasehold/internal/failpoint"
	"leasehold/internal/testdb"
	"leasehold/server/proctest"
)

// sealed is a server whose seal blocks change between its starts.
type sealed struct {
	*proctest.Server
	t      *testing.T
	base   string   // the configuration without seal blocks
	shares []string // unseal or recovery shares, as init gave them
}

// staticKey is a key that must be found nowhere but in the environment.
const staticKey = "canary-0123456789-abcdefghijklmn"

// Seal blocks. The keys stand in the environment and in a file.
const (
	inForce = `seal "static" {
  current_key_id = "1"
  current_key    = "env://STATIC_KEY"
}
`
	disabled = `seal "static" {
  disabled       = "true"
  current_key_id = "1"
  current_key    = "env://STATIC_KEY"
}
`
)

func newSealed(t *testing.T, storage string) *sealed {
	t.Helper()
	s := &sealed{t: t}
	if storage == "" {
		s.Server = proctest.New(t, binary, "")
	} else {
		s.Server = proctest.NewOn(t, binary, storage, "")
	}
	text, err := os.ReadFile(s.config())
	s.must(err)
	s.base = string(text)
	return s
}

func (s *sealed) config() string { return filepath.Join(s.Dir, "config.hcl") }

func (s *sealed) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// start runs the server with the given seal blocks.
func (s *sealed) start(blocks string, env ...string) {
	s.t.Helper()
	s.must(os.WriteFile(s.config(), []byte(s.base+blocks), 0o600))
	s.must(s.Start(append(env, "STATIC_KEY="+staticKey)...))
}

// client is the server as a client that people use sees it.
func (s *sealed) client() *api.Client {
	s.t.Helper()
	cfg := api.DefaultConfig()
	cfg.Address, cfg.MaxRetries = s.URL(), 0
	c, err := api.NewClient(cfg)
	s.must(err)
	c.SetToken(s.RootToken)
	return c
}

// init initialises the store. Where its seal opens it, the shares are recovery shares, and it is open.
func (s *sealed) init(recovery bool) {
	s.t.Helper()
	request := &api.InitRequest{SecretShares: 3, SecretThreshold: 2}
	if recovery {
		request = &api.InitRequest{RecoveryShares: 3, RecoveryThreshold: 2}
	}
	answer, err := s.client().Sys().Init(request)
	s.must(err)
	s.RootToken, s.shares = answer.RootToken, append(answer.KeysB64, answer.RecoveryKeysB64...)
	if len(s.shares) != 3 || recovery != (len(answer.KeysB64) == 0) {
		s.t.Fatalf("init gave %d unseal and %d recovery shares", len(answer.KeysB64), len(answer.RecoveryKeysB64))
	}
	if status := s.status(); status.Sealed == recovery {
		s.t.Fatalf("after init: %+v", status)
	}
}

func (s *sealed) status() *api.SealStatusResponse {
	s.t.Helper()
	status, err := s.client().Sys().SealStatus()
	s.must(err)
	return status
}

// opens returns once the server has opened its store by itself, and looks at it.
func (s *sealed) opens() {
	s.t.Helper()
	for s.status().Sealed {
		select {
		case <-s.Exited():
			s.t.Fatal("the server has ended")
		case <-time.After(5 * time.Millisecond):
		}
	}
	s.looksRight()
}

// looksRight reads something that only the keys give.
func (s *sealed) looksRight() {
	s.t.Helper()
	_, err := s.Root(http.MethodGet, "sys/mounts", nil)
	s.must(err)
}

// give sends two of the shares.
func (s *sealed) give(migrate bool) *api.SealStatusResponse {
	s.t.Helper()
	var status *api.SealStatusResponse
	for _, share := range s.shares[1:] {
		var err error
		status, err = s.client().Sys().UnsealWithOptions(&api.UnsealOpts{Key: share, Migrate: migrate})
		s.must(err)
	}
	return status
}

// facts are the fields of a seal status that tell the seal.
type facts struct {
	Type, RecoveryType          string
	Sealed, Recovery, Migration bool
	Threshold, Shares, Progress int
}

func (s *sealed) want(want facts) {
	s.t.Helper()
	got := s.status()
	if diff := cmp.Diff(want, facts{
		Type: got.Type, RecoveryType: got.RecoverySealType, Sealed: got.Sealed, Recovery: got.RecoverySeal, Migration: got.Migration,
		Threshold: got.T, Shares: got.N, Progress: got.Progress,
	}); diff != "" {
		s.t.Fatal(diff)
	}
}

// searchForKeys fails when a key is in the store, a log, the audit file or the configuration.
func (s *sealed) searchForKeys(hidden ...string) {
	s.t.Helper()
	hidden = append(append(hidden, staticKey, s.RootToken), s.shares...)
	entries, err := os.ReadDir(s.Dir)
	s.must(err)
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(s.Dir, e.Name()))
		s.must(err)
		for _, key := range hidden {
			if e.Name() != "config.hcl" && bytes.Contains(text, []byte(key)) {
				s.t.Errorf("%s holds a key", e.Name())
			}
		}
	}
}

func TestAServerThatStartsByItself(t *testing.T) {
	t.Parallel()
	s := newSealed(t, "")
	s.start(inForce)
	s.want(facts{Type: "static", RecoveryType: "shamir", Sealed: true, Recovery: true})
	if initialised, err := s.client().Sys().InitStatus(); initialised || err != nil {
		t.Fatalf("initialised: %v, %v", initialised, err)
	}
	_, err := s.Call(http.MethodPut, "sys/init", "", map[string]any{"secret_shares": 1, "secret_threshold": 1, "recovery_shares": 1, "recovery_threshold": 1})
	if err == nil || !strings.Contains(err.Error(), "parameters secret_shares,secret_threshold not applicable to seal type static") {
		t.Errorf("unseal shares at init: %v", err)
	}
	s.init(true)
	_, err = s.Root(http.MethodPut, "sys/audit/file", map[string]any{"type": "file", "options": map[string]any{"file_path": filepath.Join(s.Dir, "audit.log")}})
	s.must(err)
	s.Kill()
	s.start(inForce)
	s.opens()
	s.want(facts{Type: "static", RecoveryType: "shamir", Recovery: true, Threshold: 2, Shares: 3})

	// Sealed by an operator, it opens for recovery shares, or at the next start.
	s.must(s.client().Sys().Seal())
	if status := s.give(false); status.Sealed {
		t.Fatalf("%+v", status)
	}
	s.looksRight()
	s.must(s.client().Sys().Seal())
	s.Kill()
	s.start(inForce)
	s.opens()

	s.rekeyRecovery()
	s.generateRoot()
	s.Stop()
	s.searchForKeys()
}

// rekeyRecovery replaces the recovery shares.
func (s *sealed) rekeyRecovery() {
	s.t.Helper()
	_, err := s.client().Sys().RekeyInit(&api.RekeyInitRequest{SecretShares: 2, SecretThreshold: 2})
	if err == nil || !strings.Contains(err.Error(), "has recovery keys") {
		s.t.Errorf("a rekey of unseal keys that are not there: %v", err)
	}
	started, err := s.Root(http.MethodPut, "sys/rotate/recovery/init", map[string]any{"secret_shares": 4, "secret_threshold": 2})
	s.must(err)
	nonce := started["data"].(map[string]any)["nonce"]
	var answer map[string]any
	for _, share := range s.shares[:2] {
		answer, err = s.Root(http.MethodPut, "sys/rotate/recovery/update", map[string]any{"key": share, "nonce": nonce})
		s.must(err)
	}
	data := answer["data"].(map[string]any)
	s.shares = nil
	for _, share := range data["keys_base64"].([]any) {
		s.shares = append(s.shares, share.(string))
	}
	s.want(facts{Type: "static", RecoveryType: "shamir", Recovery: true, Threshold: 2, Shares: 4})
}

// generateRoot makes a root token with the shares.
func (s *sealed) generateRoot() {
	s.t.Helper()
	started, err := s.Root(http.MethodPut, "sys/generate-root/attempt", nil)
	s.must(err)
	data := started["data"].(map[string]any)
	var answer map[string]any
	for _, share := range s.shares[:2] {
		answer, err = s.Root(http.MethodPut, "sys/generate-root/update", map[string]any{"key": share, "nonce": data["nonce"]})
		s.must(err)
	}
	decoded, err := s.Call(http.MethodPut, "sys/decode-token", "", map[string]any{"encoded_token": answer["data"].(map[string]any)["encoded_token"], "otp": data["otp"]})
	s.must(err)
	s.RootToken = decoded["data"].(map[string]any)["token"].(string)
	s.looksRight()
}

func TestTheSealIsMoved(t *testing.T) {
	t.Parallel()
	s := newSealed(t, "")
	s.start("")
	s.init(false)
	s.give(false)
	if log, err := os.ReadFile(s.LogFile()); err != nil || bytes.Contains(log, []byte("does not open")) {
		t.Errorf("a server that people open complains: %s, %v", log, err)
	}
	s.must(s.client().Sys().Seal())
	if _, err := s.client().Sys().UnsealWithOptions(&api.UnsealOpts{Key: s.shares[0], Migrate: true}); err == nil {
		t.Error("a migration without another seal")
	}

	s.Kill()
	s.start(inForce)
	s.want(facts{Type: "static", RecoveryType: "shamir", Sealed: true, Recovery: true, Migration: true, Threshold: 2, Shares: 3})
	if _, err := s.client().Sys().Unseal(s.shares[0]); err == nil || !strings.Contains(err.Error(), "seal migration is pending") {
		t.Errorf("without migrate: %v", err)
	}
	if status := s.give(true); status.Sealed || status.Migration {
		t.Fatalf("%+v", status)
	}
	s.looksRight()
	s.Kill()
	s.start(inForce)
	s.opens()
	s.Kill()
	s.start("")
	s.staysSealed(`the store does not open with shares of an unseal key`)
	s.want(facts{Type: "static", RecoveryType: "shamir", Sealed: true, Recovery: true, Threshold: 2, Shares: 3})
	if _, err := s.client().Sys().Unseal(s.shares[0]); err != nil {
		t.Errorf("the first share for a seal that is not configured: %v", err)
	}
	if _, err := s.client().Sys().Unseal(s.shares[1]); err == nil || !strings.Contains(err.Error(), `sealed by seal "static", which is not in the configuration`) {
		t.Errorf("a seal that is not configured: %v", err)
	}

	s.Kill()
	s.start(disabled)
	s.want(facts{Type: "shamir", Sealed: true, Migration: true, Threshold: 2, Shares: 3})
	if status := s.give(true); status.Sealed || status.Migration {
		t.Fatalf("%+v", status)
	}
	s.looksRight()
	s.Kill()
	s.start("")
	s.want(facts{Type: "shamir", Sealed: true, Threshold: 2, Shares: 3})
	if status := s.give(false); status.Sealed {
		t.Fatalf("%+v", status)
	}
	s.looksRight()
	s.Stop()
	s.searchForKeys()
}

// TestEverySealFailpoint kills the process at each step of a change: afterwards one seal opens the store, and no other.
func TestEverySealFailpoint(t *testing.T) {
	t.Parallel()
	for _, point := range failpoint.Seals {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			s := newSealed(t, "")
			killed := "LEASEHOLD_FAILPOINT=" + point
			committed := strings.HasSuffix(point, "after-commit")
			if strings.HasPrefix(point, "seal/renew/") {
				s.start(inForce)
				s.init(true)
				s.Kill()
				file := filepath.Join(s.Dir, "second.key")
				s.must(os.WriteFile(file, []byte(strings.Repeat("canary-2", 4)), 0o600))
				second := func(current, previous string) string {
					return fmt.Sprintf("seal \"static\" {\n  current_key_id = \"2\"\n  current_key = \"file://%s\"\n%s}\n", current, previous)
				}
				both := second(file, "  previous_key_id = \"1\"\n  previous_key = \"env://STATIC_KEY\"\n")
				s.must(os.WriteFile(s.config(), []byte(s.base+both), 0o600))
				_ = s.Start(killed, "STATIC_KEY="+staticKey) // it ends soon, perhaps before it answers
				<-s.Exited()
				works, fails := inForce, second(file, "")
				if committed {
					works, fails = fails, works
				}
				s.start(fails)
				s.staysSealed("which is neither current_key_id nor previous_key_id")
				s.Kill()
				s.start(works)
				s.opens()
				s.Kill()
				s.start(both)
				s.opens()
				return
			}
			s.start("")
			s.init(false)
			s.Kill()
			s.start(inForce, killed)
			for _, share := range s.shares[1:] {
				_, _ = s.client().Sys().UnsealWithOptions(&api.UnsealOpts{Key: share, Migrate: true})
			}
			<-s.Exited()
			s.start(inForce)
			if committed {
				s.opens()
				s.Kill()
				s.start("")
				s.want(facts{Type: "static", RecoveryType: "shamir", Sealed: true, Recovery: true, Threshold: 2, Shares: 3})
				return
			}
			s.want(facts{Type: "static", RecoveryType: "shamir", Sealed: true, Recovery: true, Migration: true, Threshold: 2, Shares: 3})
			s.Kill()
			s.start("")
			if status := s.give(false); status.Sealed {
				t.Fatalf("%+v", status)
			}
			s.looksRight()
		})
	}
}

// staysSealed returns once the server has told why it does not open.
func (s *sealed) staysSealed(why string) {
	s.t.Helper()
	for {
		log, err := os.ReadFile(s.LogFile())
		s.must(err)
		if strings.Contains(string(log), why) {
			break
		}
		<-time.After(5 * time.Millisecond)
	}
	if !s.status().Sealed {
		s.t.Errorf("opened in spite of: %s", why)
	}
}

func TestAServerThatAnotherOpens(t *testing.T) {
	t.Parallel()
	helper := newSealed(t, "")
	helper.start("")
	helper.must(helper.Init())
	helper.looksRight()
	call := func(method, path string, body any) map[string]any {
		t.Helper()
		answer, err := helper.Root(method, path, body)
		helper.must(err)
		return answer
	}
	call(http.MethodPost, "sys/mounts/transit", map[string]any{"type": "transit"})
	call(http.MethodPost, "transit/keys/autounseal", map[string]any{})
	call(http.MethodPut, "sys/policies/acl/autounseal", map[string]any{
		"policy": `path "transit/encrypt/autounseal" { capabilities = ["update"] } path "transit/decrypt/autounseal" { capabilities = ["update"] }`,
	})
	token := call(http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"autounseal"}, "no_parent": true, "period": "24h"})["auth"].(map[string]any)["client_token"].(string)
	block := fmt.Sprintf("seal \"transit\" {\n  address = %q\n  key_name = \"autounseal\"\n  mount_path = \"transit/\"\n}\n", helper.URL())
	withToken := "VAULT_TOKEN=" + token

	s := newSealed(t, "")
	s.start(block, withToken)
	s.init(true)
	s.want(facts{Type: "transit", RecoveryType: "shamir", Recovery: true, Threshold: 2, Shares: 3})
	s.Kill()

	// The other server is away: this one answers, sealed, and opens as soon as it can. It says so once.
	helper.Kill()
	s.start(block, withToken)
	s.staysSealed("connection refused")
	health, err := s.client().Sys().Health()
	s.must(err)
	if !health.Sealed || !health.Initialized {
		t.Errorf("health: %+v", health)
	}
	helper.must(helper.Restart())
	s.opens()
	log, err := os.ReadFile(s.LogFile())
	s.must(err)
	if n := strings.Count(string(log), "connection refused"); n > 2 { // of the store, and of the token
		t.Errorf("%d lines say that the other server is away:\n%s", n, log)
	}

	// The key is rotated; after one start the old version is needed no more.
	call(http.MethodPost, "transit/keys/autounseal/rotate", nil)
	s.Kill()
	s.start(block, withToken)
	s.opens()
	for {
		log, err := os.ReadFile(s.LogFile())
		s.must(err)
		if strings.Contains(string(log), "the root key was wrapped anew") {
			break
		}
		<-time.After(5 * time.Millisecond)
	}
	call(http.MethodPost, "transit/keys/autounseal/config", map[string]any{"min_decryption_version": 2})
	s.Kill()
	s.start(block, withToken)
	s.opens()

	// And away from it: to a static key, then to shares.
	s.Kill()
	s.start(inForce+strings.Replace(block, "{\n", "{\n  disabled = \"true\"\n", 1), withToken)
	s.want(facts{Type: "static", RecoveryType: "shamir", Sealed: true, Recovery: true, Migration: true, Threshold: 2, Shares: 3})
	if status := s.give(true); status.Sealed {
		t.Fatalf("%+v", status)
	}
	helper.Kill()
	s.Kill()
	s.start(inForce)
	s.opens()
	s.Stop()
	s.searchForKeys(token)
}

// Nodes of one store: each opens by itself once any of them was initialised, each is active, and all of them follow a change of the
// seal at their next start.
func TestNodesThatStartByThemselves(t *testing.T) {
	t.Parallel()
	storage := proctest.PostgreSQL(testdb.Postgres(t).URL())
	one, two := newSealed(t, storage), newSealed(t, storage)
	one.start(inForce)
	two.start(inForce)
	if _, err := two.client().Sys().Leader(); err == nil || !strings.Contains(err.Error(), "Vault is sealed") {
		t.Errorf("the leader, of a sealed node: %v", err)
	}
	one.init(true)
	two.RootToken, two.shares = one.RootToken, one.shares
	two.opens()

	for _, s := range []*sealed{one, two} {
		leader, err := s.client().Sys().Leader()
		s.must(err)
		if !leader.HAEnabled || !leader.IsSelf || leader.LeaderAddress != s.URL() || time.Since(leader.ActiveTime) > time.Hour {
			t.Errorf("leader: %+v", leader)
		}
		s.must(s.client().Sys().StepDown())
		health, err := s.client().Sys().Health()
		s.must(err)
		if health.Standby || health.Sealed {
			t.Errorf("health: %+v", health)
		}
		for { // a node's first sign of life may be on its way
			nodes, err := s.client().Sys().HAStatus()
			s.must(err)
			seen := map[string]bool{}
			for _, n := range nodes.Nodes {
				if !n.ActiveNode || n.Version == "" || n.Hostname == "" {
					t.Errorf("node: %+v", n)
				}
				seen[n.APIAddress] = true
			}
			if seen[one.URL()] && seen[two.URL()] {
				break
			}
			<-time.After(5 * time.Millisecond)
		}
	}

	// One node is moved to shares while the other goes on.
	one.Kill()
	one.start(disabled)
	if status := one.give(true); status.Sealed {
		t.Fatalf("%+v", status)
	}
	two.looksRight()
	two.want(facts{Type: "shamir", Threshold: 2, Shares: 3})
	two.Kill()
	two.start(inForce)
	two.want(facts{Type: "static", RecoveryType: "shamir", Sealed: true, Recovery: true, Migration: true, Threshold: 2, Shares: 3})
	two.Kill()
	two.start("")
	if status := two.give(false); status.Sealed {
		t.Fatalf("%+v", status)
	}
	two.looksRight()
	one.Stop()
	two.Stop()
	one.searchForKeys()
	two.searchForKeys()
}

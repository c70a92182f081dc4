package crash

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"leasehold/internal/testdb"
	"leasehold/server/proctest"
)

// pair is two nodes on one PostgreSQL store, with an engine of each kind.
func pair(t *testing.T) [2]*proctest.Server {
	t.Helper()
	storage := proctest.PostgreSQL(testdb.Postgres(t, testdb.With("log_statement", "none")).URL())
	var nodes [2]*proctest.Server
	for i := range nodes {
		nodes[i] = proctest.NewOn(t, binary, storage, "")
		err := nodes[i].Start()
		switch {
		case err != nil:
		case i == 0:
			err = nodes[0].Init()
		default:
			err = nodes[i].Join(nodes[0])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	mountKV(t, nodes[0])
	if _, err := nodes[0].Root(http.MethodPost, "sys/mounts/transit", map[string]any{"type": "transit"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			tellErrors(t, nodes[:])
		}
	})
	return nodes
}

func mountKV(t *testing.T, srv *proctest.Server) {
	t.Helper()
	_, err := srv.Root(http.MethodPost, "sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
	if err != nil {
		t.Fatal(err)
	}
}

// setting is a number from the environment, which `make soak` sets higher.
func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// dig walks into an answer.
func dig(answer map[string]any, keys ...string) any {
	var at any = answer
	for _, key := range keys {
		m, _ := at.(map[string]any)
		at = m[key]
	}
	return at
}

// tellErrors logs the last errors of each node's log.
func tellErrors(t *testing.T, nodes []*proctest.Server) {
	t.Helper()
	for i, n := range nodes {
		log, _ := os.ReadFile(n.LogFile())
		lines := slices.DeleteFunc(strings.Split(string(log), "\n"), func(line string) bool { return !strings.Contains(line, "level=ERROR") })
		t.Logf("errors of node %d:\n%s", i, strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
}

const casWriters = 32

// TestCheckAndSet has writers on both nodes write the same version of a key at once, again and again. Exactly one wins, the
// others are told why not, and both nodes show the winner's value. LEASEHOLD_CAS_ROUNDS sets how often; `make soak` asks for
// 10,000.
func TestCheckAndSet(t *testing.T) {
	t.Parallel()
	nodes := pair(t)
	rounds := setting(t, "LEASEHOLD_CAS_ROUNDS", 20)
	won := [2]int{}
	for round := range rounds {
		winners := make([]bool, casWriters)
		var writers sync.WaitGroup
		for i := range casWriters {
			writers.Go(func() {
				_, err := nodes[i%2].Root(http.MethodPost, "kv/data/contested", map[string]any{
					"data": map[string]any{"round": round, "writer": i}, "options": map[string]any{"cas": round},
				})
				var answer *proctest.Error
				switch {
				case err == nil:
					winners[i] = true
				case !errors.As(err, &answer) || answer.Status != http.StatusBadRequest ||
					!strings.Contains(answer.Body, "check-and-set parameter did not match the current version"):
					t.Errorf("round %d: writer %d: %v", round, i, err)
				}
			})
		}
		writers.Wait()
		winner, count := -1, 0
		for i, did := range winners {
			if did {
				winner, count = i, count+1
			}
		}
		if count != 1 {
			t.Fatalf("round %d: %d writers won", round, count)
		}
		won[winner%2]++
		for i, n := range nodes {
			got, err := n.Root(http.MethodGet, "kv/data/contested", nil)
			if err != nil {
				t.Fatal(err)
			}
			if v, w := dig(got, "data", "metadata", "version"), dig(got, "data", "data", "writer"); v != float64(round+1) || w != float64(winner) {
				t.Fatalf("round %d: node %d shows version %v of writer %v, want %d of %d", round, i, v, w, round+1, winner)
			}
		}
		if t.Failed() {
			return
		}
		if round%500 == 499 {
			t.Logf("%d rounds", round+1)
		}
	}
	t.Logf("%d rounds, won by writers of either node: %v", rounds, won)
}

// TestTransitOnTwoNodes changes keys at one node and uses them at the other at once, which holds them in memory from before.
func TestTransitOnTwoNodes(t *testing.T) {
	t.Parallel()
	nodes := pair(t)
	call := func(node int, path string, body map[string]any) (map[string]any, error) {
		return nodes[node].Root(http.MethodPost, "transit/"+path, body)
	}
	must := func(node int, path string, body map[string]any) map[string]any {
		t.Helper()
		got, err := call(node, path, body)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return got
	}
	encrypt := func(node int) string {
		t.Helper()
		text, _ := dig(must(node, "encrypt/key", map[string]any{"plaintext": "c2VjcmV0"}), "data", "ciphertext").(string)
		return text
	}
	must(0, "keys/key", nil)
	first := encrypt(1)
	for version := 2; version < 30; version++ {
		here, there := version%2, (version+1)%2
		must(here, "keys/key/rotate", nil)
		text := encrypt(there)
		if want := fmt.Sprintf("vault:v%d:", version); !strings.HasPrefix(text, want) {
			t.Fatalf("after the rotation, the other node encrypts %.12s, want %s", text, want)
		}
		for node := range nodes {
			if got := dig(must(node, "decrypt/key", map[string]any{"ciphertext": text}), "data", "plaintext"); got != "c2VjcmV0" {
				t.Fatalf("node %d decrypts %v", node, got)
			}
		}
	}
	must(1, "decrypt/key", map[string]any{"ciphertext": first})
	must(0, "keys/key/config", map[string]any{"min_decryption_version": 20, "deletion_allowed": true})
	if _, err := call(1, "decrypt/key", map[string]any{"ciphertext": first}); !isAnswer(err) || !strings.Contains(err.Error(), "too old") {
		t.Errorf("a version that was ruled out at the other node: %v", err)
	}
	last := encrypt(1)
	if _, err := nodes[0].Root(http.MethodDelete, "transit/keys/key", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := call(1, "decrypt/key", map[string]any{"ciphertext": last}); !isAnswer(err) || !strings.Contains(err.Error(), "encryption key not found") {
		t.Errorf("a key that was deleted at the other node: %v", err)
	}
}

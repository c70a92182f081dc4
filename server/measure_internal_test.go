package server

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"leasehold/internal/clock"
	"leasehold/lease"
	"leasehold/server/config"
)

// TestReconciledGauges: what was found follows its mount when that moves, and goes when it is gone.
func TestReconciledGauges(t *testing.T) {
	t.Parallel()
	telemetry := config.Default().Telemetry
	telemetry.Hostname = false
	m := mustMeasures(t, telemetry)
	path := ""
	m.mountPath = func(mountUUID string) string {
		if mountUUID == "uuid-1" {
			return path
		}
		return "other/"
	}
	m.Sample("reconciled", measureEvery, m.tellReconciled)
	now := m.clock
	shown := func(want ...string) {
		t.Helper()
		if err := m.RunOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		now.Advance(measureEvery)
		resp, err := m.render("prometheus", http.Header{})
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range want {
			if !strings.Contains(string(resp.Raw.Body), line+"\n") {
				t.Errorf("no line %q", line)
			}
		}
		if strings.Contains(string(resp.Raw.Body), "uuid") {
			t.Error("a label is a UUID")
		}
	}
	m.onReconciled("uuid-1", "shop", 3, 2, 1)
	shown() // the mount is not known yet
	path = "db/"
	shown(`vault_lease_orphans{connection="shop",mount_point="db/"} 3`, `vault_lease_missing_users{connection="shop",mount_point="db/"} 2`,
		`vault_lease_foreign_users{connection="shop",mount_point="db/"} 1`)
	path = "moved/"
	shown(`vault_lease_orphans{connection="shop",mount_point="db/"} 0`, `vault_lease_orphans{connection="shop",mount_point="moved/"} 3`)
	m.onReconciled("uuid-1", "shop", 0, 0, 0)
	shown(`vault_lease_orphans{connection="shop",mount_point="moved/"} 0`)
	path = ""
	shown()
	if len(m.reconciled) != 0 {
		t.Errorf("a connection that is gone is kept: %v", m.reconciled)
	}
}

func TestObservers(t *testing.T) {
	t.Parallel()
	m := mustMeasures(t, config.Default().Telemetry)
	requests, commits := m.brokerObserver(), m.storeObserver()
	requests.Handled(false, time.Second)
	requests.Handled(true, 2*time.Second)
	requests.Audited(false, time.Second, nil)
	requests.Audited(false, time.Second, errors.New("no device"))
	requests.Audited(true, time.Second, errors.New("no device"))
	commits.Committed(time.Second, 3, nil)
	commits.Committed(time.Second, 2, errors.New("the disk is full"))
	commits.Collided()
	m.mountPath = func(string) string { return "db/" }
	leases := m.leaseObserver()
	leases.Issued("uuid-1", time.Second, nil)
	leases.Issued("uuid-1", time.Second, fmt.Errorf("create: %w", lease.ErrUnknown))
	leases.Renewed(time.Second)
	leases.Undone("uuid-1", "shop", time.Second, nil)
	leases.Undone("uuid-1", "shop", time.Second, fmt.Errorf("drop: %w", lease.ErrUnreachable))
	leases.Undone("uuid-1", "shop", time.Second, errors.New("no"))
	m.answered(204)
	m.answered(0)
	resp, err := m.render("", http.Header{"Accept": {"application/openmetrics-text; version=1.0.0"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"vault_core_handle_request_sum 1000", "vault_core_handle_login_request_sum 2000", "vault_audit_log_request_count 2",
		"vault_audit_log_request_failure 1", "vault_audit_log_response_failure 1", "vault_store_commit_count 1", "vault_store_updates 3",
		"vault_store_commit_failed 1", "vault_store_collisions 1", `vault_core_response_status_code{code="204",type="2xx"} 1`,
		"vault_node_1_core_unsealed 1", `vault_secret_lease_creation{mount_point="db/"} 1`, `vault_lease_issue_count{mount_point="db/"} 1`,
		`vault_lease_issue_failed{mount_point="db/",outcome="unknown"} 1`, "vault_expire_renew_count 1", "vault_expire_revoke_sum 3000",
		`vault_lease_revoke{connection="shop",mount_point="db/",outcome="ok"} 1`,
		`vault_lease_revoke{connection="shop",mount_point="db/",outcome="unreachable"} 1`,
		`vault_lease_revoke{connection="shop",mount_point="db/",outcome="failed"} 1`,
	} {
		if !strings.Contains(string(resp.Raw.Body), "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	if strings.Contains(string(resp.Raw.Body), "0xx") {
		t.Error("an answer that never was is counted")
	}
}

// TestEveryMetricIsTold: an operator who watches a metric that nobody tells is never woken.
func TestEveryMetricIsTold(t *testing.T) {
	t.Parallel()
	names, err := os.ReadFile("../metrics/names.go")
	if err != nil {
		t.Fatal(err)
	}
	var told []byte
	for _, pattern := range []string{"*.go", "../metrics/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(file, "_test.go") && filepath.Base(file) != "names.go" {
				told = append(told, text...)
			}
		}
	}
	metrics := regexp.MustCompile(`(?m)^\t(\w+) += (?:gauge|counter|timer)\(`).FindAllSubmatch(names, -1)
	if len(metrics) < 20 {
		t.Fatalf("only %d metrics are found: the pattern is wrong", len(metrics))
	}
	for _, m := range metrics {
		if !regexp.MustCompile(`\b` + string(m[1]) + `\b`).Match(told) {
			t.Errorf("nobody tells metric %s", m[1])
		}
	}
}

// testMeasures are measures on a clock that the test moves.
type testMeasures struct {
	*measures
	clock *clock.Fake
}

func mustMeasures(t *testing.T, cfg config.Telemetry) testMeasures {
	t.Helper()
	fake := clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	m, err := newMeasures(cfg, "node-1", fake)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	m.unlocked = func() bool { return true }
	return testMeasures{m, fake}
}

package metrics_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"leasehold/internal/clock"
	"leasehold/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start makes a registry with a clock that stands, and the Prometheus form on.
func start(t testing.TB, change func(*metrics.Config)) (*metrics.Registry, *clock.Fake) {
	t.Helper()
	fake := clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	cfg := metrics.Config{Clock: fake, Prefix: "vault", PrometheusRetention: time.Hour}
	if change != nil {
		change(&cfg)
	}
	r, err := metrics.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r, fake
}

// text is the Prometheus form.
func text(t testing.TB, r *metrics.Registry) string {
	t.Helper()
	rendered, err := r.Render("prometheus")
	if err != nil || rendered.Refused {
		t.Fatalf("render: %v %s", err, rendered.Body)
	}
	return string(rendered.Body)
}

func want(t testing.TB, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+text, "\n"+line+"\n") {
			t.Errorf("no line %q in:\n%s", line, ours(text))
		}
	}
}

// ours is the text without the lines of the Go runtime and the process.
func ours(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, "vault") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

func TestPrometheusForm(t *testing.T) {
	t.Parallel()
	r, _ := start(t, nil)
	r.Add(metrics.ResponseStatus, 2, "200", "2xx")
	r.Add(metrics.ResponseStatus, 1, "200", "2xx")
	r.Add(metrics.ResponseStatus, 1, "404", "4xx")
	r.Set(metrics.Unsealed, 1)
	r.Set(metrics.LeasesDue, 1_000_000, "database/", "shop")
	r.Observe(metrics.HandleRequest, 1500*time.Microsecond)
	r.Observe(metrics.HandleRequest, 500*time.Microsecond)
	shown := text(t, r)
	want(t, shown,
		`# HELP vault_core_response_status_code Answers by status and class.`,
		`# TYPE vault_core_response_status_code counter`,
		`vault_core_response_status_code{code="200",type="2xx"} 3`,
		`vault_core_response_status_code{code="404",type="4xx"} 1`,
		`# TYPE vault_core_unsealed gauge`,
		`vault_core_unsealed 1`,
		`vault_lease_due{connection="shop",mount_point="database/"} 1e+06`,
		`# TYPE vault_core_handle_request summary`,
		`vault_core_handle_request_sum 2`,
		`vault_core_handle_request_count 2`,
		`vault_audit_log_request_failure 0`, // there before the first failure
	)
	for _, family := range []string{"go_goroutines", "process_resident_memory_bytes"} {
		if !strings.Contains(shown, "\n"+family+" ") {
			t.Errorf("no %s", family)
		}
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader(shown)); err != nil {
		t.Errorf("the form cannot be read: %v", err)
	}
}

type summary struct {
	Timestamp                 string
	Points                    []any
	Gauges, Counters, Samples []struct {
		Name          string
		Value         float64
		Count         int
		Sum, Min, Max float64
		Mean, Stddev  float64
		Rate          *float64
		Labels        map[string]string
	}
}

func inMemory(t testing.TB, r *metrics.Registry) summary {
	t.Helper()
	rendered, err := r.Render("")
	if err != nil || rendered.ContentType != "application/json" {
		t.Fatalf("render: %v %q", err, rendered.ContentType)
	}
	var s summary
	if err := json.Unmarshal(rendered.Body, &s); err != nil {
		t.Fatalf("%v in %s", err, rendered.Body)
	}
	return s
}

func TestMemoryForm(t *testing.T) {
	t.Parallel()
	r, _ := start(t, nil)
	r.Set(metrics.TargetParked, 1, "database/", "shop")
	for range 10 { // 0.1 has no exact form: the squares' sum may come out below the sum's square
		r.Observe(metrics.StoreCommit, 100*time.Microsecond)
	}
	s := inMemory(t, r)
	if s.Timestamp == "" || s.Points == nil || s.Counters == nil {
		t.Errorf("keys are missing: %+v", s)
	}
	if len(s.Gauges) != 1 || s.Gauges[0].Name != "vault.lease.target_parked" || s.Gauges[0].Value != 1 ||
		s.Gauges[0].Labels["connection"] != "shop" {
		t.Errorf("gauges: %+v", s.Gauges)
	}
	if len(s.Samples) != 1 || s.Samples[0].Count != 10 || s.Samples[0].Mean < 0.09 || s.Samples[0].Mean > 0.11 {
		t.Errorf("samples: %+v", s.Samples)
	}
}

func TestRefusedForms(t *testing.T) {
	t.Parallel()
	r, _ := start(t, func(c *metrics.Config) { c.PrometheusRetention = 0 })
	for format, word := range map[string]string{"prometheus": "prometheus is not enabled", "odd": "unknown metrics format"} {
		rendered, err := r.Render(format)
		if err != nil || !rendered.Refused || rendered.ContentType != "text/plain" || !strings.Contains(string(rendered.Body), word) {
			t.Errorf("%s: %+v %s, %v", format, rendered, rendered.Body, err)
		}
	}
	r.Add(metrics.StoreUpdates, 1) // the other form goes on
	if s := inMemory(t, r); len(s.Counters) == 0 {
		t.Error("nothing was counted")
	}
}

func TestHostname(t *testing.T) {
	t.Parallel()
	r, _ := start(t, func(c *metrics.Config) { c.Hostname = "node-1" })
	r.Set(metrics.Unsealed, 1)
	r.Add(metrics.StoreUpdates, 1)
	want(t, text(t, r), `vault_node_1_core_unsealed 1`, `# HELP vault_node_1_core_unsealed `+metrics.Unsealed.Help, `vault_store_updates 1`)

	r, _ = start(t, func(c *metrics.Config) { c.Hostname, c.HostnameLabel = "node-1", true })
	r.Set(metrics.Unsealed, 1)
	r.Add(metrics.StoreUpdates, 1)
	want(t, text(t, r), `vault_core_unsealed{host="node-1"} 1`, `vault_store_updates{host="node-1"} 1`)
}

func TestFilter(t *testing.T) {
	t.Parallel()
	r, _ := start(t, func(c *metrics.Config) {
		c.Block, c.Allow = []string{"vault.lease"}, []string{"vault.lease.due"}
	})
	r.Set(metrics.LeasesDue, 1, "m/", "c")
	r.Set(metrics.Orphans, 1, "m/", "c")
	r.Set(metrics.Unsealed, 1)
	shown := text(t, r)
	if want(t, shown, `vault_lease_due{connection="c",mount_point="m/"} 1`, `vault_core_unsealed 1`); strings.Contains(shown, "orphans") {
		t.Error("a blocked metric is shown")
	}
	r, _ = start(t, func(c *metrics.Config) { c.BlockByDefault, c.Allow = true, []string{"vault.core.unsealed"} })
	r.Set(metrics.Unsealed, 1)
	r.Set(metrics.Active, 1)
	if shown := text(t, r); strings.Contains(shown, "active") {
		t.Error("what is not allowed is shown")
	}
}

// TestCardinality: more mounts than a metric may tell apart are told together, and a gauge beyond them is not told.
func TestCardinality(t *testing.T) {
	t.Parallel()
	r, _ := start(t, func(c *metrics.Config) { c.MaxCardinality = 3 })
	for i := range 10 {
		mount := fmt.Sprintf("m%d/", i)
		r.Add(metrics.LeasesCreated, 1, mount)
		r.Set(metrics.Orphans, 1, mount, "c")
	}
	r.Add(metrics.LeasesCreated, 1, "m0/")
	if err := r.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	shown := text(t, r)
	want(t, shown, `vault_secret_lease_creation{mount_point="m0/"} 2`, `vault_secret_lease_creation{mount_point="other"} 7`)
	if n := strings.Count(shown, "\nvault_lease_orphans{"); n != 3 {
		t.Errorf("%d gauges, not 3", n)
	}
}

func TestSampler(t *testing.T) {
	t.Parallel()
	r, fake := start(t, nil)
	var taken int
	present := []string{"shop", "stock"}
	var failure error
	r.Sample("leases", time.Minute, func(_ context.Context, set func(metrics.Gauge, float64, ...string)) error {
		taken++
		for _, name := range present {
			set(metrics.LeasesDue, 7, "database/", name)
		}
		return failure
	})
	once := func() error { t.Helper(); return r.RunOnce(t.Context()) }
	for range 6 { // a minute less one round
		if err := once(); err != nil {
			t.Fatal(err)
		}
		fake.Advance(9 * time.Second)
	}
	if taken != 1 {
		t.Errorf("sampled %d times in 54 s, not once", taken)
	}
	present = present[:1]
	fake.Advance(2 * time.Second) // 56 s: closer to the minute than to the round before it
	if err := once(); err != nil || taken != 2 {
		t.Errorf("sampled %d times, %v", taken, err)
	}
	want(t, text(t, r),
		`vault_lease_due{connection="shop",mount_point="database/"} 7`,
		`vault_lease_due{connection="stock",mount_point="database/"} 0`) // gone
	present, failure = nil, errors.New("the store is away")
	fake.Advance(time.Minute)
	if err := once(); !errors.Is(err, failure) || !strings.Contains(err.Error(), "sample leases") {
		t.Errorf("a sampler failed, and RunOnce said %v", err)
	}
	want(t, text(t, r), `vault_lease_due{connection="shop",mount_point="database/"} 7`, `vault_metrics_sample_failed{sampler="leases"} 1`)
	if s := inMemory(t, r); len(s.Gauges) == 0 {
		t.Error("no gauges in the in-memory form")
	}
	failure = metrics.ErrNotNow
	fake.Advance(time.Minute)
	for range 2 { // asked again in each round
		if err := once(); err != nil {
			t.Errorf("a sampler could not look: %v", err)
		}
	}
	if taken != 5 {
		t.Errorf("sampled %d times, not 5", taken)
	}
	want(t, text(t, r), `vault_lease_due{connection="shop",mount_point="database/"} 7`)
}

// TestNothingIsLost: values that begin a series at the same moment are all counted.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	for range 20 {
		r, _ := start(t, nil)
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() { r.Add(metrics.LeasesCreated, 1, "database/") })
		}
		wait.Wait()
		want(t, text(t, r), `vault_secret_lease_creation{mount_point="database/"} 8`)
	}
}

// TestStatsd: what is measured arrives at a statsd server, and Close ends the sending.
func TestStatsd(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	r, _ := start(t, func(c *metrics.Config) { c.StatsdAddress = conn.LocalAddr().String() })
	r.Add(metrics.LeasesCreated, 3, "database/")
	buffer, received := make([]byte, 1<<16), ""
	for !strings.Contains(received, "vault.secret.lease.creation.database/:3") {
		n, _, err := conn.ReadFrom(buffer)
		if err != nil {
			t.Fatal(err)
		}
		received += string(buffer[:n])
	}
	r.Close()
	r.Add(metrics.LeasesCreated, 3, "database/") // is lost, and does no harm
}

// TestOperationsDocument: the table of docs/operations.md names every metric, with its labels, and no other.
func TestOperationsDocument(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for line := range strings.Lines(string(document)) {
		if strings.HasPrefix(line, "| `vault.") {
			cells := strings.Split(line, "|")
			rows[strings.TrimSpace(cells[1])+strings.TrimSpace(cells[2])+strings.TrimSpace(cells[3])] = true
		}
	}
	for _, m := range metrics.All() {
		row := fmt.Sprintf("`vault.%s`%s%s", m.Name, m.Kind, strings.Join(m.Labels, ", "))
		if !rows[row] {
			t.Errorf("docs/operations.md has no row for %s", row)
		}
		delete(rows, row)
	}
	for row := range rows {
		t.Errorf("docs/operations.md tells of %s, which is not measured", row)
	}
}

// BenchmarkRequest answers: what does measuring add to a request? It is what one request tells, both forms on.
func BenchmarkRequest(b *testing.B) {
	r, _ := start(b, nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r.Add(metrics.ResponseStatus, 1, "200", "2xx")
			r.Observe(metrics.HandleRequest, time.Millisecond)
			r.Observe(metrics.AuditRequest, time.Millisecond)
			r.Observe(metrics.AuditResponse, time.Millisecond)
			r.Observe(metrics.StoreCommit, time.Millisecond)
			r.Add(metrics.StoreUpdates, 1)
		}
	})
}

package sys_test

import (
	"strings"
	"testing"

	"leasehold/broker"
	"leasehold/broker/brokertest"
	"leasehold/engine"
)

const unsupported = "1 error occurred:\n\t* unsupported path\n\n"

// TestBareProcess: what the engine was not handed is not there.
func TestBareProcess(t *testing.T) {
	t.Parallel()
	run(t, brokertest.New(t, broker.Settings{}), []step{
		{op: read, path: "sys/metrics", err: unsupported},
		{op: read, path: "sys/in-flight-req", err: unsupported},
		{op: read, path: "sys/monitor", err: unsupported},
		{op: read, path: "sys/loggers", err: unsupported},
		{op: write, path: "sys/loggers/core", err: unsupported},
	})
}

func TestCounters(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	n.MustToken("", nil)
	run(t, n, []step{
		{op: read, path: "sys/internal/counters/tokens", want: `{"counters":{"service_tokens":{"total":2}}}`},
		{op: read, path: "sys/internal/counters/entities", want: `{"counters":{"entities":{"total":0}}}`},
	})
}

func TestHostInfo(t *testing.T) {
	t.Parallel()
	resp := brokertest.New(t, broker.Settings{}).Must(read, "sys/host-info", nil)
	memory, _ := resp.Data["memory"].(map[string]any)
	if total, _ := memory["total"].(float64); total <= 0 {
		t.Errorf("memory: %v", resp.Data["memory"])
	}
	times, _ := resp.Data["cpu_times"].([]any)
	processors, _ := resp.Data["cpu"].([]any)
	machine, _ := resp.Data["host"].(map[string]any)
	if _, isList := resp.Data["disk"].([]any); !isList || len(times) == 0 || len(processors) == 0 || machine["kernelVersion"] == "" {
		t.Errorf("got %v", resp.Data)
	}
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	for _, test := range []struct {
		name   string
		query  map[string]any
		status int
		kind   string
		want   string
	}{
		{"goroutine", fields{"debug": "1"}, 0, "text/plain; charset=utf-8", "goroutine profile"},
		{"heap", nil, 0, "application/octet-stream", "\x1f\x8b"},
		{"", nil, 0, "text/html; charset=utf-8", "goroutine"},
		{"symbol", nil, 0, "text/plain; charset=utf-8", "num_symbols"},
		{"trace", fields{"seconds": "0.01"}, 0, "application/octet-stream", "go 1."},
		{"hat", nil, 404, "text/plain; charset=utf-8", "Unknown profile"},
	} {
		resp := n.Must(engine.Read, "sys/pprof/"+test.name, test.query)
		if resp.Raw == nil || resp.Status != test.status || resp.Raw.ContentType != test.kind || !strings.Contains(string(resp.Raw.Body), test.want) {
			t.Errorf("%q: %d %+v", test.name, resp.Status, resp.Raw)
		}
	}
	if _, err := n.Do(n.MustToken("", nil), read, "sys/pprof/goroutine", nil); err == nil {
		t.Error("a token without a policy gets a profile")
	}
}

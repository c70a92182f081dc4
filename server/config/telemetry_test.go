package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"leasehold/server/config"
)

func TestTelemetry(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		want       func(*config.Telemetry)
		warning    string
	}{
		{"defaults", ``, func(*config.Telemetry) {}, ""},
		{"everything", `telemetry {
  metrics_prefix = "lh.a-b"
  disable_hostname = true
  enable_hostname_label = "true"
  prometheus_retention_time = "0"
  usage_gauge_period = "5m"
  maximum_gauge_cardinality = "100"
  filter_default = false
  prefix_filter = ["+vault.core", "-vault.core.active", "+vault.lease"]
  statsd_address = "127.0.0.1:8125"
  statsite_address = "127.0.0.1:8126"
}`, func(want *config.Telemetry) {
			*want = config.Telemetry{
				Prefix: "lh.a-b", HostnameLabel: true, UsagePeriod: 5 * time.Minute, MaxCardinality: 100, BlockByDefault: true,
				Allow: []string{"vault.core", "vault.lease"}, Block: []string{"vault.core.active"},
				StatsdAddress: "127.0.0.1:8125", StatsiteAddress: "127.0.0.1:8126",
			}
		}, ""},
		{"no usage gauges", `telemetry { usage_gauge_period = "none" }`, func(want *config.Telemetry) { want.UsagePeriod = 0 }, ""},
		{"too often", `telemetry { usage_gauge_period = "1s" }`, func(want *config.Telemetry) { want.UsagePeriod = time.Minute },
			`a.hcl:1: telemetry: usage_gauge_period is raised to 1m0s`},
		{"not spoken to", `telemetry { dogstatsd_addr = "x" }`, func(*config.Telemetry) {}, `telemetry: no effect in this server: "dogstatsd_addr"`},
		{"unknown", `telemetry { hat = 1 }`, func(*config.Telemetry) {}, `telemetry: unknown key "hat"`},
	} {
		got, err := load(t, "a.hcl", test.text)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		want := config.Default().Telemetry
		test.want(&want)
		if diff := cmp.Diff(want, got.Telemetry); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if warnings := strings.Join(got.Warnings, "\n"); !strings.Contains(warnings, test.warning) || (test.warning == "") != (warnings == "") {
			t.Errorf("%s: warnings %q, want %q", test.name, warnings, test.warning)
		}
	}
}

func TestBadTelemetry(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`telemetry { metrics_prefix = "a b" }`:                                                   "telemetry: metrics_prefix: expected letters",
		`telemetry { prefix_filter = ["vault.core"] }`:                                           "telemetry: prefix_filter: expected beginnings",
		`telemetry { usage_gauge_period = "often" }`:                                             `telemetry: usage_gauge_period: expected a duration`,
		`listener "tcp" { telemetry { metrics_path = "metrics" } }`:                              `listener "tcp": telemetry: metrics_path: expected a path`,
		`listener "tcp" { profiling { unauthenticated_pprof_access = 7 } }`:                      "unauthenticated_pprof_access: expected true or false",
		`listener "tcp" { tls_disable = 1 telemetry { disallow_metrics = 1 metrics_only = 1 } }`: "disallow_metrics excludes metrics_only",
	} {
		c, err := load(t, "a.hcl", `storage "inmem" {}`+"\n"+text)
		if err == nil {
			err = c.Validate()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestExposure(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"a.hcl": `listener "tcp" {
  telemetry { unauthenticated_metrics_access = true  metrics_only = true  metrics_path = "/metrics" }
  profiling { unauthenticated_pprof_access = true }
  inflight_requests_logging { unauthenticated_in_flight_requests_access = true }
}`, "a.json": `{"listener": {"tcp": {
  "telemetry": {"unauthenticated_metrics_access": "true", "metrics_only": true, "metrics_path": "/metrics"},
  "profiling": [{"unauthenticated_pprof_access": true}],
  "inflight_requests_logging": {"unauthenticated_in_flight_requests_access": true}}}}`} {
		c, err := load(t, name, text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := config.Exposure{OpenMetrics: true, OnlyMetrics: true, MetricsPath: "/metrics", OpenProfiles: true, OpenInFlight: true}
		if diff := cmp.Diff(want, c.Listeners[0].Exposure); diff != "" || len(c.Warnings) != 0 {
			t.Errorf("%s: warnings %q (-want +got):\n%s", name, c.Warnings, diff)
		}
	}
}

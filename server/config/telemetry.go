package config

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Telemetry is what the server measures, and whom it tells.
type Telemetry struct {
	Prefix              string
	Hostname            bool          // the machine's name stands in the names of gauges
	HostnameLabel       bool          // it is a label instead
	PrometheusRetention time.Duration // 0: no Prometheus form
	UsagePeriod         time.Duration // how often everything is counted, at least leastUsagePeriod; 0: never
	MaxCardinality      int64         // combinations of labels that a metric has
	BlockByDefault      bool
	Allow, Block        []string // beginnings of names
	StatsdAddress       string
	StatsiteAddress     string
}

// leastUsagePeriod is the shortest period of counts that look at every row.
const leastUsagePeriod = time.Minute

func defaultTelemetry() Telemetry {
	return Telemetry{
		Prefix: "vault", Hostname: true, PrometheusRetention: 24 * time.Hour, UsagePeriod: 10 * time.Minute, MaxCardinality: 500,
	}
}

// Exposure is what a listener shows of the process, and what it shows to everybody.
type Exposure struct {
	OpenMetrics  bool   // sys/metrics needs no token
	NoMetrics    bool   // sys/metrics is not there
	OnlyMetrics  bool   // nothing else is there
	MetricsPath  string // another path of sys/metrics; "": none
	OpenProfiles bool   // sys/pprof needs no token
	OpenInFlight bool   // sys/in-flight-req needs no token
}

var metricsPrefix = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_.-]*$`)

// idleTelemetry are keys of monitoring services that are not spoken to, and of gauges that there are not.
var idleTelemetry = []string{
	"add_lease_metrics_namespace_labels", "add_mount_point_rollback_metrics", "dogstatsd_addr", "dogstatsd_tags", "lease_metrics_epsilon",
	"num_lease_metrics_buckets", "stackdriver_debug_logs", "stackdriver_location", "stackdriver_namespace", "stackdriver_project_id",
	"circonus_api_app", "circonus_api_token", "circonus_api_url", "circonus_broker_id", "circonus_broker_select_tag", "circonus_check_display_name",
	"circonus_check_force_metric_activation", "circonus_check_id", "circonus_check_instance_id", "circonus_check_search_tag",
	"circonus_check_tags", "circonus_submission_interval", "circonus_submission_url",
}

func (l *loader) telemetry(n node) error {
	t := &l.config.Telemetry
	known := fields{
		"metrics_prefix": func(n node) error {
			if n.kind != text || n.text != "" && !metricsPrefix.MatchString(n.text) {
				return errExpected("letters, digits and _.-")
			}
			t.Prefix = n.text
			return nil
		},
		"disable_hostname":          notField(&t.Hostname),
		"enable_hostname_label":     boolField(&t.HostnameLabel),
		"prometheus_retention_time": durationField(&t.PrometheusRetention),
		"usage_gauge_period":        l.usagePeriod,
		"maximum_gauge_cardinality": intField(&t.MaxCardinality),
		"filter_default":            notField(&t.BlockByDefault),
		"prefix_filter":             filterField(t),
		"statsd_address":            textField(&t.StatsdAddress),
		"statsite_address":          textField(&t.StatsiteAddress),
	}
	return l.decode("telemetry: ", flatten(n), known, idleTelemetry)
}

// usagePeriod takes a duration, or "none".
func (l *loader) usagePeriod(n node) error {
	period := &l.config.Telemetry.UsagePeriod
	if n.kind == text && n.text == "none" {
		*period = 0
		return nil
	}
	if err := durationField(period)(n); err != nil {
		return errExpected(`a duration such as "10m", or "none"`)
	}
	if *period < leastUsagePeriod {
		l.warn(n.line, "telemetry: usage_gauge_period is raised to %s: counting everything more often costs more than it tells", leastUsagePeriod)
		*period = leastUsagePeriod
	}
	return nil
}

// filterField reads rules such as "+vault.core" and "-vault.database".
func filterField(t *Telemetry) field {
	return func(n node) error {
		var rules []string
		if err := listField(&rules)(n); err != nil {
			return err
		}
		t.Allow, t.Block = nil, nil
		for _, rule := range rules {
			if name, ok := strings.CutPrefix(rule, "+"); ok && name != "" {
				t.Allow = append(t.Allow, name)
			} else if name, ok := strings.CutPrefix(rule, "-"); ok && name != "" {
				t.Block = append(t.Block, name)
			} else {
				return errExpected(`beginnings of names with + or - in front, such as "-vault.database"`)
			}
		}
		return nil
	}
}

// exposure are the listener's blocks telemetry, profiling and inflight_requests_logging.
func (l *loader) exposure(listener string, e *Exposure) fields {
	block := func(name string, known fields) field {
		return func(n node) error {
			return l.decode(fmt.Sprintf("listener %q: %s: ", listener, name), flatten(n), known, nil)
		}
	}
	return fields{
		"telemetry": block("telemetry", fields{
			"unauthenticated_metrics_access": boolField(&e.OpenMetrics),
			"disallow_metrics":               boolField(&e.NoMetrics),
			"metrics_only":                   boolField(&e.OnlyMetrics),
			"metrics_path":                   pathField(&e.MetricsPath),
		}),
		"profiling": block("profiling", fields{"unauthenticated_pprof_access": boolField(&e.OpenProfiles)}),
		"inflight_requests_logging": block("inflight_requests_logging", fields{
			"unauthenticated_in_flight_requests_access": boolField(&e.OpenInFlight),
		}),
	}
}

// pathField takes a path as clients ask for it, from its first slash on.
func pathField(into *string) field {
	return func(n node) error {
		if n.kind != text || n.text != "" && !strings.HasPrefix(n.text, "/") {
			return errExpected(`a path such as "/metrics"`)
		}
		*into = n.text
		return nil
	}
}

func (e Exposure) validate() error {
	if e.NoMetrics && (e.OnlyMetrics || e.MetricsPath != "") {
		return fmt.Errorf("telemetry: disallow_metrics excludes metrics_only and metrics_path")
	}
	return nil
}

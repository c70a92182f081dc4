package metrics

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	library "github.com/hashicorp/go-metrics"
	libraryprometheus "github.com/hashicorp/go-metrics/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"leasehold/internal/clock"
)

// The in-memory form tells of the last interval that has ended, and keeps as many as Go's own tools may ask for.
const (
	interval = 10 * time.Second
	retained = time.Minute
)

// defaultCardinality is how many combinations of label values a metric has at most.
const defaultCardinality = 500

// otherLabel stands for all combinations beyond the limit.
const otherLabel = "other"

// Config makes a Registry.
type Config struct {
	Clock clock.Clock // required; says when samplers are due

	Prefix        string // of every name; "": none
	Hostname      string // put between prefix and name of gauges; "": not
	HostnameLabel bool   // Hostname becomes a label of all metrics instead

	// PrometheusRetention is how long the Prometheus form shows a metric that has no new values. 0: there is no
	// Prometheus form.
	PrometheusRetention time.Duration

	StatsdAddress   string // host:port, UDP; "": nothing is sent
	StatsiteAddress string // host:port, TCP; "": nothing is sent

	BlockByDefault bool     // measure only what Allow names
	Allow, Block   []string // beginnings of names, prefix included; the longest that fits decides

	MaxCardinality int // combinations of label values of each metric; 0: 500
}

// Registry keeps what was measured, and tells it. Safe for concurrent use; nothing in it waits for the network.
type Registry struct {
	clock       clock.Clock
	limit       int
	memory      *library.InmemSink
	prometheus  *prometheus.Registry // nil: no such form
	help        map[string]string    // by name in the Prometheus form
	sampling    chan struct{}        // holds an item while RunOnce runs
	samplers    []*sampler           // for who has put the item
	emission    sync.RWMutex         // held for reading while the library is called, for writing by Close
	measurement *library.Metrics     // guarded by emission; nil: closed

	series sync.Map // by series key, of those that were told before: true

	mu    sync.Mutex
	count map[*Metric]int     // combinations of labels in series; guarded by mu
	held  map[string]*reading // gauges that are told again and again, by series key; guarded by mu
}

// New makes a registry. Sending to statsd and statsite begins at once, and is tried again when nobody is there.
func New(cfg Config) (*Registry, error) {
	if cfg.Clock == nil {
		return nil, errors.New("metrics: Clock is required")
	}
	r := &Registry{
		clock: cfg.Clock, limit: cfg.MaxCardinality, memory: library.NewInmemSink(interval, retained),
		sampling: make(chan struct{}, 1), count: map[*Metric]int{}, held: map[string]*reading{},
	}
	if r.limit <= 0 {
		r.limit = defaultCardinality
	}
	sinks := library.FanoutSink{r.memory}
	if cfg.PrometheusRetention > 0 {
		sink, err := r.newPrometheus(cfg)
		if err != nil {
			return nil, fmt.Errorf("metrics: make the Prometheus form: %w", err)
		}
		sinks = append(sinks, sink)
	}
	for _, remote := range []struct {
		address string
		connect func(address string) (library.MetricSink, error)
	}{
		{cfg.StatsdAddress, func(a string) (library.MetricSink, error) { return library.NewStatsdSink(a) }},
		{cfg.StatsiteAddress, func(a string) (library.MetricSink, error) { return library.NewStatsiteSink(a) }},
	} {
		if remote.address == "" {
			continue
		}
		sink, err := remote.connect(remote.address)
		if err != nil {
			return nil, fmt.Errorf("metrics: send to %s: %w", remote.address, err)
		}
		sinks = append(sinks, sink)
	}
	var err error
	r.measurement, err = library.New(&library.Config{
		ServiceName: cfg.Prefix, HostName: cfg.Hostname, EnableHostname: cfg.Hostname != "",
		EnableHostnameLabel: cfg.Hostname != "" && cfg.HostnameLabel, TimerGranularity: time.Millisecond,
		FilterDefault: !cfg.BlockByDefault, AllowedPrefixes: cfg.Allow, BlockedPrefixes: cfg.Block,
	}, sinks)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	for _, m := range all { // a rate can be told from the first event on only where there was a zero before it
		if m.Kind == KindCounter && len(m.Labels) == 0 {
			r.Add(Counter{m}, 0)
		}
	}
	return r, nil
}

// newPrometheus makes the sink of the Prometheus form, with the figures of the process and of the Go runtime beside ours.
func (r *Registry) newPrometheus(cfg Config) (library.MetricSink, error) {
	r.prometheus = prometheus.NewRegistry()
	err := errors.Join(
		r.prometheus.Register(collectors.NewGoCollector()),
		r.prometheus.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
	)
	if err != nil {
		return nil, err
	}
	r.help = map[string]string{}
	for _, m := range all {
		parts := []string{cfg.Prefix, m.Name}
		if m.Kind == KindGauge && cfg.Hostname != "" && !cfg.HostnameLabel {
			parts = []string{cfg.Prefix, cfg.Hostname, m.Name}
		}
		name := strings.TrimPrefix(strings.Join(parts, "_"), "_")
		r.help[strings.NewReplacer(".", "_", "-", "_").Replace(name)] = m.Help
	}
	return libraryprometheus.NewPrometheusSinkFrom(libraryprometheus.PrometheusOpts{
		Expiration: cfg.PrometheusRetention, Registerer: r.prometheus, Name: "leasehold",
	})
}

// Close ends the sending to others. What is measured afterwards is lost.
func (r *Registry) Close() {
	r.emission.Lock()
	defer r.emission.Unlock()
	if r.measurement != nil {
		r.measurement.Shutdown()
		r.measurement = nil
	}
}

// Add adds n to a counter. n is not negative.
func (r *Registry) Add(c Counter, n int, labels ...string) {
	r.tell(c.Metric, labels, func(m *library.Metrics, key []string, labels []library.Label) {
		m.IncrCounterWithLabels(key, float32(n), labels)
	})
}

// Observe adds a duration to a timer.
func (r *Registry) Observe(t Timer, took time.Duration, labels ...string) {
	milliseconds := float32(took.Seconds() * 1000)
	r.tell(t.Metric, labels, func(m *library.Metrics, key []string, labels []library.Label) {
		m.AddSampleWithLabels(key, milliseconds, labels)
	})
}

// Set sets a gauge, until it is set again.
func (r *Registry) Set(g Gauge, value float64, labels ...string) {
	r.emit(g, value, labels)
	r.hold(&reading{Gauge: g, value: value, labels: slices.Clone(labels)})
}

// emit tells a gauge's value. What is not a number has no form in JSON, and is not told.
func (r *Registry) emit(g Gauge, value float64, labels []string) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return
	}
	r.tell(g.Metric, labels, func(m *library.Metrics, key []string, labels []library.Label) {
		m.SetGaugeWithLabels(key, float32(value), labels)
	})
}

// tell calls the library, unless the registry is closed. A wrong number of labels is a fault of the program.
func (r *Registry) tell(m *Metric, values []string, call func(m *library.Metrics, key []string, labels []library.Label)) {
	if len(values) != len(m.Labels) {
		panic(fmt.Sprintf("metrics: %s has %d labels, not %d", m.Name, len(m.Labels), len(values)))
	}
	r.emission.RLock()
	defer r.emission.RUnlock()
	if r.measurement == nil {
		return
	}
	var labels []library.Label
	for i, name := range m.Labels {
		labels = append(labels, library.Label{Name: name, Value: values[i]})
	}
	key := seriesKey(m, values)
	if _, known := r.series.Load(key); known {
		call(r.measurement, m.key, labels)
		return
	}
	// The library may lose one of two values that begin a series at the same moment: the first is told under the lock.
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.series.Load(key); !known {
		switch {
		case len(values) == 0 || r.count[m] < r.limit:
			r.count[m]++
			defer r.series.Store(key, true) // after the call
		case m.Kind == KindGauge: // there is no value that stands for several
			return
		default:
			for i := range labels {
				labels[i].Value = otherLabel
			}
		}
	}
	call(r.measurement, m.key, labels)
}

// seriesKey tells one combination of label values from all others.
func seriesKey(m *Metric, values []string) string {
	if len(values) == 0 {
		return m.Name
	}
	return m.Name + "\x00" + strings.Join(values, "\x00")
}

// reading is a gauge's latest value.
type reading struct {
	Gauge
	value  float64
	labels []string
}

// hold keeps a gauge to be told again, unless it is one too many.
func (r *Registry) hold(reading *reading) {
	key := seriesKey(reading.Metric, reading.labels)
	if _, known := r.series.Load(key); !known {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held[key] = reading
}

func (r *Registry) drop(reading *reading) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.held, seriesKey(reading.Metric, reading.labels))
}

package metrics

import "strings"

// Kind is what a metric does with its values.
type Kind string

// The kinds.
const (
	KindGauge   Kind = "gauge"   // the latest value
	KindCounter Kind = "counter" // a sum that only grows
	KindTimer   Kind = "timer"   // durations in milliseconds: quantiles, sum and count
)

// Metric is one thing that is measured.
type Metric struct {
	Name   string   // without the prefix, such as "core.handle_request"
	Kind   Kind     // of its values
	Labels []string // names of its labels, in the order of the values that are given with each measurement
	Help   string   // one sentence, with the unit

	key []string // the name's parts
}

// The three kinds are types, so that a counter cannot be set and a gauge cannot be added to.
type (
	Gauge   struct{ *Metric }
	Counter struct{ *Metric }
	Timer   struct{ *Metric }
)

// all are the metrics of names.go, in its order.
var all []*Metric

// All is every metric that this package tells, besides those of the Go runtime. Do not change them.
func All() []*Metric { return all }

func metric(kind Kind, name, help string, labels []string) *Metric {
	m := &Metric{Name: name, Kind: kind, Labels: labels, Help: help, key: strings.Split(name, ".")}
	all = append(all, m)
	return m
}

func gauge(name, help string, labels ...string) Gauge {
	return Gauge{metric(KindGauge, name, help, labels)}
}

func counter(name, help string, labels ...string) Counter {
	return Counter{metric(KindCounter, name, help, labels)}
}

func timer(name, help string, labels ...string) Timer {
	return Timer{metric(KindTimer, name, help, labels)}
}

package metrics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"

	library "github.com/hashicorp/go-metrics"
	"github.com/prometheus/common/expfmt"
)

// Content types of the forms.
const (
	jsonType       = "application/json"
	prometheusType = "text/plain; version=0.0.4; charset=utf-8"
	errorType      = "text/plain"
)

// Rendered is an answer of sys/metrics.
type Rendered struct {
	Refused     bool // there is no such form here; Body says so
	ContentType string
	Body        []byte
}

// Render is what was measured: "" and "json" are the last ten seconds that have ended, "prometheus" is version 0.0.4 of
// its text form.
//
// Wire: GET sys/metrics. A form that is unknown or turned off is refused in plain text.
func (r *Registry) Render(format string) (Rendered, error) {
	switch format {
	case "", "json":
		return r.renderJSON()
	case "prometheus":
		if r.prometheus == nil {
			return refused("prometheus is not enabled: prometheus_retention_time is 0"), nil
		}
		return r.renderPrometheus()
	default:
		return refused(`unknown metrics format: use "json" or "prometheus"`), nil
	}
}

func refused(text string) Rendered {
	return Rendered{Refused: true, ContentType: errorType, Body: []byte(text)}
}

func (r *Registry) renderJSON() (Rendered, error) {
	shown, err := r.memory.DisplayMetrics(nil, nil)
	if err != nil {
		return Rendered{}, fmt.Errorf("read the metrics: %w", err)
	}
	if summary, ok := shown.(library.MetricsSummary); ok {
		withoutNaN(summary.Counters)
		withoutNaN(summary.Samples)
	}
	body, err := json.Marshal(shown)
	if err != nil {
		return Rendered{}, fmt.Errorf("encode the metrics: %w", err)
	}
	return Rendered{ContentType: jsonType, Body: body}, nil
}

// withoutNaN makes a deviation that rounding has made the root of a negative number zero: it is one, and JSON has no
// other form for it.
func withoutNaN(values []library.SampledValue) {
	for i := range values {
		if math.IsNaN(values[i].Stddev) {
			values[i].Stddev = 0
		}
	}
}

func (r *Registry) renderPrometheus() (Rendered, error) {
	families, err := r.prometheus.Gather()
	if err != nil {
		return Rendered{}, fmt.Errorf("gather the metrics: %w", err)
	}
	var body bytes.Buffer
	encoder := expfmt.NewEncoder(&body, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, family := range families {
		if help, ours := r.help[family.GetName()]; ours {
			family.Help = &help
		}
		if err := encoder.Encode(family); err != nil {
			return Rendered{}, fmt.Errorf("encode the metrics: %w", err)
		}
	}
	return Rendered{ContentType: prometheusType, Body: body.Bytes()}, nil
}

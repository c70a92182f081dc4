package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/robfig/cron/v3"

	"leasehold/broker"
	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/lease"
	"leasehold/metrics"
	"leasehold/server/config"
	"leasehold/server/httpapi"
	"leasehold/store"
)

// measures makes metrics of what the parts tell. It is the one place that knows both.
type measures struct {
	*metrics.Registry
	inFlight httpapi.InFlight

	// Set by parts.measure, before anything is asked.
	mountPath func(mountUUID string) string // "" for a mount that is gone
	unlocked  func() bool

	mu         sync.Mutex
	reconciled map[target]differences // guarded by mu
}

// target is a connection of a mount.
type target struct{ mountUUID, connection string }

// differences are what a reconciliation has found.
type differences struct{ orphans, missing, foreign int }

// measureEvery is how often gauges are told, and often how samplers are asked for.
const measureEvery = 10 * time.Second

// sampleEvery is how often what an index leads to is counted.
const sampleEvery = time.Minute

func newMeasures(cfg config.Telemetry, hostname string, now clock.Clock) (*measures, error) {
	if !cfg.Hostname && !cfg.HostnameLabel {
		hostname = ""
	}
	registry, err := metrics.New(metrics.Config{
		Clock: now, Prefix: cfg.Prefix, Hostname: hostname, HostnameLabel: cfg.HostnameLabel, PrometheusRetention: cfg.PrometheusRetention,
		StatsdAddress: cfg.StatsdAddress, StatsiteAddress: cfg.StatsiteAddress,
		BlockByDefault: cfg.BlockByDefault, Allow: cfg.Allow, Block: cfg.Block, MaxCardinality: int(cfg.MaxCardinality),
	})
	if err != nil {
		return nil, err
	}
	return &measures{Registry: registry, reconciled: map[target]differences{}}, nil
}

// run tells the gauges until ctx is done. What fails is logged once until it succeeds again.
func (m *measures) run(ctx context.Context, log *slog.Logger) {
	failing := false
	job := cron.NewChain(cron.Recover(cronLog{log}), cron.SkipIfStillRunning(cron.DiscardLogger)).Then(cron.FuncJob(func() {
		err := m.RunOnce(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			log.Error("gauges are old: a count over rows failed", "error", err)
		}
		failing = err != nil
	}))
	c := cron.New()
	c.Schedule(cron.Every(measureEvery), job)
	c.Start()
	job.Run()
	<-ctx.Done()
	<-c.Stop().Done()
}

// tellProcess sets the gauges that cost nothing.
func (m *measures) tellProcess() {
	open := 0.0
	if m.unlocked() {
		open = 1
	}
	m.Set(metrics.Unsealed, open)
	m.Set(metrics.Active, open)
	m.Set(metrics.InFlightRequests, float64(m.inFlight.Count()))
}

// render is the answer of sys/metrics. A scraper that asks for the newer form of Prometheus gets the one that there is.
func (m *measures) render(format string, header http.Header) (*engine.Response, error) {
	if format == "" && strings.HasPrefix(header.Get("Accept"), "application/openmetrics-text") {
		format = "prometheus"
	}
	m.tellProcess()
	rendered, err := m.Render(format)
	if err != nil {
		return nil, err
	}
	resp := &engine.Response{Raw: &engine.Raw{ContentType: rendered.ContentType, Body: rendered.Body}}
	if rendered.Refused {
		resp.Status = http.StatusBadRequest
	}
	return resp, nil
}

// answered counts an answer. A status of zero is a connection that broke before there was one.
func (m *measures) answered(status int) {
	if status > 0 {
		m.Add(metrics.ResponseStatus, 1, strconv.Itoa(status), fmt.Sprintf("%dxx", status/100))
	}
}

func (m *measures) brokerObserver() broker.Observer {
	return broker.Observer{
		Handled: func(login bool, took time.Duration) {
			if login {
				m.Observe(metrics.HandleLoginRequest, took)
			} else {
				m.Observe(metrics.HandleRequest, took)
			}
		},
		Audited: func(answer bool, took time.Duration, err error) {
			lines, failures := metrics.AuditRequest, metrics.AuditRequestFailure
			if answer {
				lines, failures = metrics.AuditResponse, metrics.AuditResponseFailure
			}
			m.Observe(lines, took)
			if err != nil {
				m.Add(failures, 1)
			}
		},
	}
}

func (m *measures) storeObserver() store.Observer {
	return store.Observer{
		Committed: func(took time.Duration, updates int, err error) {
			if err != nil {
				m.Add(metrics.StoreCommitFailed, 1)
				return
			}
			m.Observe(metrics.StoreCommit, took)
			m.Add(metrics.StoreUpdates, updates)
		},
		Collided: func() { m.Add(metrics.StoreCollisions, 1) },
	}
}

func (m *measures) leaseObserver() lease.Observer {
	return lease.Observer{
		Issued: func(mountUUID string, took time.Duration, err error) {
			path := m.mountPath(mountUUID)
			if err != nil {
				m.Add(metrics.LeaseIssueFailed, 1, path, outcome(err))
				return
			}
			m.Add(metrics.LeasesCreated, 1, path)
			m.Observe(metrics.LeaseIssue, took, path)
		},
		Renewed: func(took time.Duration) { m.Observe(metrics.LeaseRenew, took) },
		Undone: func(mountUUID, connection string, took time.Duration, err error) {
			m.Observe(metrics.LeaseRevoke, took)
			m.Add(metrics.LeaseRevoked, 1, m.mountPath(mountUUID), connection, outcome(err))
		},
	}
}

// outcome is the word for what a target database answered.
func outcome(err error) string {
	switch {
	case err == nil:
		return metrics.OutcomeOK
	case errors.Is(err, lease.ErrUnreachable):
		return metrics.OutcomeUnreachable
	case errors.Is(err, lease.ErrUnknown):
		return metrics.OutcomeUnknown
	}
	return metrics.OutcomeFailed
}

// onReconciled keeps what was found at a connection. Nothing anywhere is also what is told of a connection that is gone.
func (m *measures) onReconciled(mountUUID, connection string, orphans, missing, foreign int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reconciled[target{mountUUID, connection}] = differences{orphans, missing, foreign}
}

func (m *measures) onRotated(mountUUID, connection string, took time.Duration, err error) {
	path := m.mountPath(mountUUID)
	m.Observe(metrics.StaticRotation, took)
	m.Add(metrics.StaticRotations, 1, path, connection, outcome(err))
}

// tellReconciled is the sampler of what reconciliations have found, so that the gauges of a mount go with it.
func (m *measures) tellReconciled(_ context.Context, set func(metrics.Gauge, float64, ...string)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for t, d := range m.reconciled {
		path := m.mountPath(t.mountUUID)
		switch {
		case path == "" && d == differences{}:
			delete(m.reconciled, t)
			continue
		case path == "":
			continue
		}
		set(metrics.Orphans, float64(d.orphans), path, t.connection)
		set(metrics.MissingUsers, float64(d.missing), path, t.connection)
		set(metrics.ForeignUsers, float64(d.foreign), path, t.connection)
	}
	return nil
}

// measure begins to sample what the parts know. usage is the period of what looks at every row; 0: never.
func (p *parts) measure(usage time.Duration) {
	m := p.measures
	m.mountPath = p.broker.MountPath
	m.unlocked = p.store.Unlocked
	m.Sample("process", measureEvery, func(context.Context, func(metrics.Gauge, float64, ...string)) error {
		m.tellProcess()
		return nil
	})
	m.Sample("reconciled", measureEvery, p.unsealed(m.tellReconciled))
	m.Sample("irrevocable", sampleEvery, p.unsealed(p.sampleIrrevocable))
	m.Sample("backlogs", sampleEvery, p.unsealed(p.sampleBacklogs))
	if usage > 0 {
		m.Sample("leases", usage, p.unsealed(p.sampleLeases))
		m.Sample("tokens", usage, p.unsealed(p.sampleTokens))
	}
}

// unsealed is a sampler that looks only while the store has its keys.
func (p *parts) unsealed(take metrics.Take) metrics.Take {
	return func(ctx context.Context, set func(metrics.Gauge, float64, ...string)) error {
		if !p.store.Unlocked() {
			return metrics.ErrNotNow
		}
		return take(ctx, set)
	}
}

func (p *parts) sampleIrrevocable(ctx context.Context, set func(metrics.Gauge, float64, ...string)) error {
	counts, err := p.broker.CountIrrevocable(ctx)
	total := 0
	for _, n := range counts {
		total += n
	}
	set(metrics.LeasesIrrevocable, float64(total))
	return err
}

func (p *parts) sampleBacklogs(ctx context.Context, set func(metrics.Gauge, float64, ...string)) error {
	backlogs, err := p.leases.Backlogs(ctx)
	for _, b := range backlogs {
		path := p.measures.mountPath(b.MountUUID)
		if path == "" {
			continue
		}
		parked := 0.0
		if b.Parked {
			parked = 1
		}
		set(metrics.LeasesDue, float64(b.Due), path, b.Target)
		set(metrics.LeasesDueOldestAge, b.Oldest.Seconds(), path, b.Target)
		set(metrics.TargetParked, parked, path, b.Target)
	}
	return err
}

func (p *parts) sampleLeases(ctx context.Context, set func(metrics.Gauge, float64, ...string)) error {
	counts, err := p.leases.CountByState(ctx)
	all := 0
	for state, n := range counts {
		all += n
		set(metrics.LeasesByState, float64(n), string(state))
	}
	set(metrics.Leases, float64(all))
	return err
}

func (p *parts) sampleTokens(ctx context.Context, set func(metrics.Gauge, float64, ...string)) error {
	n, err := p.broker.CountTokens(ctx)
	set(metrics.Tokens, float64(n))
	return err
}

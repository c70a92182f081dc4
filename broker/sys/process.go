package sys

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"leasehold/engine"
	"leasehold/internal/errs"
)

// Process is what the engine shows of the process that it runs in. What is nil answers as a path that is unknown.
type Process struct {
	// Metrics is the answer of sys/metrics. header may ask for a form when format does not.
	Metrics func(format string, header http.Header) (*engine.Response, error)
	// InFlight are the requests that are being answered, by id.
	InFlight func() map[string]any
	// Monitor checks a level and a format of the log, "" for the defaults, and returns what writes the log's lines from
	// then on. Errors: Invalid.
	Monitor func(level, format string) (stream func(ctx context.Context, w io.Writer) error, err error)
	Loggers Loggers
	Plugins Plugins
}

// Plugins is what the catalogue has to know of this process.
type Plugins struct {
	BuiltIn map[string][]string // names by kind: auth, database, secret
	Version string              // of what is built in
	// Check refuses a command that cannot be launched. Its errors are shown. Nil: none can.
	Check func(command string) error
	// Reload has connections of databases opened anew, on every node: those of a plugin, or those of a mount. The other is empty.
	Reload func(ctx context.Context, plugin, mountUUID string) error
}

// Loggers are the levels of the log, by the name of the logger. "" is all of them. Safe for concurrent use.
type Loggers interface {
	Levels() map[string]string
	// SetLevel errors: Invalid (no such logger, no such level, no level).
	SetLevel(name, level string) error
	// ResetLevel makes the level that of the configuration. Errors: Invalid (no such logger).
	ResetLevel(name string) error
}

// processPaths are the paths that tell of the process.
func (s *system) processPaths() []*engine.Path {
	paths := []*engine.Path{
		{Pattern: "pprof/*name", Open: true, Help: "Profiles of this process, as Go makes them.", Ops: engine.Ops{engine.Read: profile}},
	}
	p := s.process
	if p.Metrics != nil {
		paths = append(paths, &engine.Path{Pattern: "metrics", Fields: engine.Schema{"format": engine.Text},
			Help: "What this process has measured.", Ops: engine.Ops{engine.Read: s.metrics}})
	}
	if p.InFlight != nil {
		paths = append(paths, &engine.Path{Pattern: "in-flight-req", Fields: engine.Schema{},
			Help: "The requests that this process is answering.", Ops: engine.Ops{engine.Read: s.inFlight}})
	}
	if p.Monitor != nil {
		paths = append(paths, &engine.Path{Pattern: "monitor", Fields: engine.Schema{"log_level": engine.Text, "log_format": engine.Text},
			Help: "The log of this process, as it is written.", Ops: engine.Ops{engine.Read: s.monitor}})
	}
	if p.Loggers != nil {
		fields := engine.Schema{"name": engine.Text, "level": engine.Text}
		paths = append(paths,
			&engine.Path{Pattern: "loggers", Fields: fields, Help: "The levels of all loggers.",
				Ops: engine.Ops{engine.Read: s.loggers, engine.Update: s.setLevel, engine.Delete: s.resetLevel}},
			&engine.Path{Pattern: "loggers/:name", Fields: fields, Help: "The level of a logger.",
				Ops: engine.Ops{engine.Read: s.logger, engine.Update: s.setLevel, engine.Delete: s.resetLevel}},
		)
	}
	return paths
}

func (s *system) metrics(_ context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return s.process.Metrics(f.Text("format"), r.Header)
}

func (s *system) inFlight(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	body, err := json.Marshal(s.process.InFlight())
	if err != nil {
		return nil, err
	}
	return &engine.Response{Raw: &engine.Raw{ContentType: "application/json", Body: body}}, nil
}

func (s *system) monitor(_ context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	stream, err := s.process.Monitor(f.Text("log_level"), f.Text("log_format"))
	if err != nil {
		return nil, err
	}
	return &engine.Response{Raw: &engine.Raw{ContentType: "text/plain; charset=utf-8", Stream: stream}}, nil
}

func (s *system) loggers(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	levels := map[string]any{}
	for name, level := range s.process.Loggers.Levels() {
		levels[name] = level
	}
	return &engine.Response{Data: levels}, nil
}

// logger answers with an empty list of warnings. Compat: recording sys-misc.
func (s *system) logger(_ context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	name := f.Text("name")
	level, known := s.process.Loggers.Levels()[name]
	if !known {
		return nil, errs.New(errs.Invalid, "logger %q not found", name)
	}
	return &engine.Response{Data: map[string]any{name: level}, Warnings: []string{}}, nil
}

func (s *system) setLevel(_ context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return nil, s.process.Loggers.SetLevel(f.Text("name"), f.Text("level"))
}

func (s *system) resetLevel(_ context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return nil, s.process.Loggers.ResetLevel(f.Text("name"))
}

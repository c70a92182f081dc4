package sys

import (
	"slices"
	"strings"

	"leasehold/engine"
	"leasehold/internal/errs"
)

// Broker is what the engine asks of the broker, by subject.
type Broker interface {
	mountTable
	policyTable
	settingTable
	leaseTable
	auditTable
	keys
	ceremonies
	server
	counters
	wrapping
}

type system struct {
	b       Broker
	process Process
}

// New makes the engine of type "system".
func New(b Broker, p Process) engine.Engine {
	s := &system{b, p}
	return engine.NewRouter(slices.Concat(
		s.mountPaths(), s.remountPaths(), s.policyPaths(), s.passwordPaths(), s.capabilityPaths(), s.leasePaths(), s.auditPaths(),
		s.configPaths(), s.keyPaths(), s.rekeyPaths(), s.generateRootPaths(), s.uiPaths(), s.serverPaths(), toolPaths(), s.processPaths(), s.counterPaths(),
		s.wrappingPaths(), s.pluginPaths(),
	)...)
}

// data answers with one field.
func data(name string, value any) *engine.Response {
	return &engine.Response{Data: map[string]any{name: value}}
}

// both answers with data that old clients also find at the envelope's top level.
func both(data map[string]any) *engine.Response {
	return &engine.Response{Data: data, Duplicate: true}
}

// listing answers a list.
func listing(names []string, err error) (*engine.Response, error) {
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errs.New(errs.NotFound, "")
	}
	return data("keys", names), nil
}

// folder is a mount's path: the name of the request with one slash at its end.
func folder(name string) string { return strings.Trim(name, "/") + "/" }

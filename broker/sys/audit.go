package sys

import (
	"context"
	"strings"

	"leasehold/broker"
	"leasehold/engine"
	"leasehold/internal/errs"
)

type auditTable interface {
	AuditDevices() []broker.AuditDevice
	EnableAudit(ctx context.Context, d broker.AuditDevice) error
	DisableAudit(ctx context.Context, path string) error
	AuditHash(path, text string) (string, error)
}

func (s *system) auditPaths() []*engine.Path {
	device := engine.Schema{
		"path": engine.Text, "type": engine.Text, "description": engine.Text, "local": engine.Bool, "options": engine.TextMap,
	}
	header := engine.Schema{"name": engine.Text, "hmac": engine.Bool}
	return []*engine.Path{
		{Pattern: "audit", Sudo: true, Help: "List the audit devices.", Ops: engine.Ops{engine.Read: s.listDevices}},
		{Pattern: "audit/*path", Fields: device, Sudo: true, Help: "Enable or disable an audit device.",
			Ops: engine.Ops{engine.Update: s.enableDevice, engine.Delete: s.disableDevice}},
		{Pattern: "audit-hash/*path", Fields: engine.Schema{"path": engine.Text, "input": engine.Text},
			Help: "How an audit device shows a value.", Ops: engine.Ops{engine.Update: s.auditHash}},
		{Pattern: "config/auditing/request-headers", Sudo: true, Help: "List the request headers that are audited.",
			Ops: engine.Ops{engine.Read: s.listAuditedHeaders}},
		{Pattern: "config/auditing/request-headers/*name", Fields: header, Sudo: true, Help: "Choose a request header to audit.",
			Ops: engine.Ops{engine.Read: s.readAuditedHeader, engine.Update: s.writeAuditedHeader, engine.Delete: s.deleteAuditedHeader}},
	}
}

func (s *system) listDevices(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	all := map[string]any{}
	for _, d := range s.b.AuditDevices() {
		options := d.Options
		if options == nil {
			options = map[string]string{}
		}
		all[d.Path] = map[string]any{
			"path": d.Path, "type": d.Type, "description": d.Description, "local": d.Local, "options": options,
		}
	}
	return both(all), nil
}

func (s *system) enableDevice(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return nil, s.b.EnableAudit(ctx, broker.AuditDevice{
		Path: folder(f.Text("path")), Type: f.Text("type"), Description: f.Text("description"), Local: f.Bool("local"),
		Options: f.Map("options"),
	})
}

func (s *system) disableDevice(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return nil, s.b.DisableAudit(ctx, folder(f.Text("path")))
}

func (s *system) auditHash(_ context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	hash, err := s.b.AuditHash(folder(f.Text("path")), f.Text("input"))
	if err != nil {
		return nil, err
	}
	return both(map[string]any{"hash": hash}), nil
}

func (s *system) listAuditedHeaders(ctx context.Context, _ *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	names, err := s.b.SettingNames(ctx, broker.SettingAuditedHeader)
	if err != nil {
		return nil, err
	}
	headers := map[string]any{}
	for _, name := range names {
		var h broker.AuditedHeader
		if _, err := s.b.Setting(ctx, broker.SettingAuditedHeader, name, &h); err != nil {
			return nil, err
		}
		headers[name] = map[string]any{"hmac": h.Hash}
	}
	return both(map[string]any{"headers": headers}), nil
}

func (s *system) readAuditedHeader(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	var h broker.AuditedHeader
	found, err := s.b.Setting(ctx, broker.SettingAuditedHeader, strings.ToLower(f.Text("name")), &h)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errs.New(errs.Invalid, "Could not find header in config")
	}
	return both(map[string]any{f.Text("name"): map[string]any{"hmac": h.Hash}}), nil
}

func (s *system) writeAuditedHeader(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	name := strings.ToLower(f.Text("name"))
	return nil, s.b.PutSetting(ctx, broker.SettingAuditedHeader, name, broker.AuditedHeader{Hash: f.Bool("hmac")})
}

func (s *system) deleteAuditedHeader(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return nil, s.b.DeleteSetting(ctx, broker.SettingAuditedHeader, strings.ToLower(f.Text("name")))
}

package sys

import (
	"context"
	"net/textproto"
	"slices"
	"strings"

	"leasehold/broker"
	"leasehold/engine"
	"leasehold/internal/errs"
)

type settingTable interface {
	settingReader
	SettingNames(ctx context.Context, kind broker.Setting) ([]string, error)
	PutSetting(ctx context.Context, kind broker.Setting, name string, value any) error
	DeleteSetting(ctx context.Context, kind broker.Setting, name string) error
}

func (s *system) configPaths() []*engine.Path {
	cors := engine.Schema{
		"allowed_origins": engine.CommaList, "allowed_headers": engine.CommaList, "allow_credentials": engine.Bool, "enable": engine.Bool,
	}
	header := engine.Schema{"name": engine.Text, "values": engine.TextList, "multivalue": engine.Bool}
	return []*engine.Path{
		{Pattern: "config/cors", Fields: cors, Sudo: true, Help: "Which browser origins may talk to this server.",
			Ops: engine.Ops{engine.Read: s.readCORS, engine.Update: s.writeCORS, engine.Delete: s.deleteCORS}},
		{Pattern: "config/ui/headers", Fields: engine.Schema{}, Sudo: true, Help: "List the additional headers of the console.",
			Ops: engine.Ops{engine.List: s.listUIHeaders}},
		{Pattern: "config/ui/headers/:name", Fields: header, Sudo: true, Help: "Read, write or delete a header of the console.",
			Ops: engine.Ops{engine.Read: s.readUIHeader, engine.Update: s.writeUIHeader, engine.Delete: s.deleteUIHeader}},
	}
}

// standardHeaders are those that browsers may always send; preflight answers and the setting show them.
var standardHeaders = []string{
	"Content-Type", "X-Requested-With", "X-Vault-AWS-IAM-Server-ID", "X-Vault-MFA", "X-Vault-No-Request-Forwarding",
	"X-Vault-Wrap-Format", "X-Vault-Wrap-TTL", "X-Vault-Policy-Override", "Authorization", "X-Vault-Token", "X-Vault-Namespace",
	"X-Vault-Request",
}

func (s *system) readCORS(ctx context.Context, _ *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	var c broker.CORS
	if _, err := s.b.Setting(ctx, broker.SettingCORS, "", &c); err != nil {
		return nil, err
	}
	out := map[string]any{"enabled": c.Enabled}
	if c.Enabled {
		out["allowed_origins"] = c.AllowedOrigins
		out["allowed_headers"] = slices.Concat(standardHeaders, c.AllowedHeaders)
		out["allow_credentials"] = c.AllowCredentials
	}
	return both(out), nil
}

func (s *system) writeCORS(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	origins := f.List("allowed_origins")
	switch {
	case len(origins) == 0:
		return nil, errs.Framed(errs.Fault, "at least one origin or the wildcard must be provided")
	case len(origins) > 1 && slices.Contains(origins, "*"):
		return nil, errs.Framed(errs.Fault, "to allow all origins the '*' must be the only value for allowed_origins")
	}
	return nil, s.b.PutSetting(ctx, broker.SettingCORS, "", broker.CORS{
		Enabled: true, AllowedOrigins: origins, AllowedHeaders: f.List("allowed_headers"), AllowCredentials: f.Bool("allow_credentials"),
	})
}

func (s *system) deleteCORS(ctx context.Context, _ *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	return nil, s.b.DeleteSetting(ctx, broker.SettingCORS, "")
}

func (s *system) listUIHeaders(ctx context.Context, _ *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	return listing(s.b.SettingNames(ctx, broker.SettingUIHeader))
}

// headerName is the name as it is kept: header names ignore case.
func headerName(f *engine.Fields) string { return textproto.CanonicalMIMEHeaderKey(f.Text("name")) }

func (s *system) readUIHeader(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	var h broker.UIHeader
	found, err := s.b.Setting(ctx, broker.SettingUIHeader, headerName(f), &h)
	if err != nil || !found {
		return nil, err
	}
	if f.Bool("multivalue") {
		return data("values", h.Values), nil
	}
	return data("value", h.Values[0]), nil
}

func (s *system) writeUIHeader(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	name, values := headerName(f), f.List("values")
	switch {
	case len(values) == 0:
		return nil, errs.New(errs.Invalid, "header values must be set")
	case strings.HasPrefix(name, "X-Vault-"):
		return nil, errs.New(errs.Invalid, "X-Vault headers cannot be set")
	case slices.ContainsFunc(values, func(v string) bool { return strings.ContainsAny(v, "\r\n\x00") }):
		return nil, errs.New(errs.Invalid, "header values must not contain line breaks")
	}
	if err := s.b.PutSetting(ctx, broker.SettingUIHeader, name, broker.UIHeader{Values: values}); err != nil {
		return nil, err
	}
	return &engine.Response{Status: statusOK}, nil
}

// statusOK makes an answer of an otherwise empty success.
const statusOK = 200

func (s *system) deleteUIHeader(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return nil, s.b.DeleteSetting(ctx, broker.SettingUIHeader, headerName(f))
}

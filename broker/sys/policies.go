package sys

import (
	"context"
	"fmt"
	"strings"

	"leasehold/engine"
	"leasehold/internal/errs"
)

type policyTable interface {
	PolicyNames() []string
	Policy(name string) (text string, found bool)
	PutPolicy(ctx context.Context, name, sent string) error
	DeletePolicy(ctx context.Context, name string) error
}

func (s *system) policyPaths() []*engine.Path {
	name := engine.Schema{"name": engine.Text, "policy": engine.Text}
	old := engine.Schema{"name": engine.Text, "policy": engine.Text, "rules": engine.Text}
	return []*engine.Path{
		{Pattern: "policies/acl", Help: "List the access policies.", Fields: engine.Schema{},
			Ops: engine.Ops{engine.Read: s.listPolicies, engine.List: s.listPolicies}},
		{Pattern: "policies/acl/*name", Fields: name, Help: "Read, write or delete an access policy.",
			Ops: engine.Ops{engine.Read: s.readPolicy, engine.Update: s.writePolicy, engine.Delete: s.deletePolicy}},
		{Pattern: "policy", Help: "List the access policies (old path).", Fields: engine.Schema{},
			Ops: engine.Ops{engine.Read: s.listPoliciesOld, engine.List: s.listPoliciesOld}},
		{Pattern: "policy/*name", Fields: old, Help: "Read, write or delete an access policy (old path).",
			Ops: engine.Ops{engine.Read: s.readPolicyOld, engine.Update: s.writePolicyOld, engine.Delete: s.deletePolicy}},
	}
}

func (s *system) listPolicies(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	return data("keys", s.b.PolicyNames()), nil
}

func (s *system) listPoliciesOld(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	names := s.b.PolicyNames()
	return both(map[string]any{"keys": names, "policies": names}), nil
}

// policyName is the name as policies are kept under: lower case.
func policyName(f *engine.Fields) string { return strings.ToLower(f.Text("name")) }

func (s *system) readPolicy(_ context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	name := policyName(f)
	text, found := s.b.Policy(name)
	if !found {
		return nil, nil
	}
	return &engine.Response{Data: map[string]any{"name": name, "policy": text}}, nil
}

func (s *system) readPolicyOld(_ context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	name := policyName(f)
	text, found := s.b.Policy(name)
	if !found {
		return nil, nil
	}
	return both(map[string]any{"name": name, "rules": text}), nil
}

func (s *system) writePolicy(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return s.putPolicy(ctx, f, f.Text("policy"), nil)
}

func (s *system) writePolicyOld(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	text := f.Text("policy")
	if text != "" || !f.Has("rules") {
		return s.putPolicy(ctx, f, text, nil)
	}
	return s.putPolicy(ctx, f, f.Text("rules"), []string{"'rules' is deprecated, please use 'policy' instead"})
}

func (s *system) putPolicy(ctx context.Context, f *engine.Fields, text string, warnings []string) (*engine.Response, error) {
	name := policyName(f)
	if text == "" {
		return nil, errs.New(errs.Invalid, "'policy' parameter not supplied or empty")
	}
	if err := s.b.PutPolicy(ctx, name, text); err != nil {
		return nil, err
	}
	if name != f.Text("name") {
		warnings = append(warnings, fmt.Sprintf("policy name was converted to %s", name))
	}
	if len(warnings) == 0 {
		return nil, nil
	}
	return &engine.Response{Warnings: warnings}, nil
}

func (s *system) deletePolicy(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return nil, s.b.DeletePolicy(ctx, policyName(f))
}

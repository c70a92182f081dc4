package sys

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"math/big"
	"slices"
	"unicode"

	"github.com/hashicorp/hcl"

	"leasehold/broker"
	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
)

// PasswordPolicy says what generated passwords look like.
type PasswordPolicy struct {
	Length int           `hcl:"length"`
	Rules  []CharsetRule `hcl:"rule"`
}

// CharsetRule asks for at least MinChars characters of Charset.
type CharsetRule struct {
	Type     string `hcl:",key"` // always "charset"
	Charset  string `hcl:"charset"`
	MinChars int    `hcl:"min-chars"`
}

// The lengths that a password policy may ask for.
const (
	minPasswordLength = 4
	maxPasswordLength = 100
)

// ParsePasswordPolicy reads HCL, or JSON of the same shape. A refusal is an *errs.Error with Code Invalid.
func ParsePasswordPolicy(text string) (*PasswordPolicy, error) {
	refused := func(text string) error {
		return errs.Framed(errs.Invalid, "invalid password policy: %s", errs.Framed(errs.Invalid, "%s", text).Shown())
	}
	p := &PasswordPolicy{}
	if err := hcl.Decode(p, text); err != nil {
		return nil, refused("unable to decode: " + err.Error())
	}
	if p.Length < minPasswordLength || p.Length > maxPasswordLength {
		return nil, errs.Framed(errs.Invalid, "passwords must be between %d and %d characters", minPasswordLength, maxPasswordLength)
	}
	if len(p.Rules) == 0 {
		return nil, refused("no charset specified")
	}
	required := 0
	for _, rule := range p.Rules {
		switch {
		case rule.Type != "charset":
			return nil, refused("unrecognized rule type " + rule.Type)
		case rule.Charset == "":
			return nil, refused("no charset specified")
		case rule.MinChars < 0:
			return nil, refused("min-chars must not be negative")
		case slices.ContainsFunc([]rune(rule.Charset), func(r rune) bool { return !unicode.IsPrint(r) }):
			return nil, refused("non-printable character in charset")
		case rule.MinChars > p.Length: // also keeps the sum below from overflowing
			return nil, refused(tooMany(rule.MinChars, p.Length))
		}
		required += rule.MinChars
	}
	if required > p.Length {
		return nil, refused(tooMany(required, p.Length))
	}
	return p, nil
}

func tooMany(required, length int) string {
	return errs.New(errs.Invalid, "specified rules require at least %d characters but %d is specified", required, length).Text
}

// Generate draws a password: what each rule asks for from its own characters, the rest from all of them, in random
// order. The time it takes does not depend on the rules.
func (p *PasswordPolicy) Generate() secret.Text {
	var all, password []rune
	for _, rule := range p.Rules {
		charset := distinct([]rune(rule.Charset))
		all = append(all, charset...)
		for range rule.MinChars {
			password = append(password, charset[below(len(charset))])
		}
	}
	all = distinct(all)
	for len(password) < p.Length {
		password = append(password, all[below(len(all))])
	}
	for i := len(password) - 1; i > 0; i-- {
		j := below(i + 1)
		password[i], password[j] = password[j], password[i]
	}
	return secret.NewText(string(password))
}

func distinct(charset []rune) []rune {
	charset = slices.Clone(charset)
	slices.Sort(charset)
	return slices.Compact(charset)
}

// below draws a number in [0, n), each with equal probability.
func below(n int) int {
	v, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		panic(err) // the system's source of randomness does not fail
	}
	return int(v.Int64())
}

// passwordText is a stored password policy: the text as it was written.
type passwordText struct{ Policy string }

// PasswordGenerator is the named policy, ready to draw passwords. It is what engines that choose passwords are given.
//
// Errors: NotFound, framed, when there is no such policy.
func PasswordGenerator(ctx context.Context, settings settingReader, name string) (func() (secret.Text, error), error) {
	var stored passwordText
	found, err := settings.Setting(ctx, broker.SettingPassword, name, &stored)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errNoPasswordPolicy()
	}
	policy, err := ParsePasswordPolicy(stored.Policy)
	if err != nil {
		return nil, err
	}
	return func() (secret.Text, error) { return policy.Generate(), nil }, nil
}

type settingReader interface {
	Setting(ctx context.Context, kind broker.Setting, name string, value any) (bool, error)
}

func errNoPasswordPolicy() error { return errs.Framed(errs.NotFound, "policy does not exist") }

func (s *system) passwordPaths() []*engine.Path {
	fields := engine.Schema{"name": engine.Text, "policy": engine.Text}
	return []*engine.Path{
		{Pattern: "policies/password", Fields: engine.Schema{}, Help: "List the password policies.",
			Ops: engine.Ops{engine.List: s.listPasswordPolicies}},
		{Pattern: "policies/password/:name", Fields: fields, Help: "Read, write or delete a password policy.",
			Ops: engine.Ops{engine.Read: s.readPasswordPolicy, engine.Update: s.writePasswordPolicy, engine.Delete: s.deletePasswordPolicy}},
		{Pattern: "policies/password/:name/generate", Fields: fields, Help: "Generate a password by a policy.",
			Ops: engine.Ops{engine.Read: s.generatePassword}},
	}
}

func (s *system) listPasswordPolicies(ctx context.Context, _ *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	return listing(s.b.SettingNames(ctx, broker.SettingPassword))
}

func (s *system) readPasswordPolicy(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	var stored passwordText
	found, err := s.b.Setting(ctx, broker.SettingPassword, f.Text("name"), &stored)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errNoPasswordPolicy()
	}
	return data("policy", stored.Policy), nil
}

func (s *system) writePasswordPolicy(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	text := f.Text("policy")
	if text == "" {
		return nil, errs.Framed(errs.Invalid, "missing policy")
	}
	if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
		text = string(decoded)
	}
	if _, err := ParsePasswordPolicy(text); err != nil {
		return nil, err
	}
	return nil, s.b.PutSetting(ctx, broker.SettingPassword, f.Text("name"), passwordText{text})
}

func (s *system) deletePasswordPolicy(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return nil, s.b.DeleteSetting(ctx, broker.SettingPassword, f.Text("name"))
}

func (s *system) generatePassword(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	generate, err := PasswordGenerator(ctx, s.b, f.Text("name"))
	if err != nil {
		return nil, err
	}
	password, err := generate()
	if err != nil {
		return nil, err
	}
	return data("password", password.Reveal()), nil
}

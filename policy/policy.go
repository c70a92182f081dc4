package policy

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"leasehold/internal/errs"
)

// Policy is a parsed policy. It does not change.
type Policy struct {
	Name  string
	rules []rule
}

// rule is one path block.
type rule struct {
	path         string // no leading slash; may hold {{templates}}
	templated    bool
	capabilities capability
	minWrap      time.Duration // 0: no limit
	maxWrap      time.Duration // 0: no limit
	allowed      parameters    // empty: every parameter
	denied       parameters
	required     []string
	ends         time.Time // zero: never
}

// Parse reads a policy's text: HCL 1, or JSON of the same shape. Empty text is a policy without rules.
//
// Error: Invalid, "failed to parse policy: ..." with the texts of the wire contract.
func Parse(name, text string) (*Policy, error) {
	p := &Policy{Name: name}
	if err := p.parse(text); err != nil {
		return nil, errs.New(errs.Invalid, "failed to parse policy: %s", err)
	}
	return p, nil
}

// At is the policy as it stands at now, without the rules whose "expiration" has come, and the time when it next
// changes (zero: never). A policy without such rules is returned itself.
//
// [NewACL] takes a rule that still has an expiration for a denial, so that forgetting At can't grant too long.
func (p *Policy) At(now time.Time) (*Policy, time.Time) {
	if !slices.ContainsFunc(p.rules, func(r rule) bool { return !r.ends.IsZero() }) {
		return p, time.Time{}
	}
	var next time.Time
	live := &Policy{Name: p.Name}
	for _, r := range p.rules {
		if !r.ends.IsZero() {
			if !now.Before(r.ends) {
				continue
			}
			if next.IsZero() || r.ends.Before(next) {
				next = r.ends
			}
			r.ends = time.Time{}
		}
		live.rules = append(live.rules, r)
	}
	return live, next
}

func (p *Policy) parse(text string) error {
	doc, err := parseDocument(text)
	if err != nil {
		return err
	}
	if err := checkKeys(doc, "", "name", "path"); err != nil {
		return err
	}
	for _, m := range doc {
		if m.key != "path" {
			continue
		}
		labels, err := objects(m.value)
		if err != nil {
			return fmt.Errorf("path: %w", err)
		}
		for _, label := range labels {
			blocks, err := objects(label.value)
			if err != nil {
				return fmt.Errorf("path %q: %w", label.key, err)
			}
			r, err := parseRule(label.key, blocks)
			if err != nil {
				return err
			}
			p.rules = append(p.rules, r)
		}
	}
	return nil
}

// ruleKeys are the keys that a path block may have.
var ruleKeys = []string{
	"allowed_parameters", "capabilities", "comment", "control_group", "denied_parameters", "expiration",
	"list_scan_response_keys_filter_path", "max_wrapping_ttl", "mfa_methods", "min_wrapping_ttl", "pagination_limit",
	"policy", "required_parameters", "subscribe_event_types",
}

func parseRule(label string, block object) (rule, error) {
	r := rule{path: strings.TrimPrefix(label, "/")}
	if err := checkKeys(block, fmt.Sprintf("path %q: ", label), ruleKeys...); err != nil {
		return r, err
	}
	var err error
	if r.templated, err = validateTemplate(r.path); err != nil {
		return r, fmt.Errorf("failed to validate policy templating: %w", err)
	}
	if strings.Contains(r.path, "+*") {
		return r, fmt.Errorf("path %q: invalid use of wildcards ('+*' is forbidden)", label)
	}
	var withheld capability // granted only under conditions that nobody here enforces
	seen := map[string]bool{}
	for _, m := range block {
		if seen[m.key] {
			return r, fmt.Errorf("path %q: key %q is set twice", label, m.key)
		}
		seen[m.key] = true
		switch m.key {
		case "control_group", "mfa_methods":
			withheld |= everything
		case "pagination_limit", "list_scan_response_keys_filter_path":
			withheld |= canList | canScan
		default:
			if err := r.set(m.key, m.value); err != nil {
				return r, fmt.Errorf("path %q: %w", label, err)
			}
		}
	}
	r.capabilities &^= withheld
	if r.capabilities&denied != 0 {
		r.capabilities = denied
	}
	if r.minWrap > 0 && r.maxWrap > 0 && r.maxWrap < r.minWrap {
		return r, errors.New("max_wrapping_ttl cannot be less than min_wrapping_ttl")
	}
	return r, nil
}

// set stores the value of one key.
func (r *rule) set(key string, value any) (err error) {
	switch key {
	case "capabilities":
		var names []string
		if names, err = texts(value); err != nil {
			break
		}
		for _, name := range names {
			c, ok := capabilityOf[name]
			if !ok {
				return fmt.Errorf("invalid capability %q", name)
			}
			r.capabilities |= c
		}
	case "policy":
		name, ok := value.(string)
		c, known := shorthands[name]
		if !ok || !known {
			return fmt.Errorf("invalid policy %q", name)
		}
		r.capabilities |= c
	case "min_wrapping_ttl":
		r.minWrap, err = duration(value)
	case "max_wrapping_ttl":
		r.maxWrap, err = duration(value)
	case "allowed_parameters":
		r.allowed, err = parseParameters(value)
	case "denied_parameters":
		r.denied, err = parseParameters(value)
	case "required_parameters":
		if r.required, err = texts(value); err != nil {
			break
		}
		for i, name := range r.required {
			r.required[i] = strings.ToLower(name)
		}
	case "expiration":
		text, ok := value.(string)
		if !ok {
			return errors.New("expiration: expected an RFC 3339 time")
		}
		r.ends, err = time.Parse(time.RFC3339, text)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// checkKeys complains of every key that is not known, in the frame that clients expect.
func checkKeys(o object, prefix string, known ...string) error {
	var bad []string
	for _, m := range o {
		if !slices.Contains(known, m.key) {
			bad = append(bad, fmt.Sprintf("\t* %sinvalid key %q on line %d\n", prefix, m.key, m.line))
		}
	}
	switch len(bad) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("1 error occurred:\n%s\n", bad[0])
	default:
		return fmt.Errorf("%d errors occurred:\n%s\n", len(bad), strings.Join(bad, ""))
	}
}

// objects takes an object, or a list of objects, which is as good as one with all their members.
func objects(v any) (object, error) {
	switch v := v.(type) {
	case object:
		return v, nil
	case []any:
		var all object
		for _, item := range v {
			o, ok := item.(object)
			if !ok {
				return nil, errors.New("expected a block")
			}
			all = append(all, o...)
		}
		return all, nil
	default:
		return nil, errors.New("expected a block")
	}
}

// texts takes a list of text, or one text.
func texts(v any) ([]string, error) {
	if text, ok := v.(string); ok {
		return []string{text}, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, errors.New("expected a list of text")
	}
	out := make([]string, 0, len(list))
	for _, item := range list {
		text, ok := item.(string)
		if !ok {
			return nil, errors.New("expected a list of text")
		}
		out = append(out, text)
	}
	return out, nil
}

// duration reads whole seconds, or Go's text form, or whole days.
func duration(v any) (time.Duration, error) {
	var text string
	switch v := v.(type) {
	case string:
		text = v
	case number:
		text = string(v)
	default:
		return 0, errors.New("expected a duration")
	}
	unit := time.Second
	digits := text
	if days, ok := strings.CutSuffix(text, "d"); ok {
		unit, digits = 24*time.Hour, days
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		d, err := time.ParseDuration(text)
		if err == nil && d < 0 {
			return 0, errors.New("a duration cannot be negative")
		}
		return d, err
	}
	if n < 0 || n > math.MaxInt64/int64(unit) {
		return 0, errors.New("duration out of range")
	}
	return time.Duration(n) * unit, nil
}

package engine

import (
	"context"
	"fmt"
	"regexp"
	"sort"
	"strings"

	"leasehold/internal/errs"
)

// Handler serves one operation of a path. f holds the converted fields.
type Handler func(ctx context.Context, r *Request, f *Fields) (*Response, error)

// Ops are the operations of a path.
type Ops map[Operation]Handler

// Path is one entry of a router.
type Path struct {
	// Pattern is made of segments. ":name" stands for a name: word characters, dots and dashes, with a word character
	// at both ends. "*name" stands for all the rest, slashes included, and may be empty. Both become fields.
	Pattern string
	Fields  Schema
	Open    bool     // takes fields beyond Fields, as they came; nothing is said about unknown ones
	InURL   []string // see [Facts]
	Ops     Ops

	// Exists tells create from update; nil: every write is an update.
	Exists func(ctx context.Context, r *Request, f *Fields) (bool, error)

	Unauthenticated bool
	Sudo            bool
	Help            string // one sentence, shown by ?help=1

	expr    *regexp.Regexp
	literal string // what every path that fits begins with
	names   []string
}

// Router is an engine made of paths. The first pattern that fits wins.
type Router struct{ paths []*Path }

var tokenInPattern = regexp.MustCompile(`[:*][a-z_]+`)

// NewRouter compiles the patterns. It panics on a bad one: patterns are constants.
func NewRouter(paths ...*Path) *Router {
	for _, p := range paths {
		p.literal = p.Pattern
		if token := tokenInPattern.FindStringIndex(p.Pattern); token != nil {
			p.literal = p.Pattern[:token[0]]
		}
		expr := regexp.QuoteMeta(p.Pattern)
		expr = strings.ReplaceAll(expr, `\*`, "*")
		expr = tokenInPattern.ReplaceAllStringFunc(expr, func(token string) string {
			p.names = append(p.names, token[1:])
			if token[0] == '*' {
				return `(.*)`
			}
			return `(\w(?:[\w.-]*\w)?)`
		})
		p.expr = regexp.MustCompile("^" + expr + "$")
	}
	return &Router{paths: paths}
}

// find returns the path that serves r, and the values it captured. A trailing slash fits only what can be listed, or
// a pattern that takes all the rest.
func (ro *Router) find(r *Request) (*Path, []string) {
	for _, p := range ro.paths {
		if !strings.HasPrefix(r.Path, p.literal) { // most patterns: an engine may have a hundred
			continue
		}
		if m := p.expr.FindStringSubmatch(r.Path); m != nil {
			return p, m[1:]
		}
		if trimmed, ok := strings.CutSuffix(r.Path, "/"); ok && p.Ops[List] != nil {
			if m := p.expr.FindStringSubmatch(trimmed); m != nil {
				return p, m[1:]
			}
		}
	}
	return nil, nil
}

// Help is the help text of the path, and whether the router knows it.
func (ro *Router) Help(path string) (string, bool) {
	p, _ := ro.find(&Request{Path: path})
	if p == nil {
		return "", false
	}
	return p.Help, true
}

// Describe implements [Describer].
func (ro *Router) Describe(ctx context.Context, r *Request) (Facts, error) {
	p, captured := ro.find(r)
	if p == nil {
		return Facts{}, nil
	}
	facts := Facts{Unauthenticated: p.Unauthenticated, Sudo: p.Sudo, InURL: p.InURL}
	if p.Exists == nil || (r.Operation != Update && r.Operation != Create) {
		return facts, nil
	}
	f, _ := p.captures(captured)
	exists, err := p.Exists(ctx, r, f)
	if err != nil {
		return Facts{}, err
	}
	facts.Creates = !exists
	return facts, nil
}

// captures makes fields of the path's captured segments alone.
func (p *Path) captures(captured []string) (*Fields, error) {
	data := make(map[string]any, len(captured))
	for i, name := range p.names {
		data[name] = captured[i]
	}
	return convert(p.Fields, data)
}

// Handle implements [Engine].
func (ro *Router) Handle(ctx context.Context, r *Request) (*Response, error) {
	p, captured := ro.find(r)
	if p == nil {
		return nil, errs.Framed(errs.NotFound, "unsupported path")
	}
	handler := p.Ops[r.Operation]
	if handler == nil && r.Operation == Create {
		handler = p.Ops[Update]
	}
	if handler == nil {
		return nil, errs.Framed(errs.Unsupported, "unsupported operation")
	}
	data := make(map[string]any, len(r.Data)+len(captured))
	var ignored, replaced []string
	for name, value := range r.Data {
		if _, known := p.Fields[name]; !known && !p.Open {
			ignored = append(ignored, name)
		}
		data[name] = value
	}
	for i, name := range p.names {
		if _, given := data[name]; given {
			replaced = append(replaced, name)
		}
		data[name] = captured[i]
	}
	f, err := convert(p.Fields, data)
	if err != nil {
		return nil, err
	}
	resp, err := handler(ctx, r, f)
	if err != nil || resp == nil || resp.Raw != nil || p.Fields == nil {
		return resp, err
	}
	if resp.Empty() || resp.Wrap != nil {
		return resp, nil // an empty answer stays empty, and a wrapped one has its warnings inside
	}
	if len(ignored) > 0 {
		sort.Strings(ignored)
		resp.Warn(fmt.Sprintf("Endpoint ignored these unrecognized parameters: %v", ignored))
	}
	if len(replaced) > 0 {
		sort.Strings(replaced)
		resp.Warn(fmt.Sprintf("Endpoint replaced the value of these parameters with the values captured from the endpoint's path: %v", replaced))
	}
	return resp, nil
}

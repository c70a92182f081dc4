package database

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"leasehold/internal/errs"
	"leasehold/plugins"
)

// What a template of names may cost. A template has no loops and cannot call another one, each value it makes is
// bounded, and so its time and memory grow with its length alone.
const (
	maxTemplate = 4096 // bytes of template text
	maxValue    = 4096 // bytes of anything a function makes
	maxName     = 1024 // bytes of the whole result, before the database's own limit
)

// enoughRandom is how many random characters make a name that nobody else has: 47 bits, and 41 where the template changes their case.
const enoughRandom = 8

// nameData is what username_template sees.
type nameData struct {
	DisplayName string // of the caller's token
	RoleName    string
}

// usernames makes the user names of one connection. Safe for concurrent use.
type usernames struct {
	limits   plugins.Usernames
	template *template.Template
	random   bool // the names are
}

// userName is a name that was made.
type userName struct {
	text   string // what the database will know the user by
	shown  string // what the client is told; longer where the database cuts names at login, too
	random bool   // enough of it is random: nobody else's user has this name
}

// newUsernames compiles a template and tries it. An empty text stands for the database's default template.
//
// The texts of its errors are those that clients know: source is the wire contract, "username_template".
func newUsernames(text string, limits plugins.Usernames) (*usernames, error) {
	if text == "" {
		text = limits.Template
	}
	t, err := compile("username", text)
	if err != nil {
		return nil, fmt.Errorf("unable to initialize username template: %w", err)
	}
	u := &usernames{limits: limits, template: t}
	trial, err := u.create(nameData{DisplayName: "token", RoleName: "role"}, time.Unix(0, 0).UTC())
	if err != nil {
		return nil, fmt.Errorf("invalid username template: %w", err)
	}
	u.random = trial.random
	return u, nil
}

// create makes a name. Errors are safe to show: they hold parts of the template and of the name, which are no secrets.
func (u *usernames) create(data nameData, now time.Time) (userName, error) {
	data.DisplayName = harmless(data.DisplayName)
	text, drawn, err := draw(u.template, data, now)
	if err != nil {
		return userName{}, err
	}
	return u.fit(text, drawn)
}

// compile parses a template of names, and refuses what would cost more than its length tells. name is for its errors.
func compile(name, text string) (*template.Template, error) {
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("it is longer than %d bytes", maxTemplate)
	}
	t, err := template.New(name).Funcs((&drawing{}).functions()).Parse(text)
	if err == nil {
		err = refuseLoops(t)
	}
	return t, err
}

// draw makes a name by a compiled template, and tells the random values that it drew.
func draw(compiled *template.Template, data any, now time.Time) (text string, drawn []string, err error) {
	t, err := compiled.Clone() // functions belong to a template, and ours know the time and what they drew
	if err != nil {
		return "", nil, err
	}
	d := &drawing{now: now}
	out := &boundedBuffer{limit: maxName}
	if err := t.Funcs(d.functions()).Execute(out, data); err != nil {
		return "", nil, err
	}
	return out.String(), d.values, nil
}

// fit checks a name against what the database takes. A database that cuts long names by itself, when a user is made as
// when it logs in, gets the cut name, so that our record names the user that there is. A cut that would touch a random
// part is refused: two users might get one name.
func (u *usernames) fit(text string, drawn []string) (userName, error) {
	if text == "" {
		return userName{}, errors.New("the user name is empty")
	}
	if i := strings.IndexFunc(text, unsafeInName); i >= 0 {
		return userName{}, fmt.Errorf("the user name %q has a character that is not allowed: only letters, digits and %s are", text, nameMarks)
	}
	name := userName{text: text, shown: text}
	for _, value := range drawn {
		name.random = name.random || len(value) >= enoughRandom && holds(text, value[:enoughRandom])
	}
	limit := u.limits.MaxLength
	if limit <= 0 || len(text) <= limit {
		return name, nil
	}
	if !u.limits.Cuts {
		return userName{}, fmt.Errorf("the user name %q is longer than the %d bytes that the database takes", text, limit)
	}
	name.text = text[:limit]
	for _, value := range drawn {
		if !holds(name.text, value) {
			return userName{}, fmt.Errorf("the user name %q is longer than the %d bytes that the database takes, and its random part would be cut", text, limit)
		}
	}
	return name, nil
}

// holds reports whether a random value is in a name, in letters of whatever case.
func holds(name, value string) bool {
	return strings.Contains(strings.ToLower(name), strings.ToLower(value))
}

// nameMarks are the characters besides ASCII letters and digits that need no quoting inside quotes: a name is put into
// the operator's statements as it is.
const nameMarks = "-_.@+=/:~"

func unsafeInName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(nameMarks, r))
}

// harmless replaces what may not stand in a user name. Display names come from login methods, and a person named with a
// blank must be able to work all the same.
func harmless(name string) string {
	return strings.Map(func(r rune) rune {
		if unsafeInName(r) {
			return '-'
		}
		return r
	}, name)
}

// refuseLoops walks the parsed template and refuses what could make its cost grow beyond its length.
func refuseLoops(t *template.Template) error {
	if t.Tree == nil || t.Tree.Root == nil {
		return errors.New("it is empty")
	}
	if len(t.Templates()) > 1 {
		return errors.New("define is not supported")
	}
	return refuseLoopsIn(t.Tree.Root)
}

func refuseLoopsIn(list *parse.ListNode) error {
	if list == nil {
		return nil
	}
	for _, node := range list.Nodes {
		var err error
		switch node := node.(type) {
		case *parse.IfNode:
			err = errors.Join(refuseLoopsIn(node.List), refuseLoopsIn(node.ElseList))
		case *parse.WithNode:
			err = errors.Join(refuseLoopsIn(node.List), refuseLoopsIn(node.ElseList))
		case *parse.TextNode, *parse.ActionNode, *parse.CommentNode:
		default:
			err = fmt.Errorf("%.20q is not supported", node.String())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// boundedBuffer refuses to grow beyond its limit.
type boundedBuffer struct {
	bytes.Buffer
	limit int
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.limit {
		return 0, fmt.Errorf("the name is longer than %d bytes", b.limit)
	}
	return b.Buffer.Write(p)
}

// nameError frames the refusal to make a name for a client's request.
func nameError(err error) error {
	return errs.Framed(errs.Unavailable, "failed to generate username: %s", err)
}

package history

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// class is what became of a call.
type class int

const (
	unknown class = iota // no answer, or one that does not tell
	yes
	no // refused, or nothing there
)

func (c class) String() string { return [...]string{"?", "yes", "no"}[c] }

// operation is what one call meant for one object. What on, to, arg and answer hold is up to the verb; the models say it.
type operation struct {
	object string // KIND/NAME
	verb   string
	on, to int
	arg    string

	class  class
	answer string

	client, node int
	start, end   time.Duration // since the beginning of the history, by the monotonic clock
}

func (o operation) String() string {
	return fmt.Sprintf("%10.6f to %10.6f  node %d  client %2d  %s", o.start.Seconds(), o.end.Seconds(), o.node, o.client, o.describe())
}

// describe is the operation without when and where.
func (o operation) describe() string {
	text := fmt.Sprintf("%s %s(%d", o.object, o.verb, o.on)
	if o.to != 0 {
		text += fmt.Sprintf(" > %d", o.to)
	}
	return text + strings.TrimRight(" "+o.arg, " ") + "): " + strings.TrimRight(o.class.String()+" "+o.answer, " ")
}

// observes reports whether the verb changes nothing, so that one without an answer says nothing either.
func (o operation) observes() bool {
	switch o.verb {
	case "read", "allows", "self", "lookup", "list", "login", "listed", "has", "get", "renew-token", "renew-lease", "lookup-lease":
		return true
	}
	return false
}

// record collects the operations of a history. Safe for concurrent use.
type record struct {
	begun time.Time

	mu   sync.Mutex
	done []operation          // guarded by mu
	late []func() []operation // what can only be told when all names are known; guarded by mu
}

func newRecord() *record { return &record{begun: time.Now()} }

func (r *record) now() time.Duration { return time.Since(r.begun) }

func (r *record) add(ops ...operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range ops {
		if o.class != unknown || !o.observes() {
			r.done = append(r.done, o)
		}
	}
}

// addLater adds operations when the history has ended. One call may concern objects whose names are not known yet, because
// the calls that made them are still under way.
func (r *record) addLater(ops func() []operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late = append(r.late, ops)
}

// count is how many operations there are so far.
func (r *record) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.done)
}

// byObject ends the history.
func (r *record) byObject() map[string][]operation {
	r.mu.Lock()
	late := r.late
	r.late = nil
	r.mu.Unlock()
	for _, ops := range late {
		r.add(ops()...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string][]operation{}
	for _, o := range r.done {
		all[o.object] = append(all[o.object], o)
	}
	return all
}

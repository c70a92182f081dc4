package history

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/anishathalye/porcupine"
)

// models say what the objects of each kind may answer. A step gets an object's state and an operation, and says whether the
// answer is possible in that state, and what the state is afterwards. An operation of unknown class is always possible, and
// its state is the one in which it has taken effect: where it has not, it is put last, where nobody sees it.
var models = map[string]porcupine.Model{
	"policy":     model("", stepRegister),
	"role":       model("", stepRegister),
	"connection": model("", stepRegister),
	"secret":     model(secretState{}, stepSecret),
	"mount":      model(mountState{}, stepMount),
	"term":       model(1, stepTerm),
	"limited":    model(allowedUses, stepLimited),
	"lease":      model(leaseState{}, stepLease),
	"tree":       model(treeState{tokens: [maxTokens]tokenState{{made: true, parent: none}}}, stepTree),
}

// modelOf is the model of an object.
func modelOf(object string) porcupine.Model {
	kind, _, _ := strings.Cut(object, "/")
	m, ok := models[kind]
	if !ok {
		panic("no model of " + kind)
	}
	return m
}

func model[S comparable](first S, step func(S, operation) (S, bool)) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return first },
		Step: func(state, input, _ any) (bool, any) {
			next, possible := step(state.(S), input.(operation))
			return possible, next
		},
		DescribeOperation: func(input, _ any) string { return input.(operation).describe() },
		DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
	}
}

// A register holds a text, or nothing.
//
//	write ARG
//	delete
//	read            yes ANSWER: the text; no: nothing
//	allows ARG      yes: the letter is in the text behind its colon; no: it is not
func stepRegister(s string, o operation) (string, bool) {
	switch o.verb {
	case "write":
		return o.arg, o.class != no
	case "delete":
		return "", o.class != no
	case "read":
		return s, s != "" && o.class == yes && s == o.answer || s == "" && o.class == no
	case "allows":
		_, letters, _ := strings.Cut(s, ":")
		return s, (o.class == yes) == strings.Contains(letters, o.arg)
	}
	panic(o.verb)
}

// secretState is a key/value secret of version 2: its newest version, and the value; empty: that version is deleted.
type secretState struct {
	version int
	value   string
}

// A secret:
//
//	put ARG         yes ANSWER: the new version
//	cas ON ARG      the same, if the version was ON; no: it was another
//	delete          the newest version
//	wipe            all versions
//	read            yes ANSWER: VERSION=VALUE; no ANSWER: VERSION= of a deleted one, or 0=
func stepSecret(s secretState, o operation) (secretState, bool) {
	switch o.verb {
	case "cas":
		if s.version != o.on {
			return s, o.class != yes
		}
		fallthrough
	case "put":
		s = secretState{s.version + 1, o.arg}
		return s, o.class == unknown || o.class == yes && o.answer == strconv.Itoa(s.version)
	case "delete":
		s.value = ""
		return s, o.class != no
	case "wipe":
		return secretState{}, o.class != no
	case "read":
		return s, (o.class == yes) == (s.value != "") && o.answer == fmt.Sprintf("%d=%s", s.version, s.value)
	}
	panic(o.verb)
}

// mountState is a path at which an engine may be mounted. A mount that is being disabled is hidden before it is gone.
type mountState struct {
	phase int
	value string // of the one key that is written there; empty: none
}

const (
	absent = iota
	mounted
	hidden
)

// A mount. One client at a time enables and disables; a call to disable is a hide and then a gone or a show, of the same times.
//
//	enable          no: the path is in use
//	hide, gone
//	show            it was refused, and the mount is back
//	put ARG         no: no such mount
//	get             yes ANSWER: the value; no: no such mount
//	has             yes: the mount is there, and said so by whatever answer; no: no such mount
//	empty           the mount is there and has no value, or has lost it already while it was being disabled
func stepMount(s mountState, o operation) (mountState, bool) {
	switch o.verb {
	case "enable":
		if s.phase != absent {
			return s, o.class != yes
		}
		return mountState{phase: mounted}, o.class != no
	case "hide":
		if s.phase == mounted {
			s.phase = hidden
		}
		return s, true
	case "gone":
		if s.phase == mounted {
			return s, o.class == unknown
		}
		return mountState{}, true
	case "show":
		if s.phase == hidden {
			s.phase = mounted
		}
		return s, true
	case "put":
		if s.phase != mounted {
			return s, o.class != yes
		}
		s.value = o.arg
		return s, o.class != no
	case "get":
		if o.class == yes {
			return s, s.phase == mounted && s.value != "" && s.value == o.answer
		}
		return s, s.phase != mounted
	case "has":
		return s, (o.class == yes) == (s.phase == mounted)
	case "empty":
		return s, s.phase == hidden || s.phase == mounted && s.value == ""
	}
	panic(o.verb)
}

// The term of the newest data key: rotate adds one, and read answers it.
func stepTerm(term int, o operation) (int, bool) {
	if o.verb == "rotate" {
		return term + 1, o.class != no
	}
	return term, o.answer == strconv.Itoa(term)
}

// allowedUses is how many requests a limited token is good for.
const allowedUses = 5

// A token of limited uses:
//
//	use             a request; no: the token is used up or revoked
//	revoke
func stepLimited(left int, o operation) (int, bool) {
	switch {
	case o.verb == "revoke":
		return 0, o.class != no
	case left == 0:
		return 0, o.class != yes
	}
	return left - 1, o.class != no
}

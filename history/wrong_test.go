package history

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// did is an operation between two moments. A text is "ARG", "> ANSWER" or "ARG > ANSWER".
func did(start, end int, verb string, class class, text string, numbers ...int) operation {
	arg, answer, _ := strings.Cut(text, ">")
	o := operation{
		verb: verb, class: class, arg: strings.TrimSpace(arg), answer: strings.TrimSpace(answer),
		start: time.Duration(start) * time.Second, end: time.Duration(end) * time.Second,
	}
	for i, n := range numbers {
		*[]*int{&o.on, &o.to}[i] = n
	}
	return o
}

type story []operation

// uses are requests one after the other.
func uses(from, n int, class class) (ops story) {
	for i := range n {
		ops = append(ops, did(2*(from+i), 2*(from+i)+1, "use", class, ""))
	}
	return ops
}

// TestModels tells right and wrong histories of each kind apart. Where two differ in one moment or one word, they are next
// to each other.
func TestModels(t *testing.T) {
	t.Parallel()
	written := did(0, 1, "write", yes, "7:a")
	put := did(0, 1, "put", yes, "x > 1")
	enabled := did(0, 1, "enable", yes, "")
	issued := did(0, 1, "issue", yes, "", 5)
	child := did(0, 1, "create", yes, "child", 0, 1)
	grandchild := did(2, 3, "create", yes, "child", 1, 2)
	for _, test := range []struct {
		kind, name string
		right      bool
		ops        story
	}{
		{"policy", "read", true, story{written, did(2, 3, "read", yes, "> 7:a")}},
		{"policy", "read before it was written", true, story{did(0, 1, "read", no, ""), did(2, 3, "write", yes, "7:a")}},
		{"policy", "read while it is written", true, story{written, did(2, 5, "write", yes, "8:b"), did(3, 4, "read", yes, "> 7:a")}},
		{"policy", "read the former text", false, story{written, did(2, 3, "write", yes, "8:b"), did(4, 5, "read", yes, "> 7:a")}},
		{"policy", "read what nobody wrote", false, story{written, did(2, 3, "read", yes, "> 9:a")}},
		{"policy", "the new text and then the former", false, story{
			written, did(2, 9, "write", yes, "8:b"), did(3, 4, "read", yes, "> 8:b"), did(5, 6, "read", yes, "> 7:a"),
		}},
		{"policy", "not found", false, story{written, did(2, 3, "read", no, "")}},
		{"policy", "allowed", true, story{written, did(2, 3, "allows", yes, "a")}},
		{"policy", "allowed what it does not say", false, story{written, did(2, 3, "allows", yes, "b")}},
		{"policy", "denied what it says", false, story{written, did(2, 3, "allows", no, "a")}},
		{"policy", "allowed after it was deleted", false, story{written, did(2, 3, "delete", yes, ""), did(4, 5, "allows", yes, "a")}},
		{"policy", "written without an answer, seen late", true, story{did(0, 1, "write", unknown, "7:a"), did(2, 3, "read", no, ""), did(4, 5, "read", yes, "> 7:a")}},
		{"policy", "written without an answer, seen and lost", false, story{did(0, 1, "write", unknown, "7:a"), did(2, 3, "read", yes, "> 7:a"), did(4, 5, "read", no, "")}},
		{"policy", "seen before it was written", false, story{did(0, 1, "read", yes, "> 7:a"), did(2, 3, "write", unknown, "7:a")}},
		{"role", "used after it was deleted", false, story{written, did(2, 3, "delete", yes, ""), did(4, 5, "read", yes, "> 7:a")}},
		{"connection", "used with former settings", false, story{written, did(2, 3, "write", yes, "8"), did(4, 5, "read", yes, "> 7:a")}},

		{"secret", "read", true, story{put, did(2, 3, "read", yes, "> 1=x")}},
		{"secret", "a write is lost", false, story{put, did(2, 3, "put", yes, "y > 2"), did(4, 5, "read", yes, "> 1=x")}},
		{"secret", "a version is given twice", false, story{put, did(0, 1, "put", yes, "y > 1")}},
		{"secret", "check and set", true, story{put, did(2, 3, "cas", yes, "y > 2", 1), did(2, 3, "cas", no, "z", 1)}},
		{"secret", "two that set the same version", false, story{put, did(2, 3, "cas", yes, "y > 2", 1), did(2, 3, "cas", yes, "z > 3", 1)}},
		{"secret", "refused though nothing had changed", false, story{put, did(2, 3, "cas", no, "y", 1)}},
		{"secret", "set without an answer", true, story{put, did(2, 3, "cas", unknown, "y", 1), did(4, 5, "cas", no, "z", 1)}},
		{"secret", "deleted", true, story{put, did(2, 3, "delete", yes, ""), did(4, 5, "read", no, "> 1=")}},
		{"secret", "read after it was deleted", false, story{put, did(2, 3, "delete", yes, ""), did(4, 5, "read", yes, "> 1=x")}},
		{"secret", "wiped", true, story{put, did(2, 3, "wipe", yes, ""), did(4, 5, "read", no, "> 0="), did(6, 7, "put", yes, "y > 1")}},
		{"secret", "versions after they were wiped", false, story{put, did(2, 3, "wipe", yes, ""), did(4, 5, "put", yes, "y > 2")}},

		{"mount", "used", true, story{enabled, did(2, 3, "put", yes, "x"), did(4, 5, "get", yes, "> x"), did(4, 5, "has", yes, "")}},
		{"mount", "not there after it was enabled", false, story{enabled, did(2, 3, "has", no, "")}},
		{"mount", "no route after it was enabled", false, story{enabled, did(2, 3, "get", no, "")}},
		{"mount", "enabled twice", false, story{enabled, did(2, 3, "enable", yes, "")}},
		{"mount", "a value that is lost", false, story{enabled, did(2, 3, "put", yes, "x"), did(4, 5, "empty", yes, "")}},
		{"mount", "empty while it is disabled", true, story{
			enabled, did(2, 3, "put", yes, "x"), did(4, 8, "hide", yes, ""), did(4, 8, "gone", yes, ""), did(5, 6, "empty", yes, ""),
		}},
		{"mount", "in use while it is disabled", true, story{
			enabled, did(4, 8, "hide", yes, ""), did(4, 8, "gone", yes, ""), did(5, 6, "has", no, ""), did(6, 7, "enable", no, ""),
		}},
		{"mount", "in use after it was disabled", false, story{enabled, did(2, 3, "hide", yes, ""), did(2, 3, "gone", yes, ""), did(4, 5, "enable", no, "")}},
		{"mount", "read after it was disabled", false, story{
			enabled, did(2, 3, "put", yes, "x"), did(4, 5, "hide", yes, ""), did(4, 5, "gone", yes, ""), did(6, 7, "get", yes, "> x"),
		}},
		{"mount", "reached after it was disabled", false, story{enabled, did(4, 5, "hide", yes, ""), did(4, 5, "gone", yes, ""), did(6, 7, "empty", yes, "")}},
		{"mount", "written after it was disabled", false, story{enabled, did(4, 5, "hide", yes, ""), did(4, 5, "gone", yes, ""), did(6, 7, "put", yes, "x")}},
		{"mount", "the former mount's value", false, story{
			enabled, did(2, 3, "put", yes, "x"), did(4, 5, "hide", yes, ""), did(4, 5, "gone", yes, ""), did(6, 7, "enable", yes, ""), did(8, 9, "get", yes, "> x"),
		}},
		{"mount", "back after a refusal that nobody heard", true, story{
			enabled, did(2, 3, "hide", unknown, ""), did(2, 3, "gone", unknown, ""), did(2, 3, "show", unknown, ""), did(4, 5, "has", no, ""), did(6, 7, "has", yes, ""),
		}},
		{"mount", "back after it was disabled without an answer, and empty", false, story{
			enabled, did(1, 2, "put", yes, "x"), did(3, 4, "hide", unknown, ""), did(3, 4, "gone", unknown, ""), did(3, 4, "show", unknown, ""), did(5, 6, "has", no, ""),
			did(7, 8, "get", yes, "> x"), did(9, 10, "empty", yes, ""),
		}},
		{"mount", "back after a refusal", true, story{enabled, did(2, 5, "hide", yes, ""), did(2, 5, "show", yes, ""), did(3, 4, "has", no, ""), did(6, 7, "has", yes, "")}},

		{"term", "rotated", true, story{did(0, 1, "rotate", yes, ""), did(2, 3, "read", yes, "> 2")}},
		{"term", "the former key", false, story{did(0, 1, "rotate", yes, ""), did(2, 3, "read", yes, "> 1")}},
		{"term", "one of two rotations is lost", false, story{did(0, 1, "rotate", yes, ""), did(0, 1, "rotate", yes, ""), did(2, 3, "read", yes, "> 2")}},

		{"limited", "used up", true, append(uses(0, 5, yes), uses(5, 1, no)...)},
		{"limited", "used once too often", false, uses(0, 6, yes)},
		{"limited", "refused too early", false, append(uses(0, 4, yes), uses(4, 1, no)...)},
		{"limited", "used after it was revoked", false, story{did(0, 1, "revoke", yes, ""), did(2, 3, "use", yes, "")}},

		{"lease", "held", true, story{issued, did(2, 3, "login", yes, ""), did(2, 3, "lookup", yes, "", 5), did(2, 3, "listed", yes, "")}},
		{"lease", "the user is refused", false, story{issued, did(2, 3, "login", no, "")}},
		{"lease", "it is not listed", false, story{issued, did(2, 3, "listed", no, "")}},
		{"lease", "it is not found", false, story{issued, did(2, 3, "lookup", no, "> gone")}},
		{"lease", "it is being revoked, and nobody asked", false, story{issued, did(2, 3, "lookup", no, "> ending")}},
		{"lease", "renewed", true, story{issued, did(2, 3, "renew", yes, "", 9), did(4, 5, "lookup", yes, "", 9)}},
		{"lease", "a renewal is lost", false, story{issued, did(2, 3, "renew", yes, "", 9), did(4, 5, "lookup", yes, "", 5)}},
		{"lease", "revoked, and the user is still there", false, story{issued, did(2, 3, "condemn", yes, ""), did(2, 3, "end", yes, ""), did(4, 5, "login", yes, "")}},
		{"lease", "revoked, and still good", false, story{issued, did(2, 3, "condemn", yes, ""), did(2, 3, "end", yes, ""), did(4, 5, "lookup", yes, "", 5)}},
		{"lease", "revoked, and still ending", false, story{issued, did(2, 3, "condemn", yes, ""), did(2, 3, "end", yes, ""), did(4, 5, "lookup", no, "> ending")}},
		{"lease", "revoked, and listed", false, story{issued, did(2, 3, "condemn", yes, ""), did(2, 3, "end", yes, ""), did(4, 5, "listed", yes, "")}},
		{"lease", "revoked, and renewed", false, story{issued, did(2, 3, "condemn", yes, ""), did(2, 3, "end", yes, ""), did(4, 5, "renew", yes, "", 9)}},
		{"lease", "ending while it is revoked", true, story{issued, did(2, 5, "condemn", yes, ""), did(2, 5, "end", yes, ""), did(3, 4, "lookup", no, "> ending")}},
		{"lease", "to be revoked, and the user is there for a while", true, story{
			issued, did(2, 3, "condemn", yes, ""), did(4, 5, "login", yes, ""), did(6, 7, "login", no, ""), did(8, 9, "lookup", no, "> ending"),
		}},
		{"lease", "to be revoked, and still good", false, story{issued, did(2, 3, "condemn", yes, ""), did(4, 5, "lookup", yes, "", 5)}},
		{"lease", "to be revoked, and renewed", false, story{issued, did(2, 3, "condemn", yes, ""), did(4, 5, "renew", yes, "", 9)}},
		{"lease", "the user comes back", false, story{issued, did(2, 3, "condemn", yes, ""), did(4, 5, "login", no, ""), did(6, 7, "login", yes, "")}},
		{"lease", "the user outlives the record", false, story{issued, did(2, 3, "condemn", yes, ""), did(4, 5, "lookup", no, "> gone"), did(6, 7, "login", yes, "")}},
		{"lease", "revoked without an answer", true, story{issued, did(2, 3, "condemn", unknown, ""), did(4, 5, "lookup", yes, "", 5), did(6, 7, "lookup", no, "> gone")}},
		{"lease", "revoked without an answer, and good again", false, story{issued, did(2, 3, "condemn", unknown, ""), did(4, 5, "lookup", no, "> ending"), did(6, 7, "lookup", yes, "", 5)}},
		{"lease", "a prefix that came first", true, story{issued, did(0, 2, "condemn", yes, ""), did(0, 2, "end", yes, ""), did(3, 4, "login", yes, "")}},

		{"tree", "a child", true, story{child, did(2, 3, "self", yes, "> child", 1), did(2, 3, "lookup", yes, "> orphan", 0), did(2, 3, "list", yes, "> 0,1")}},
		{"tree", "a token that was refused", false, story{child, did(2, 3, "self", no, "", 1)}},
		{"tree", "a revoked token", false, story{child, did(2, 3, "revoke", yes, "", 1), did(4, 5, "self", yes, "> child", 1)}},
		{"tree", "a child of a revoked token", false, story{child, did(2, 3, "revoke", yes, "", 0), did(4, 5, "self", yes, "> child", 1)}},
		{"tree", "a grandchild of a revoked token", false, story{child, grandchild, did(4, 5, "revoke-self", yes, "", 0), did(6, 7, "lookup", yes, "> child", 2)}},
		{"tree", "a token below a revoked one", false, story{did(0, 1, "revoke", yes, "", 0), did(2, 3, "create", yes, "child", 0, 1)}},
		{"tree", "a token that is not made", false, story{did(2, 3, "create", no, "child", 0, 1)}},
		{"tree", "a revoked token in the list", false, story{child, did(2, 3, "revoke", yes, "", 1), did(4, 5, "list", yes, "> 0,1")}},
		{"tree", "a living token is not in the list", false, story{child, did(4, 5, "list", yes, "> 0")}},
		{"tree", "a revoked token is renewed", false, story{child, did(2, 3, "revoke", yes, "", 0), did(4, 5, "renew-token", yes, "", 1)}},
		{"tree", "a living token is not renewed", false, story{child, did(4, 5, "renew-token", no, "", 1)}},
		{"tree", "an orphan lives on", true, story{did(0, 1, "create", yes, "orphan", 0, 1), did(2, 3, "revoke", yes, "", 0), did(4, 5, "self", yes, "> orphan", 1)}},
		{"tree", "an orphan ends with its maker", false, story{did(0, 1, "create", yes, "orphan", 0, 1), did(2, 3, "revoke", yes, "", 0), did(4, 5, "self", no, "", 1)}},
		{"tree", "children of a token that ends alone", true, story{child, grandchild, did(4, 5, "revoke-orphan", yes, "", 1), did(6, 7, "self", yes, "> orphan", 2), did(6, 7, "self", no, "", 1)}},
		{"tree", "a child ends with a token that ends alone", false, story{child, grandchild, did(4, 5, "revoke-orphan", yes, "", 1), did(6, 7, "self", no, "", 2)}},
		{"tree", "a child that does not become an orphan", false, story{child, grandchild, did(4, 5, "revoke-orphan", yes, "", 1), did(6, 7, "self", yes, "> child", 2)}},
		{"tree", "a batch token of a token that ends alone", false, story{did(0, 1, "create", yes, "batch", 0, 1), did(4, 5, "revoke-orphan", yes, "", 0), did(6, 7, "self", yes, "> child", 1)}},
		{"tree", "what was dead lives again", false, story{child, grandchild, did(4, 5, "revoke", yes, "", 0), did(6, 7, "revoke-orphan", yes, "", 1)}},
		{"tree", "revoked without an answer", true, story{child, did(2, 3, "revoke", unknown, "", 0), did(4, 5, "self", yes, "> child", 1), did(6, 7, "self", no, "", 1)}},
		{"tree", "revoked without an answer, and back", false, story{child, did(2, 3, "revoke", unknown, "", 0), did(4, 5, "self", no, "", 1), did(6, 7, "self", yes, "> child", 1)}},
		{"tree", "credentials for a revoked token", false, story{did(0, 1, "revoke", yes, "", 0), did(2, 3, "issue", yes, "", 0, 1)}},
		{"tree", "a revoked token's lease", true, story{
			did(0, 1, "issue", yes, "", 0, 1), did(2, 3, "revoke", yes, "", 0), did(4, 5, "login", yes, "", 0, 1), did(4, 5, "lookup-lease", yes, "", 0, 1),
			did(6, 7, "login", no, "", 0, 1), did(8, 9, "lookup-lease", no, "", 0, 1),
		}},
		{"tree", "a revoked token's lease is renewed", false, story{did(0, 1, "issue", yes, "", 0, 1), did(2, 3, "revoke", yes, "", 0), did(4, 5, "renew-lease", yes, "", 0, 1)}},
		{"tree", "a living token's lease is gone", false, story{did(0, 1, "issue", yes, "", 0, 1), did(4, 5, "lookup-lease", no, "", 0, 1)}},
		{"tree", "a living token's user is gone", false, story{did(0, 1, "issue", yes, "", 0, 1), did(4, 5, "login", no, "", 0, 1)}},
		{"tree", "a revoked token's user comes back", false, story{
			did(0, 1, "issue", yes, "", 0, 1), did(2, 3, "revoke", yes, "", 0), did(4, 5, "login", no, "", 0, 1), did(6, 7, "login", yes, "", 0, 1),
		}},
	} {
		for i := range test.ops {
			test.ops[i].object = test.kind + "/x"
		}
		want := porcupine.Illegal
		if test.right {
			want = porcupine.Ok
		}
		if got := check(test.ops); got != want {
			t.Errorf("%s: %s: %s, want %s", test.kind, test.name, got, want)
		}
	}
}

// A wrong history stays wrong when it is reduced, and what has nothing to do with it goes.
func TestReduce(t *testing.T) {
	t.Parallel()
	ops := story{did(0, 1, "write", yes, "1:a"), did(2, 3, "write", yes, "2:b"), did(4, 5, "read", yes, "> 1:a")}
	for i := range 50 {
		ops = append(ops, did(2+i, 90, "allows", yes, "b"), did(6+i, 7+i, "read", yes, "> 2:b"), did(100+i, 101+i, "write", yes, "3:c"))
	}
	for i := range ops {
		ops[i].object = "policy/x"
	}
	if least := reduce(ops); len(least) != 3 || check(least) != porcupine.Illegal {
		t.Errorf("reduced to\n%s", list(least))
	}
	path := draw(ops)
	defer func() { _ = os.Remove(path) }()
	if page, err := os.ReadFile(path); err != nil || !strings.Contains(string(page), "policy/x") {
		t.Errorf("%d bytes are drawn in %s, %v", len(page), path, err)
	}
}

package history

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"leasehold/server/proctest"
)

// disturb does one thing after the other to nodes and store while clients work. When it returns, all are well.
func (w *world) disturb(dice *rand.Rand) {
	w.await(betweenFault)
	for range faults {
		i := dice.IntN(nodes)
		switch n := dice.IntN(10); {
		case n < 4:
			w.kill(i, time.Duration(dice.IntN(800))*time.Millisecond)
		case n < 5: // longer than a node is taken for alive
			w.pause(i, 6*time.Second)
		case n < 8:
			w.pause(i, time.Duration(dice.IntN(1500))*time.Millisecond)
		default:
			w.crashStore(dice.IntN(2) == 0)
		}
		w.await(betweenFault)
	}
}

func (w *world) kill(i int, pause time.Duration) {
	w.down[i].Store(true)
	defer w.down[i].Store(false)
	w.node[i].Kill()
	<-time.After(pause)
	must(w.t, w.node[i].Restart())
}

func (w *world) pause(i int, pause time.Duration) {
	w.down[i].Store(true)
	defer w.down[i].Store(false)
	w.node[i].Pause()
	<-time.After(pause)
	w.node[i].Continue()
}

// crashStore ends the store's database and starts it again.
func (w *world) crashStore(hard bool) {
	if hard {
		w.store.Crash()
	} else {
		w.store.Stop()
	}
	must(w.t, w.store.Restart())
}

// settle waits until what was begun has been ended: users without a lease go, and leases that are being revoked. It fails the
// test when they do not, or when a lease has lost its user.
func (w *world) settle() {
	w.t.Helper()
	users, leases := w.users(), w.listed()
	for deadline := time.Now().Add(2 * time.Minute); len(users) != len(leases) && time.Now().Before(deadline); {
		<-time.After(50 * time.Millisecond) // the event, a drop by another process, can only be polled for
		users, leases = w.users(), w.listed()
	}
	if len(users) != len(leases) {
		w.t.Errorf("%d users in the database, %d leases", len(users), len(leases))
	}
	for _, l := range w.leases {
		until, there := users[l.user]
		if there != leases[l.id] {
			w.t.Errorf("%s%s: its user exists: %v; it is listed: %v", l.object, l.path, there, leases[l.id])
		}
		if there && leases[l.id] && w.worn[l.object] == 0 {
			w.checkEnd(l, until)
		}
	}
}

// checkEnd fails the test when a user can log in for a shorter time than its lease says.
func (w *world) checkEnd(l *lease, until time.Time) {
	w.t.Helper()
	answer := w.root(http.MethodPut, "sys/leases/lookup", map[string]any{"lease_id": l.id})
	end, err := time.Parse(time.RFC3339, text(answer, "data", "expire_time"))
	if err != nil || end.After(until) {
		w.t.Errorf("%s: the lease ends at %v (%v), its user at %v", l.object, end, err, until)
	}
}

// listed are the ids of all leases.
func (w *world) listed() map[string]bool {
	w.t.Helper()
	all := map[string]bool{}
	folders := []string{""}
	for len(folders) > 0 {
		folder := folders[0]
		folders = folders[1:]
		got, err := w.node[0].Root("LIST", "sys/leases/lookup/"+folder, nil)
		var refusal *proctest.Error
		if errors.As(err, &refusal) && refusal.Status == http.StatusNotFound {
			continue
		}
		must(w.t, err)
		keys, _ := dig(got, "data", "keys").([]any)
		for _, key := range keys {
			name := fmt.Sprint(folder, key)
			switch {
			case strings.HasPrefix(name, "auth/"): // tokens
			case strings.HasSuffix(name, "/"):
				folders = append(folders, name)
			default:
				all[name] = true
			}
		}
	}
	return all
}

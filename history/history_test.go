package history

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// clients do at least so many operations between two faults.
const (
	clients      = 12
	betweenFault = 120
)

// quietLength is how many operations they do in a history without faults; faults is how many one with them has. They are longer
// where histories are asked for.
var quietLength, faults = func() (int, int) {
	if os.Getenv("LEASEHOLD_HISTORIES") == "" {
		return 600, 3
	}
	return 1000, 4
}()

// TestHistories runs random schedules on three nodes and checks each. LEASEHOLD_HISTORIES sets how many; `make soak` asks for
// 100. Every fourth is without faults. LEASEHOLD_HISTORY_SEED sets the first one's seed; the next ones count on from there.
func TestHistories(t *testing.T) {
	t.Parallel()
	runs, seed := setting(t, "LEASEHOLD_HISTORIES", 1), setting(t, "LEASEHOLD_HISTORY_SEED", int(time.Now().UnixMicro()))
	for run := range runs {
		name := "faults"
		if (seed+run)%4 == 0 {
			name = "quiet"
		}
		t.Run(name, func(t *testing.T) { runHistory(t, uint64(seed+run), name == "faults") })
		if t.Failed() {
			t.Fatalf("in history %d of %d", run+1, runs)
		}
	}
}

func setting(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func runHistory(t *testing.T, seed uint64, withFaults bool) {
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, withFaults)
	stop := make(chan struct{})
	var working sync.WaitGroup
	for i := range clients {
		c := &client{world: w, number: i, dice: rand.New(rand.NewPCG(dice.Uint64(), 0))}
		working.Go(func() { c.work(stop) })
	}
	if withFaults {
		w.disturb(dice)
	} else {
		w.await(quietLength)
	}
	close(stop)
	working.Wait()
	w.lastLook(&client{world: w, number: clients, dice: dice})
	w.settle()

	history := w.record.byObject()
	total, lost := 0, 0
	for _, ops := range history {
		total += len(ops)
		for _, o := range ops {
			if o.class == unknown {
				lost++
			}
		}
	}
	began := time.Now()
	checkAll(t, history)
	t.Logf("%d operations on %d objects, %d without an answer; checked in %s", total, len(history), lost, time.Since(began).Round(time.Millisecond))
	for answer, times := range w.strange {
		t.Errorf("%d times: %s", times, answer)
	}
	if len(w.strange) > 0 {
		w.tellErrors()
	}
}

// tellErrors logs the last errors of each node's log.
func (w *world) tellErrors() {
	for i, node := range w.node {
		log, _ := os.ReadFile(node.LogFile())
		lines := slices.DeleteFunc(strings.Split(string(log), "\n"), func(line string) bool { return !strings.Contains(line, "level=ERROR") })
		w.t.Logf("errors of node %d:\n%s", i, strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
}

// await waits until the clients have done n more operations. It gives up when nothing is answered any more.
func (w *world) await(n int) {
	w.t.Helper()
	at := w.record.count()
	goal, deadline := at+n, time.Now().Add(2*time.Minute)
	for at < goal && time.Now().Before(deadline) {
		<-time.After(5 * time.Millisecond)
		if now := w.record.count(); now > at {
			at, deadline = now, time.Now().Add(2*time.Minute)
		}
	}
	if at < goal {
		w.t.Error("the clients get no answers")
	}
}

// lastLook reads the objects in use once more, at each node in turn: they agree on what became of the calls without an answer.
func (w *world) lastLook(c *client) {
	for c.at = range w.node {
		for _, p := range w.policies {
			c.readPolicy(p)
			c.usePolicy(p)
		}
		for _, r := range w.roles {
			c.readRole(r)
			c.readConnection(r)
		}
		for _, s := range w.secrets {
			c.readSecret(s)
		}
		for _, m := range w.mounts {
			c.findMount(m)
		}
		for _, t := range w.trees {
			for _, k := range t.tokens {
				c.look(operation{object: t.object, on: k.number}, k)
			}
			c.listTokens(t)
		}
		for _, l := range w.leases[max(0, len(w.leases)-recent):] {
			if l.object != "" {
				c.lookUp(l)
				c.logIn(l)
			}
		}
		c.listLeases("database/creds/steady")
		c.readTerm()
	}
}

package crash

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// clients is how many work at the server at once.
const clients = 12

// TestRandomKills kills the server under load, again and again. LEASEHOLD_KILLS sets how often; `make soak` asks for 10,000.
func TestRandomKills(t *testing.T) {
	t.Parallel()
	kills := 200
	if text := os.Getenv("LEASEHOLD_KILLS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("LEASEHOLD_KILLS: %v", err)
		}
		kills = n
	}
	killAtRandom(t, newRig(t), kills)
}

// killAtRandom does so with one server.
func killAtRandom(t *testing.T, r *rig, kills int) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	acknowledged := 0
	for kill := range kills {
		stop := make(chan struct{})
		var load sync.WaitGroup
		for range clients {
			dice := rand.New(rand.NewPCG(dice.Uint64(), 0))
			load.Go(func() { r.work(dice, stop) })
		}
		r.awaitAnswers(dice.IntN(12))
		<-time.After(time.Duration(dice.IntN(15)) * time.Millisecond) // the moment of death is the dice's
		r.srv.Kill()
		close(stop)
		load.Wait()
		r.must(r.srv.Restart())
		if kill%20 == 19 || kill == kills-1 {
			r.close()
			if t.Failed() {
				t.Fatalf("after kill %d", kill+1)
			}
			r.mu.Lock()
			acknowledged += len(r.held) + len(r.gone)
			clear(r.gone)
			r.mu.Unlock()
		}
	}
	t.Logf("%d kills, %d acknowledged leases", kills, acknowledged)
	if acknowledged < kills/4 {
		t.Errorf("only %d leases were acknowledged: the load does not load", acknowledged)
	}
	r.srv.Stop()
	r.searchForSecrets()
}

// awaitAnswers waits until n operations were answered, so that a slow machine has its share of work between two deaths.
func (r *rig) awaitAnswers(n int) {
	patience := time.After(5 * time.Second)
	for range n {
		select {
		case <-r.answered:
		case <-patience:
			return
		}
	}
}

// work issues, renews and revokes until the server is gone.
func (r *rig) work(dice *rand.Rand, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		var err error
		c, have := r.pick()
		switch n := dice.IntN(10); {
		case n < 5 || !have:
			_, err = r.issue()
		case n < 7:
			err = r.renew(c)
		default:
			err = r.revoke(c, n < 9)
		}
		if err != nil && !isAnswer(err) {
			return // the server died
		}
		select {
		case r.answered <- struct{}{}:
		default: // nobody counts any more
		}
	}
}

// pick takes any lease that is held.
func (r *rig) pick() (creds, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.held {
		return c, true
	}
	return creds{}, false
}

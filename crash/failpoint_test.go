package crash

import (
	"net/http"
	"strings"
	"testing"

	"leasehold/internal/failpoint"
)

// operations are what runs into a failpoint, by the point's prefix.
var operations = map[string]func(r *rig, c creds){
	"lease/issue/":     func(r *rig, _ creds) { _, _ = r.issue() },
	"lease/renew/":     func(r *rig, c creds) { _ = r.renew(c) },
	"lease/revoke/":    func(r *rig, c creds) { _ = r.revoke(c, true) },
	"database/rotate/": func(r *rig, _ creds) { _, _ = r.srv.Root(http.MethodPost, "database/rotate-root/"+r.db.name(), nil) },
}

// TestEveryFailpoint kills the process at each point between two steps, starts it again, and looks.
func TestEveryFailpoint(t *testing.T) { killAtEach(t, newRig, failpoint.Points) }

// killAtEach does so at some points.
func killAtEach(t *testing.T, newRig func(*testing.T) *rig, points []string) {
	t.Helper()
	run := func(name string, points ...string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			for _, point := range points {
				if r.killAt(point); t.Failed() {
					return
				}
			}
			r.srv.Stop()
			r.searchForSecrets()
		})
	}
	var together []string
	for _, point := range points {
		if strings.HasPrefix(point, "database/rotate/") { // the next rotation of a connection waits until this one has settled
			run(point, point)
		} else {
			together = append(together, point)
		}
	}
	run("leases", together...)
}

func (r *rig) killAt(point string) {
	r.t.Helper()
	r.t.Log("killed at", point)
	var before []creds
	for range 3 {
		c, err := r.issue()
		r.must(err)
		before = append(before, c)
	}
	r.srv.Kill()
	r.must(r.srv.Restart("LEASEHOLD_FAILPOINT=" + point))
	for prefix, operate := range operations {
		if strings.HasPrefix(point, prefix) {
			operate(r, before[0])
		}
	}
	<-r.srv.Exited() // the point ended it; a point that is never passed hangs here and fails by the test's timeout
	r.must(r.srv.Restart())
	if strings.HasPrefix(point, "lease/revoke/") { // it had begun, so it comes to its end
		r.gone[before[0].lease] = before[0]
	}
	r.close()

	// What was acknowledged works, and the broker is not locked out.
	for _, c := range before[1:] {
		if err := r.login(c); err != nil {
			r.t.Errorf("acknowledged credentials are refused: %v", err)
		}
	}
	after, err := r.issue()
	r.must(err)
	if err := r.login(after); err != nil {
		r.t.Errorf("login: %v", err)
	}
	r.must(r.revoke(after, true))
	r.close()
}

package crash

import (
	"net/http"
	"slices"
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
func TestEveryFailpoint(t *testing.T) {
	for _, point := range failpoint.Points {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			killAt(t, point, newRig(t))
		})
	}
}

// killAt does so at one point.
func killAt(t *testing.T, point string, r *rig) {
	t.Helper()
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
	r.close()

	// What was acknowledged works, and the broker is not locked out.
	for _, c := range before[1:] {
		if err := r.login(c); err != nil {
			t.Errorf("acknowledged credentials are refused: %v", err)
		}
	}
	after, err := r.issue()
	if err != nil {
		t.Fatalf("issue after the restart: %v", err)
	}
	if err := r.login(after); err != nil {
		t.Errorf("login: %v", err)
	}
	if strings.HasPrefix(point, "lease/revoke/") && slices.Contains(r.users(), before[0].user) {
		t.Error("a revocation that had begun was forgotten")
	}
	r.must(r.revoke(after, true))
	r.close()
	r.srv.Stop()
	r.searchForSecrets()
}

package transit_test

import (
	"path/filepath"
	"testing"
	"time"

	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/store/sqlite"
	"leasehold/store/storetest"
	"leasehold/transit"
)

// Keys that were deleted, and versions that were trimmed, are in no file of the store: not in its pages, not in its log.
func TestErasedKeysAreInNoFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	w := &world{TB: t, clock: clock.NewFake(began), mount: mount("mount-1"), gone: new(bool)}
	w.store = storetest.OpenAt(t, sqlite.New(sqlite.Config{Path: path, EraseWithin: 250 * time.Millisecond}), w.clock, transit.Migrations()...)
	w.engine = w.newEngine()
	for _, k := range all {
		if k.slow {
			continue
		}
		w.post("keys/"+k.name, `{`+k.fields+`}`)
		w.post("keys/"+k.name+"/rotate", `{}`)
	}
	written := storetest.Cells(t, w.store, transit.Migrations())
	storetest.AwaitFound(t, path, written) // or else it would look in the wrong place
	for i, k := range all {
		switch {
		case k.slow:
		case i%2 == 0:
			w.post("keys/"+k.name+"/config", `{"deletion_allowed":true}`)
			if _, err := w.request(engine.Delete, "keys/"+k.name, nil); err != nil {
				t.Fatal(err)
			}
		default:
			w.post("keys/"+k.name+"/config", `{"min_decryption_version":2,"min_encryption_version":2}`)
			w.post("keys/"+k.name+"/trim", `{"min_available_version":2}`)
		}
	}
	kept := storetest.Cells(t, w.store, transit.Migrations())
	gone := storetest.Missing(written, kept)
	if len(gone) < len(written)/2 {
		t.Errorf("only %d of %d values were erased", len(gone), len(written))
	}
	storetest.AwaitErased(t, path, gone)
}

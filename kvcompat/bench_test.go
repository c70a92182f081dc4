package kvcompat_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/kvcompat"
	"leasehold/store/sqlite"
	"leasehold/store/storetest"
)

// What do a read and a write of a version of 1 KiB cost the engine, among a thousand keys? Written by one caller, durably.
//
// 132 allocations a read, 167 a write.
func BenchmarkVersion2(b *testing.B) {
	st := storetest.OpenAt(b, sqlite.New(sqlite.Config{Path: filepath.Join(b.TempDir(), "store.db")}), clock.System{}, kvcompat.Migrations()...)
	e, err := kvcompat.New(kvcompat.Config{Store: st})
	if err != nil {
		b.Fatal(err)
	}
	send := func(op engine.Operation, i int, body data) {
		r := &engine.Request{Operation: op, Mount: mount("mount-1", "2"), Path: fmt.Sprint("data/folder/", i%1000), Data: body}
		if _, err := e.Handle(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
	body := data{"data": data{"value": strings.Repeat("x", 1<<10)}}
	for i := range 1000 {
		send(engine.Create, i, body)
	}
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			send(engine.Read, i, nil)
		}
	})
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			send(engine.Update, i, body)
		}
	})
}

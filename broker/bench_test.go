package broker_test

import (
	"testing"

	"leasehold/broker"
	"leasehold/broker/brokertest"
	"leasehold/engine"
)

// BenchmarkHandle is a cheap request from one end of the pipeline to the other, with one SQLite store on a disk.
func BenchmarkHandle(b *testing.B) {
	n := brokertest.New(b, broker.Settings{})
	token := n.MustToken("", nil)
	for _, bench := range []struct {
		name string
		op   engine.Operation
		path string
		data map[string]any
	}{
		{"lookup-self", engine.Read, "auth/token/lookup-self", nil},
		{"hash", engine.Update, "sys/tools/hash", map[string]any{"input": "aGVsbG8="}},
		{"capabilities-self", engine.Update, "sys/capabilities-self", map[string]any{"paths": "a,b"}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := &broker.Request{ID: "1", Operation: bench.op, Path: bench.path, Data: bench.data, RemoteAddr: "127.0.0.1", Token: token}
				if _, _, err := n.Handle(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package auth_test

import (
	"fmt"
	"testing"

	"leasehold/auth"
	"leasehold/internal/secret"
	"leasehold/store"
	"leasehold/store/storetest"
)

// fill makes n orphans.
func fill(b *testing.B, f *fixture, n int) {
	b.Helper()
	const perCommit = 5000
	for made := 0; made < n; made += perCommit {
		err := f.store.Update(b.Context(), func(tx *store.Tx) error {
			for range perCommit {
				if _, _, err := f.CreateTx(tx, hour(auth.Spec{Path: "auth/userpass/login/someone", Policies: []string{"default"}})); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// What does every request pay for its token, and does that grow with the number of ancestors? SQLite, durable.
func BenchmarkAuthenticate(b *testing.B) {
	f := newFixture(b, storetest.Databases["sqlite"])
	fill(b, f, 100_000)
	var parent int64
	for depth := 1; depth <= 4; depth++ {
		token, text := f.mustCreate(b, hour(auth.Spec{Parent: parent, Policies: []string{"app", "default"}, DisplayName: "token-bench"}))
		parent = token.Seq
		if depth == 1 || depth == 4 {
			benchmarkAuthenticate(b, f, fmt.Sprintf("depth=%d", depth), text)
		}
	}
	_, batch := f.mustCreate(b, hour(auth.Spec{Type: auth.Batch, Policies: []string{"app", "default"}, DisplayName: "token-bench"}))
	benchmarkAuthenticate(b, f, "batch", batch)
}

func benchmarkAuthenticate(b *testing.B, f *fixture, name string, text secret.Text) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := f.Authenticate(b.Context(), text, "192.0.2.1"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Does making a token cost more when there are many?
func BenchmarkCreate(b *testing.B) {
	for _, n := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("among=%d", n), func(b *testing.B) {
			f := newFixture(b, storetest.Databases["sqlite"])
			fill(b, f, n)
			b.ReportAllocs()
			for b.Loop() {
				f.mustCreate(b, hour(auth.Spec{Policies: []string{"app", "default"}}))
			}
		})
	}
}

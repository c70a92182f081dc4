package httpapi_test

import (
	"net/http"
	"testing"

	"leasehold/server/servertest"
)

// BenchmarkRequest: what does a small authorised read cost over a kept connection, client included? The first measures
// net/http and this package alone, the second adds token, policy and an engine.
func BenchmarkRequest(b *testing.B) {
	s := servertest.Start(b, servertest.Options{})
	for _, path := range []string{"sys/leader", "auth/token/lookup-self"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					got, err := s.Do(http.MethodGet, path, s.RootToken, nil)
					if err != nil || got.Status != http.StatusOK {
						b.Errorf("%d %v", got.Status, err)
						return
					}
				}
			})
		})
	}
}

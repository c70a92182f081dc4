package server

import (
	"log/slog"
	"testing"

	"leasehold/internal/clock"
	"leasehold/server/config"
	"leasehold/store/seal"
)

// A node's claims carry its number from the moment at which the store is open: what it leaves half done could not be taken
// over otherwise.
func TestANodeHasItsNumberBeforeItWorks(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.Storage.Type = "inmem"
	p, err := compose(t.Context(), cfg, Options{}, clock.System{}, &logger{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	shares, _, err := p.broker.Initialize(t.Context(), seal.Params{Shares: 1, Threshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := p.broker.Unseal(t.Context(), shares[0].Reveal()); err != nil {
			t.Fatal(err)
		}
		if p.nodes.Self() == 0 {
			t.Error("the node has no number")
		}
		p.broker.SealNow()
	}
}

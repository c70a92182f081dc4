package broker

import (
	"context"
	"os"
	"time"
)

// Node is a process that serves the store.
type Node struct {
	Hostname       string
	APIAddress     string
	ClusterAddress string
	Version        string
	LastEcho       time.Time // its latest sign of life; zero: of this node, or not known
	Self           bool
}

// Nodes are those that serve the store, each of them in full: no node leads.
func (b *Broker) Nodes(ctx context.Context) ([]Node, error) {
	if b.cfg.Nodes != nil {
		return b.cfg.Nodes(ctx)
	}
	hostname, _ := os.Hostname() // a machine without a name is shown without one
	return []Node{{Hostname: hostname, APIAddress: b.cfg.APIAddr, ClusterAddress: b.cfg.ClusterAddr, Version: b.cfg.Version, Self: true}}, nil
}

// Leadership is what a node says of itself to clients that look for a leader.
type Leadership struct {
	Shared         bool      // several nodes may serve the store, and each is as good as a leader
	ActiveSince    time.Time // when this node was unsealed
	APIAddress     string
	ClusterAddress string
}

// Leadership needs no token.
//
// Errors: Sealed (the store is shared, and this node does not serve it).
func (b *Broker) Leadership() (Leadership, error) {
	if !b.store.Shared() {
		return Leadership{}, nil
	}
	if b.Sealed() {
		return Leadership{}, errSealed
	}
	return Leadership{
		Shared: true, ActiveSince: b.barrier.OpenedAt(), APIAddress: b.cfg.APIAddr, ClusterAddress: b.cfg.ClusterAddr,
	}, nil
}

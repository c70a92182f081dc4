package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"leasehold/store"
)

// Period is how often [Registry.Beat] is to be called.
const Period = time.Second

// lifetime is how long a node lives on one sign of life.
const lifetime = 5 * Period

// Config makes a Registry.
type Config struct {
	Store *store.Store // required

	// What others are told about this node.
	Hostname       string
	APIAddress     string
	ClusterAddress string
	Version        string

	// Died gives back what a dead node had claimed. It is called in the transaction that removes the node. Required.
	Died func(tx *store.Tx, node int64) error
	// Claimants are the numbers that claims carry, in any order. Required.
	Claimants func(tx *store.Tx) ([]int64, error)

	Log *slog.Logger // nil: nothing is logged
}

// Node is one living process.
type Node struct {
	Hostname       string
	APIAddress     string
	ClusterAddress string
	Version        string
	StartedAt      time.Time // when it was unsealed
	SeenAt         time.Time // its latest sign of life
	Self           bool
}

// Registry is this process's place among the nodes of a store. Safe for concurrent use.
type Registry struct {
	cfg   Config
	self  atomic.Int64 // 0: not registered
	doubt atomic.Bool  // the next Beat takes a new number
	one   sync.Mutex   // one Beat or Leave at a time
}

// New makes the Registry of a process that is not registered yet. It reads nothing.
func New(cfg Config) (*Registry, error) {
	if cfg.Store == nil || cfg.Died == nil || cfg.Claimants == nil {
		return nil, errors.New("node: Store, Died and Claimants are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Registry{cfg: cfg}, nil
}

// Self is the number that this node's claims carry; 0: it is not registered, and its claims end by their time alone.
func (r *Registry) Self() int64 { return r.self.Load() }

// Doubt says that it is not known what came of a claim, or of the write that ends one: the store did not answer. The next Beat
// takes a new number, so that nothing waits for the time of such a claim to run out. What is really being worked at is given back
// as well, which does it no more harm than being buried while alive.
func (r *Registry) Doubt() { r.doubt.Store(true) }

// Join registers this process under a new number, which makes a former one of it dead, and buries the dead. Call it whenever the
// store was unsealed.
func (r *Registry) Join(ctx context.Context) error {
	r.one.Lock()
	defer r.one.Unlock()
	former := r.self.Swap(0)
	r.doubt.Store(false) // a new number settles it
	if err := r.live(ctx, 0); err != nil {
		return fmt.Errorf("register this node: %w", err)
	}
	if former != 0 {
		if err := r.bury(ctx, former); err != nil {
			return err
		}
	}
	return r.buryDead(ctx)
}

// Beat gives a sign of life and buries the dead. Call it each [Period] while the store is open. It registers the node where it
// has no row.
func (r *Registry) Beat(ctx context.Context) error {
	r.one.Lock()
	defer r.one.Unlock()
	self, former := r.self.Load(), int64(0)
	if r.doubt.Swap(false) {
		self, former = 0, self
	}
	if self != 0 && !r.cfg.Store.Shared() {
		return nil
	}
	if err := r.live(ctx, self); err != nil {
		r.Doubt()
		return fmt.Errorf("give a sign of life: %w", err)
	}
	if former != 0 {
		r.cfg.Log.Info("the store did not answer for a while: this node goes on as a new one, and what it had claimed is given back")
		if err := r.bury(ctx, former); err != nil {
			return err
		}
	}
	return r.buryDead(ctx)
}

// Leave gives back what this node has claimed, so that others need not wait for its death. Call it when it claims no more.
func (r *Registry) Leave(ctx context.Context) error {
	r.one.Lock()
	defer r.one.Unlock()
	self := r.self.Swap(0)
	if self == 0 {
		return nil
	}
	return r.bury(ctx, self)
}

// live moves a node's time ahead, or registers it where it has no row.
func (r *Registry) live(ctx context.Context, self int64) error {
	registered := self
	err := r.cfg.Store.Claim(ctx, func(tx *store.Tx) error {
		now, until := store.Micros(tx.Now()), store.Micros(tx.Now().Add(lifetime))
		n, err := tx.Exec(`UPDATE nodes SET seen_at = $1, alive_until = $2 WHERE seq = $3`, now, until, self)
		if err != nil || n > 0 {
			return err
		}
		return tx.QueryRow(`INSERT INTO nodes (hostname, api_address, cluster_address, version, started_at, seen_at, alive_until)
			VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING seq`,
			r.cfg.Hostname, r.cfg.APIAddress, r.cfg.ClusterAddress, r.cfg.Version, now, now, until).Scan(&registered)
	})
	if err != nil {
		return err
	}
	r.self.Store(registered)
	if self != 0 && registered != self {
		r.cfg.Log.Warn("this node gave no sign of life for too long: others have taken over its work, and it goes on as a new one")
	}
	return nil
}

// buryDead removes the nodes whose time has run out; where nobody else can be alive, all others. A claimant without a row is
// dead as well: it was buried while it lived, claimed more before it noticed, and died.
func (r *Registry) buryDead(ctx context.Context) error {
	var dead []int64
	err := r.cfg.Store.View(ctx, func(tx *store.Tx) error {
		dead = nil
		claimants, err := r.cfg.Claimants(tx) // before the rows: whoever registers in between has one
		if err != nil {
			return err
		}
		until, err := lives(tx)
		if err != nil {
			return err
		}
		now, self := store.Micros(tx.Now()), r.self.Load()
		for _, node := range claimants {
			if _, has := until[node]; !has && node != 0 {
				until[node] = 0
			}
		}
		for node, end := range until {
			if node != self && (end < now || !r.cfg.Store.Shared()) {
				dead = append(dead, node)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look for dead nodes: %w", err)
	}
	for _, node := range dead {
		if err := r.bury(ctx, node); err != nil {
			return err
		}
	}
	return nil
}

// lives are the nodes that have rows, and until when each lives.
func lives(tx *store.Tx) (map[int64]int64, error) {
	until := map[int64]int64{}
	rows, err := tx.Query(`SELECT seq, alive_until FROM nodes`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var node, end int64
		if err := rows.Scan(&node, &end); err != nil {
			return nil, err
		}
		until[node] = end
	}
	return until, rows.Err()
}

// bury removes a node and gives back what it had claimed. A node that somebody else has buried is no error.
func (r *Registry) bury(ctx context.Context, node int64) error {
	err := r.cfg.Store.Claim(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(`DELETE FROM nodes WHERE seq = $1`, node); err != nil {
			return err
		}
		return r.cfg.Died(tx, node)
	})
	if err != nil {
		return fmt.Errorf("take over the work of node %d: %w", node, err)
	}
	return nil
}

// Nodes are the living nodes, the oldest first.
func (r *Registry) Nodes(ctx context.Context) (nodes []Node, err error) {
	err = r.cfg.Store.View(ctx, func(tx *store.Tx) error {
		nodes = nil
		rows, err := tx.Query(`SELECT seq, hostname, api_address, cluster_address, version, started_at, seen_at FROM nodes ORDER BY seq`)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var n Node
			var seq, started, seen int64
			if err := rows.Scan(&seq, &n.Hostname, &n.APIAddress, &n.ClusterAddress, &n.Version, &started, &seen); err != nil {
				return err
			}
			n.StartedAt, n.SeenAt, n.Self = store.Time(started), store.Time(seen), seq == r.self.Load()
			nodes = append(nodes, n)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	return nodes, nil
}

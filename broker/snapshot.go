package broker

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"leasehold/store"
)

// snapshot is the configuration as of one generation. It never changes, so a request sees one state from beginning
// to end.
//
// Every transaction that changes what is in here raises the generation row. A request reads that row in the same View
// that looks up its token; when its snapshot is older, it loads the new one before it decides anything. So a change
// holds, on every node, from the moment it was acknowledged.
type snapshot struct {
	generation int64
	mounts     []*Mount // all states, by path
	routes     routes   // live ones
	byUUID     map[string]*Mount
	policies   *policySet
	devices    []AuditDevice   // by path
	headers    map[string]bool // audited request headers, lower case -> hashed
	cors       CORS
	uiHeaders  http.Header
	cluster    cluster
}

// current returns the snapshot of the transaction's generation, loading it where this node's is another.
func (b *Broker) current(tx *store.Tx) (*snapshot, error) {
	var generation int64
	if err := tx.QueryRow(selectGeneration).Scan(&generation); err != nil {
		return nil, fmt.Errorf("read the generation: %w", err)
	}
	held := b.snapshot.Load()
	if held != nil && held.generation == generation {
		return held, nil
	}
	loaded, err := b.load(tx, generation, held)
	if err != nil {
		return nil, fmt.Errorf("load configuration: %w", err)
	}
	for held == nil || held.generation < generation {
		if b.snapshot.CompareAndSwap(held, loaded) {
			break
		}
		held = b.snapshot.Load()
	}
	return loaded, nil
}

func (b *Broker) load(tx *store.Tx, generation int64, held *snapshot) (*snapshot, error) {
	s := &snapshot{
		generation: generation, routes: routes{}, byUUID: map[string]*Mount{}, headers: map[string]bool{}, uiHeaders: http.Header{},
	}
	err := b.barrier.Follow(tx) // a rotation is a change, too
	if err != nil {
		return nil, fmt.Errorf("follow a rotation: %w", err)
	}
	if s.mounts, err = readMounts(tx); err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	slices.SortFunc(s.mounts, func(a, b *Mount) int { return strings.Compare(a.Path, b.Path) })
	for _, m := range s.mounts {
		s.byUUID[m.UUID] = m
		if m.state == stateLive {
			s.routes[m.Path] = m
		}
	}
	var before *policySet
	if held != nil {
		before = held.policies
	}
	if s.policies, err = loadPolicies(tx, before); err != nil {
		return nil, fmt.Errorf("read policies: %w", err)
	}
	if s.devices, err = readDevices(tx); err != nil {
		return nil, fmt.Errorf("read audit devices: %w", err)
	}
	if _, err = settingTx(tx, SettingCORS, "", &s.cors); err != nil {
		return nil, err
	}
	if _, err = settingTx(tx, settingCluster, "", &s.cluster); err != nil {
		return nil, err
	}
	err = eachSetting(tx, SettingAuditedHeader, func(name string, decode func(any) error) error {
		var h AuditedHeader
		err := decode(&h)
		s.headers[name] = h.Hash
		return err
	})
	if err != nil {
		return nil, err
	}
	err = eachSetting(tx, SettingUIHeader, func(name string, decode func(any) error) error {
		var h UIHeader
		err := decode(&h)
		s.uiHeaders[http.CanonicalHeaderKey(name)] = h.Values
		return err
	})
	return s, err
}

// held is this node's latest snapshot, perhaps not the newest there is; empty while sealed.
func (b *Broker) held() *snapshot {
	if s := b.snapshot.Load(); s != nil {
		return s
	}
	return &snapshot{policies: newPolicySet(nil)}
}

// CORS is the setting in force. A browser's question has no token, so nothing else has looked for changes before. It is
// empty while sealed.
func (b *Broker) CORS(ctx context.Context) (CORS, error) {
	if !b.store.Unlocked() {
		return CORS{}, nil
	}
	if err := b.refresh(ctx); err != nil {
		return CORS{}, fmt.Errorf("read the CORS setting: %w", unsealedOnly(err))
	}
	return b.held().cors, nil
}

// UIHeaders are the console's additional headers as this node last saw them. Do not change the map.
func (b *Broker) UIHeaders() http.Header { return b.held().uiHeaders }

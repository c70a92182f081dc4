package transit

import (
	"container/list"
	"sync"
)

const (
	// defaultCacheSize is how many keys a mount's cache holds when its configuration sets no number. The contract calls
	// that unlimited; memory that grows with the number of keys is not what anybody wants of it.
	defaultCacheSize = 1000
	// cachedVersions is how many opened versions of a key are held. Most requests use the newest one or two.
	cachedVersions = 8
)

// caches holds a cache for each mount. The zero value is ready.
type caches struct {
	mu     sync.Mutex
	mounts map[string]*cache // guarded by mu
}

// of is the cache of a mount.
func (c *caches) of(mountUUID string) *cache {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.mounts[mountUUID]
	if one == nil {
		if c.mounts == nil {
			c.mounts = map[string]*cache{}
		}
		one = &cache{byID: map[string]*list.Element{}}
		c.mounts[mountUUID] = one
	}
	return one
}

// drop forgets the keys of a mount.
func (c *caches) drop(mountUUID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.mounts, mountUUID)
}

// forget drops all keys.
func (c *caches) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mounts = nil
}

// cache keeps the opened keys of one mount that were used last. What it holds is used only with the stamp that the same
// transaction has read from the key's row, so that a change on another node counts at once.
type cache struct {
	mu    sync.Mutex
	byID  map[string]*list.Element // guarded by mu, like order
	order list.List                // of *cached; the last used one is in front
}

type cached struct {
	key      *key
	versions map[int]*version
}

// entryLocked is the element of a key with that stamp, or nil.
func (c *cache) entryLocked(id, stamp string) *list.Element {
	e := c.byID[id]
	if e == nil || e.Value.(*cached).key.stamp != stamp {
		return nil
	}
	return e
}

func (c *cache) removeLocked(e *list.Element) {
	delete(c.byID, e.Value.(*cached).key.id)
	c.order.Remove(e)
}

// key is the key as it was when it had that stamp, or nil.
func (c *cache) key(id, stamp string) *key {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entryLocked(id, stamp)
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).key
}

// put keeps a key, and lets those go that were not used for the longest time when there are more than size.
func (c *cache) put(k *key, size int) {
	if size == 0 {
		size = defaultCacheSize
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byID[k.id]; e != nil {
		c.removeLocked(e)
	}
	c.byID[k.id] = c.order.PushFront(&cached{key: k, versions: map[int]*version{}})
	for c.order.Len() > size {
		c.removeLocked(c.order.Back())
	}
}

// version is an opened version of a key, or nil.
func (c *cache) version(k *key, number int) *version {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entryLocked(k.id, k.stamp)
	if e == nil {
		return nil
	}
	return e.Value.(*cached).versions[number]
}

// putVersion keeps an opened version of a key that is in the cache.
func (c *cache) putVersion(k *key, v *version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entryLocked(k.id, k.stamp)
	if e == nil {
		return
	}
	held := e.Value.(*cached)
	if len(held.versions) == cachedVersions {
		for number := range held.versions { // any one: it is a cache
			delete(held.versions, number)
			break
		}
	}
	held.versions[v.number] = v
}

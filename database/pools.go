package database

import (
	"strings"
	"sync"

	"leasehold/plugins"
)

// pools keeps one open database for each connection. A pool is known by the version of the connection's row, so a
// connection that was changed is opened anew by whoever reads the new row, on every node. Those that nobody asks for any more, as
// another node has deleted the connection, are closed by the engine's duty. Safe for concurrent use.
type pools struct {
	mu   sync.Mutex
	open map[string]*pool // by connection id; guarded by mu
}

// pool is one opened connection.
type pool struct {
	version string
	once    sync.Once // opening checks the settings and contacts nobody
	err     error     // why it did not open; set by once, like the four below
	db      plugins.Database
	names   *usernames
	gate    *gate
	breaker *breaker

	users  int  // who works with it now; guarded by pools.mu
	closed bool // to be closed by the last user; guarded by pools.mu
}

func newPools() *pools { return &pools{open: map[string]*pool{}} }

// acquire returns the pool of a connection at a version; the first to ask opens it. A pool at another version is closed
// as soon as nobody works with it. Each success is answered by one release.
func (p *pools) acquire(id, version string, open func(*pool) error) (*pool, error) {
	this, idle := p.join(id, version)
	if idle != nil {
		idle.close()
	}
	this.once.Do(func() { this.err = open(this) })
	if this.err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.open[id] == this {
			delete(p.open, id) // the next one tries again
		}
		return nil, this.err
	}
	return this, nil
}

func (p *pools) join(id, version string) (this, idle *pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	this = p.open[id]
	if this == nil || this.version != version {
		idle = p.removeLocked(id)
		this = &pool{version: version}
		p.open[id] = this
	}
	this.users++
	return this, idle
}

// release ends one use of an acquired pool.
func (p *pools) release(this *pool) {
	p.mu.Lock()
	this.users--
	last := this.closed && this.users == 0
	p.mu.Unlock()
	if last {
		this.close()
	}
}

// forget closes a connection's pool as soon as nobody works with it.
func (p *pools) forget(id string) {
	p.mu.Lock()
	idle := p.removeLocked(id)
	p.mu.Unlock()
	if idle != nil {
		idle.close()
	}
}

// forgetAll does that for every connection whose id begins with prefix.
func (p *pools) forgetAll(prefix string) {
	var idle []*pool
	p.mu.Lock()
	for id := range p.open {
		if strings.HasPrefix(id, prefix) {
			if old := p.removeLocked(id); old != nil {
				idle = append(idle, old)
			}
		}
	}
	p.mu.Unlock()
	for _, old := range idle {
		old.close()
	}
}

// versions are those of the open pools, by connection id.
func (p *pools) versions() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	open := make(map[string]string, len(p.open))
	for id, this := range p.open {
		open[id] = this.version
	}
	return open
}

// forgetVersion is forget, unless the pool has another version by now.
func (p *pools) forgetVersion(id, version string) {
	p.mu.Lock()
	var idle *pool
	if this := p.open[id]; this != nil && this.version == version {
		idle = p.removeLocked(id)
	}
	p.mu.Unlock()
	if idle != nil {
		idle.close()
	}
}

// removeLocked takes a pool out of use. It is returned when nobody works with it: the caller closes it.
func (p *pools) removeLocked(id string) *pool {
	old := p.open[id]
	if old == nil {
		return nil
	}
	delete(p.open, id)
	old.closed = true
	if old.users > 0 {
		return nil
	}
	return old
}

// close ends the pool's connections. A failure has no consequence that anybody could act on: the database drops a
// connection whose client is gone.
func (p *pool) close() {
	if p.db != nil {
		_ = p.db.Close()
	}
}

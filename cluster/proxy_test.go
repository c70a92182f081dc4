package cluster

import (
	"io"
	"net"
	"sync"
	"testing"
)

// proxy is the network between a node and the store.
type proxy struct {
	Addr     string
	listener net.Listener
	upstream string
	work     sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool // guarded by mu; nil: the proxy has ended
	refuse bool              // new connections are closed; guarded by mu

	there, back gate // from the node to the store, and back
}

// gate lets data pass, or holds it up.
type gate struct {
	mu   sync.Mutex
	open chan struct{} // closed: data passes; guarded by mu
}

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		if !open {
			g.open = make(chan struct{})
		}
	default:
		if open {
			close(g.open)
		}
	}
}

func (g *gate) wait() {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	<-open
}

// newProxy starts a proxy that passes everything on.
func newProxy(t *testing.T, upstream string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Addr: listener.Addr().String(), listener: listener, upstream: upstream, conns: map[net.Conn]bool{}}
	for _, g := range []*gate{&p.there, &p.back} {
		g.open = make(chan struct{})
		close(g.open)
	}
	p.work.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.hangUp(true)
		p.work.Wait()
	})
	return p
}

// cut is a way in which a network fails.
type cut struct {
	name        string
	refuse      bool // connections are broken, and new ones refused
	there, back bool // what is sent in that direction stays on its way
}

var cuts = []cut{
	{name: "refused", refuse: true},
	{name: "silent", there: true, back: true},
	{name: "deaf", back: true}, // the store gets what the node sends, and acts on it
	{name: "dumb", there: true},
}

func (p *proxy) cut(c cut) {
	p.mu.Lock()
	p.refuse = c.refuse
	p.mu.Unlock()
	p.there.set(!c.there)
	p.back.set(!c.back)
	if c.refuse {
		p.hangUp(false)
	}
}

// heal lets everything pass again. What was on its way arrives late, unless it is dropped together with its connection.
func (p *proxy) heal(drop bool) {
	if drop {
		p.hangUp(false)
	}
	p.cut(cut{})
}

// hangUp breaks all connections.
func (p *proxy) hangUp(forGood bool) {
	p.mu.Lock()
	conns := p.conns
	p.conns = map[net.Conn]bool{}
	if forGood {
		p.conns = nil
	}
	p.mu.Unlock()
	for conn := range conns {
		_ = conn.Close()
	}
	if forGood {
		p.there.set(true)
		p.back.set(true)
	}
}

// keep registers a connection, or closes it when there is none to be had.
func (p *proxy) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil || p.refuse {
		_ = conn.Close()
		return false
	}
	p.conns[conn] = true
	return true
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.upstream)
		if err != nil {
			_ = client.Close()
			continue
		}
		if !p.keep(client) || !p.keep(server) {
			_ = client.Close()
			_ = server.Close()
			continue
		}
		p.work.Go(func() { p.pass(server, client, &p.there) })
		p.work.Go(func() { p.pass(client, server, &p.back) })
	}
}

// pass copies in one direction. The end of a connection is news like any other, and takes the same way.
func (p *proxy) pass(to, from net.Conn, g *gate) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		g.wait()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				_ = from.Close()
				return
			}
		}
		if err != nil {
			if err == io.EOF {
				_ = to.(*net.TCPConn).CloseWrite()
			} else {
				_ = to.Close()
			}
			return
		}
	}
}

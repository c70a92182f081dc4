package postgres_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"leasehold/internal/testdb"
)

// proxy passes on what client and server say, counts the client's requests, and can lose an answer.
type proxy struct {
	*testdb.Server // with the proxy's address
	listener       net.Listener
	upstream       string
	requests       atomic.Int64 // simple queries and Syncs: each is one round trip
	cutAfter       atomic.Pointer[string]
	wg             sync.WaitGroup
}

func newProxy(t *testing.T, s *testdb.Server) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	moved := *s
	moved.Addr = l.Addr().String()
	p := &proxy{Server: &moved, listener: l, upstream: s.Addr}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.wg.Wait()
	})
	return p
}

// loseAnswerTo closes the client's connection when it has sent a query that begins so, and passes the query on.
func (p *proxy) loseAnswerTo(query string) { p.cutAfter.Store(&query) }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() {
			defer client.Close()
			server, err := net.Dial("tcp", p.upstream)
			if err != nil {
				return
			}
			p.wg.Go(func() {
				_, _ = io.Copy(client, server)
				_ = client.Close()
				_, _ = io.Copy(io.Discard, server)
				_ = server.Close()
			})
			p.forward(client, server)
			// The server reads all that was sent before it sees the end.
			_ = server.(*net.TCPConn).CloseWrite()
		})
	}
}

// forward passes the client's messages on. The first has no type byte; that of a cancel request is the last.
func (p *proxy) forward(client io.Reader, server io.Writer) {
	for first := true; ; first = false {
		header := make([]byte, 5)
		if first {
			header = header[:4]
		}
		if _, err := io.ReadFull(client, header); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(header[len(header)-4:])-4)
		if _, err := io.ReadFull(client, body); err != nil {
			return
		}
		if !first && (header[0] == 'Q' || header[0] == 'S') {
			p.requests.Add(1) // before its answer can come
		}
		if _, err := server.Write(append(header, body...)); err != nil {
			return
		}
		if first {
			continue
		}
		if query := p.cutAfter.Load(); query != nil && header[0] == 'Q' && bytes.HasPrefix(body, []byte(*query)) {
			return
		}
	}
}

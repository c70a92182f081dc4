package mysql_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"leasehold/internal/testdb"
)

// proxy passes on what client and server say, and can lose an answer.
type proxy struct {
	*testdb.MariaServer // with the proxy's address
	listener            net.Listener
	upstream            string
	cutAfter            atomic.Pointer[string]
	queries             atomic.Int64
	ended               context.Context
	wg                  sync.WaitGroup
}

func newProxy(t *testing.T, s *testdb.MariaServer) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	p := &proxy{ended: ctx, MariaServer: &testdb.MariaServer{Addr: l.Addr().String(), User: s.User, Password: s.Password}, listener: l, upstream: s.Addr}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		end()
		p.wg.Wait()
	})
	return p
}

// loseAnswerTo closes the client's connection when it has sent a query that begins so, and passes the query on. The server's
// side stays open until the server closes it or the test ends, as when a cable is cut.
func (p *proxy) loseAnswerTo(query string) { p.cutAfter.Store(&query) }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() {
			server, err := net.Dial("tcp", p.upstream)
			if err != nil {
				_ = client.Close()
				return
			}
			context.AfterFunc(p.ended, func() { _ = server.Close() })
			p.wg.Go(func() {
				_, _ = io.Copy(client, server)
				_ = client.Close()
				_, _ = io.Copy(io.Discard, server)
				_ = server.Close()
			})
			cut := p.forward(client, server)
			_ = client.Close()
			if !cut {
				_ = server.(*net.TCPConn).CloseWrite()
			}
		})
	}
}

// forward passes the client's packets on, and reports whether it lost an answer.
func (p *proxy) forward(client io.Reader, server io.Writer) bool {
	for {
		header := make([]byte, 4)
		if _, err := io.ReadFull(client, header); err != nil {
			return false
		}
		body := make([]byte, int(header[0])|int(header[1])<<8|int(header[2])<<16)
		if _, err := io.ReadFull(client, body); err != nil {
			return false
		}
		isQuery := header[3] == 0 && len(body) > 0 && body[0] == 3
		if isQuery {
			p.queries.Add(1) // before its answer can come
		}
		if _, err := server.Write(append(header, body...)); err != nil {
			return false
		}
		if query := p.cutAfter.Load(); query != nil && isQuery && bytes.HasPrefix(body[1:], []byte(*query)) {
			return true
		}
	}
}

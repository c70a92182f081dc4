package faults

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// proxy stands before a PostgreSQL server. It passes everything on until it is told otherwise: as a whole by refuse, hang
// and vanish, or request by request by a rule. It knows as much of the protocol as it takes to tell requests and answers
// apart.
type proxy struct {
	t        *testing.T
	addr     string
	upstream string

	// stuck receives when something that was sent is not passed on, because the server hangs.
	stuck chan struct{}

	mu       sync.Mutex
	listener net.Listener    // nil: nobody listens; guarded by mu
	hole     []int           // sockets that make a black hole; guarded by mu
	thawed   chan struct{}   // closed while everything is passed on; guarded by mu
	lost     []chan struct{} // of connections that hang for ever; guarded by mu
	wires    map[*wire]struct{}
	rule     func(sql string) verdict // nil: all pass; guarded by mu
	deaf     bool                     // cancel requests get lost; guarded by mu

	wg sync.WaitGroup
}

// verdict is what becomes of a request.
type verdict struct {
	cut    cut
	landed chan<- string // with late: receives the tag of the request's last command, or how the server refused it
	until  <-chan struct{}
}

type cut int

const (
	pass   cut = iota
	before     // the connection breaks, and the server has not seen the request
	after      // the server has answered, and the connection breaks before the client sees it
	late       // the server sees it when until is closed, whatever the client does meanwhile
)

func newProxy(t *testing.T, upstream string) *proxy {
	t.Helper()
	p := &proxy{t: t, upstream: upstream, stuck: make(chan struct{}, 1), thawed: make(chan struct{}), wires: map[*wire]struct{}{}}
	close(p.thawed)
	l, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr, p.listener = l.Addr().String(), l
	// It keeps the port while nobody listens there.
	keeper, err := boundSocket(p.addr)
	if err != nil {
		t.Fatal(err)
	}
	p.wg.Go(func() { p.accept(l) })
	t.Cleanup(func() {
		p.refuse()
		p.mu.Lock()
		for _, frozen := range append(p.lost, p.thawed) {
			thaw(frozen)
		}
		p.mu.Unlock()
		p.wg.Wait()
		_ = unix.Close(keeper)
	})
	return p
}

// listen opens an address that others may be bound to as well.
func listen(addr string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return errors.Join(err, failed)
	}}
	return config.Listen(context.Background(), "tcp", addr)
}

// boundSocket is a socket that has an address and does not listen.
func boundSocket(addr string) (int, error) {
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	return fd, errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Port: at.Port, Addr: [4]byte(at.IP.To4())}),
	)
}

// refuse is a server that has ended: connections break, and new ones are refused.
func (p *proxy) refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deafenLocked()
	for w := range p.wires {
		w.close()
	}
}

// hang is a server that has stopped where it was: connections are made and stay, and nothing is answered.
func (p *proxy) hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.freezeLocked()
}

// vanish is a network that is gone: nothing is answered, not even an attempt to connect.
func (p *proxy) vanish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.freezeLocked()
	p.deafenLocked()
	// A full queue of connections that nobody accepts has the kernel drop each further attempt without a word.
	fd, err := boundSocket(p.addr)
	if err == nil {
		err = unix.Listen(fd, 0)
	}
	if err != nil {
		p.t.Errorf("make a black hole: %v", err)
		return
	}
	p.hole = append(p.hole, fd)
	for range 8 {
		filler, err := net.DialTimeout("tcp", p.addr, 200*time.Millisecond)
		if err != nil {
			return
		}
		p.wg.Go(func() {
			_, _ = io.Copy(io.Discard, filler) // until the hole is closed
			_ = filler.Close()
		})
	}
	p.t.Error("the black hole still takes connections")
}

// heal ends refuse, hang and vanish. What hung goes on: requests that were sent long ago arrive now. After vanish, the
// server knows nothing of the connections that there were.
func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	vanished := len(p.hole) > 0
	for _, fd := range p.hole {
		_ = unix.Close(fd)
	}
	p.hole = nil
	if p.listener == nil {
		l, err := listen(p.addr)
		if err != nil {
			p.t.Errorf("listen again: %v", err)
			return
		}
		p.listener = l
		p.wg.Go(func() { p.accept(l) })
	}
	if vanished {
		for w := range p.wires {
			w.close()
		}
	}
	thaw(p.thawed)
}

// forsake ends hang for new connections. Those that there were hang for ever.
func (p *proxy) forsake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = append(p.lost, p.thawed)
	p.thawed = make(chan struct{})
	close(p.thawed)
}

func thaw(frozen chan struct{}) {
	select {
	case <-frozen:
	default:
		close(frozen)
	}
}

func (p *proxy) freezeLocked() {
	select {
	case <-p.thawed:
		p.thawed = make(chan struct{})
	default:
	}
}

// deafenLocked stops listening.
func (p *proxy) deafenLocked() {
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
}

// obey sets what becomes of each request; nil: it is passed on. The rule is called by each connection's own goroutine, and
// may wait.
func (p *proxy) obey(rule func(sql string) verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = rule
}

// loseCancels has the requests to cancel a statement get lost from now on.
func (p *proxy) loseCancels() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf = true
}

func (p *proxy) judge(sql string) verdict {
	p.mu.Lock()
	rule := p.rule
	p.mu.Unlock()
	if rule == nil {
		return verdict{}
	}
	return rule(sql)
}

// awaitThaw returns when everything is passed on.
func (p *proxy) awaitThaw() {
	p.mu.Lock()
	thawed := p.thawed
	p.mu.Unlock()
	select {
	case <-thawed:
		return
	default:
	}
	select {
	case p.stuck <- struct{}{}:
	default: // it is known already
	}
	<-thawed
}

func (p *proxy) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		w := &wire{p: p, client: client}
		p.mu.Lock()
		p.wires[w] = struct{}{}
		p.mu.Unlock()
		p.wg.Go(func() {
			defer func() {
				w.close()
				p.mu.Lock()
				defer p.mu.Unlock()
				delete(p.wires, w)
			}()
			w.run()
		})
	}
}

// wire is one connection through the proxy.
type wire struct {
	p      *proxy
	client net.Conn

	mu       sync.Mutex
	server   net.Conn // nil until the client has said something; guarded by mu
	closed   bool     // guarded by mu
	swallow  bool     // answers do not reach the client; guarded by mu
	answered chan string
}

func (w *wire) close() {
	_ = w.client.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.server != nil {
		_ = w.server.Close()
	}
}

// connect reaches the server, unless the connection was closed meanwhile.
func (w *wire) connect() (net.Conn, error) {
	server, err := net.Dial("tcp", w.p.upstream)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		_ = server.Close()
		return nil, net.ErrClosed
	}
	w.server = server
	return server, nil
}

const cancelRequest = 80877102

// run passes on what the client says, a request at a time. The first message has no type.
func (w *wire) run() {
	first, err := readMessage(w.client, false)
	if err != nil {
		return
	}
	w.p.awaitThaw()
	w.p.mu.Lock()
	deaf := w.p.deaf
	w.p.mu.Unlock()
	if deaf && len(first) >= 8 && binary.BigEndian.Uint32(first[4:]) == cancelRequest {
		return
	}
	server, err := w.connect()
	if err != nil {
		return
	}
	w.answered = make(chan string, 1)
	w.p.wg.Go(func() { w.answer(server) })
	if _, err := server.Write(first); err != nil {
		return
	}
	var request, sql []byte
	for {
		message, err := readMessage(w.client, true)
		if err != nil {
			return
		}
		request = append(request, message...)
		switch message[0] {
		case 'Q', 'P':
			sql = append(sql, message[5:]...)
		}
		switch message[0] {
		case 'P', 'B', 'D', 'E', 'C', 'H': // more of the request follows
			continue
		case 'Q', 'S':
			w.p.awaitThaw()
			if !w.pass(server, request, string(sql)) {
				return
			}
		default: // the login, the end
			w.p.awaitThaw()
			if _, err := server.Write(request); err != nil {
				return
			}
		}
		request, sql = nil, nil
	}
}

// pass does with a request what the rule says, and reports whether the connection goes on.
func (w *wire) pass(server net.Conn, request []byte, sql string) bool {
	v := w.p.judge(sql)
	switch v.cut {
	case before:
		return false
	case after:
		w.setSwallow()
		if _, err := server.Write(request); err == nil {
			<-w.answered
		}
		return false
	case late:
		w.setSwallow()
		<-v.until
		tag := "the connection to the server is gone"
		if _, err := server.Write(request); err == nil {
			tag = <-w.answered
		}
		v.landed <- tag
		return false
	default:
		_, err := server.Write(request)
		return err == nil
	}
}

func (w *wire) setSwallow() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.swallow = true
}

func (w *wire) swallows() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.swallow
}

// answer passes on what the server says. Of a swallowed answer it tells the last command's tag or the error.
func (w *wire) answer(server net.Conn) {
	tag := "the server closed the connection"
	defer func() {
		w.answered <- tag
		_ = w.client.Close()
	}()
	for {
		message, err := readMessage(server, true)
		if err != nil {
			return
		}
		w.p.awaitThaw()
		if !w.swallows() {
			if _, err := w.client.Write(message); err != nil && !w.swallows() {
				return
			}
			continue
		}
		switch message[0] {
		case 'C':
			tag = string(bytes.TrimRight(message[5:], "\x00"))
		case 'E':
			tag = string(bytes.ReplaceAll(message[5:], []byte{0}, []byte{' '}))
		case 'Z':
			return
		}
	}
}

// readMessage reads one message with its header.
func readMessage(from io.Reader, typed bool) ([]byte, error) {
	size := 4
	if typed {
		size = 5
	}
	header := make([]byte, size)
	if _, err := io.ReadFull(from, header); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint32(header[size-4:])) - 4
	if length < 0 || length > 1<<24 {
		return nil, errors.New("not a message of PostgreSQL's protocol")
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(from, body); err != nil {
		return nil, err
	}
	return append(header, body...), nil
}

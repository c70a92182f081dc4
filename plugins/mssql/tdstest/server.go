package tdstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"regexp"
	"strings"
	"sync"
	"time"
)

const serverName = "TDSTEST"

// Server is a running server. User may do everything. Safe for concurrent use.
type Server struct {
	Addr     string // host:port
	User     string
	Password string
	CA       string // PEM: who has signed the certificate, which is for 127.0.0.1 and for db.example

	listener net.Listener
	config   *tls.Config
	writer   chan struct{} // whoever writes to the state has taken it
	wg       sync.WaitGroup

	mu        sync.Mutex
	committed *state
	conns     map[int]*conn
	lastID    int
	lose      string // the beginning of statements
	plain     bool   // it knows no encryption
	log       io.Writer
	stale     bool // it does not reset sessions
	strict    bool // it refuses weak passwords
	closed    bool
}

// Start starts a server on a free port of the loopback, without databases but those that each server has. Stop ends it.
func Start() (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: l.Addr().String(), User: "sa", Password: "sa-Passw0rd-" + rand.Text(), listener: l, writer: make(chan struct{}, 1), conns: map[int]*conn{}, lastID: 50}
	s.committed = newState(s.Password)
	if s.config, s.CA, err = newCertificate(); err != nil {
		_ = l.Close()
		return nil, err
	}
	s.wg.Go(s.accept)
	return s, nil
}

// Stop ends all sessions and the server.
func (s *Server) Stop() {
	_ = s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for _, c := range s.conns {
		c.kill()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// LoseAnswerTo has the connection break when a statement that begins so arrives. The statement is run all the same, and the session
// stays until it is killed, as when a cable is cut. Empty: no more.
func (s *Server) LoseAnswerTo(beginning string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose = beginning
}

// RefuseEncryption has the server say that it knows no encryption.
func (s *Server) RefuseEncryption() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plain = true
}

// LogTo has the server write what it is sent to a file. As in SQL Server's traces, what sets a password is not shown.
func (s *Server) LogTo(file io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = file
}

var setsPassword = regexp.MustCompile(`(?i)\bpassword\s*=`)

// note writes the log.
func (s *Server) note(sql string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log == nil {
		return
	}
	if setsPassword.MatchString(sql) {
		sql = "-- the text is replaced: it sets a password"
	}
	_, _ = fmt.Fprintln(s.log, sql)
}

// IgnoreResets has the server leave sessions as they are when a client wants them reset.
func (s *Server) IgnoreResets() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale = true
}

// EnforcePolicy has the server refuse weak passwords, as Windows' password policy has it do.
func (s *Server) EnforcePolicy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strict = true
}

// Writing reports whether a statement or transaction that changes something is under way.
func (s *Server) Writing() bool { return len(s.writer) > 0 }

// Sessions is how many sessions a login or contained user has.
func (s *Server) Sessions(name string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		if fold(c.user) == fold(name) {
			n++
		}
	}
	return n
}

func (s *Server) accept() {
	for {
		client, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() { s.serve(client) })
	}
}

// loses reports whether the answer to a statement is to be lost.
func (s *Server) loses(sql string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lose == "" || !strings.HasPrefix(sql, s.lose) {
		return false
	}
	s.lose = ""
	return true
}

// current is what was committed last.
func (s *Server) current() *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.committed
}

func (s *Server) commit(changed *state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.committed = changed
}

// register makes a connection a session. The login is looked at again, so that none comes in behind the drop of its login.
func (s *Server) register(c *conn, check func(*state) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	if err := check(s.committed); err != nil {
		return err
	}
	s.lastID++
	c.id = s.lastID
	s.conns[c.id] = c
	return nil
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c.id)
}

// sessions are those of now, in no order.
func (s *Server) sessions() (all []*conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		all = append(all, c)
	}
	return all
}

// newCertificate makes a certificate that signs itself.
func newCertificate() (*tls.Config, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: serverName},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"db.example"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, "", err
	}
	certificate := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}, ca, nil
}

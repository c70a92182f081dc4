package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"leasehold/internal/secret"
)

// DefaultAddress is where a server is looked for when no address is given.
const DefaultAddress = "https://127.0.0.1:8200"

// Config says where the server is and how to talk to it. The zero value is a client without a token for
// DefaultAddress.
type Config struct {
	Address         string        // http://HOST:PORT, https://HOST:PORT or unix:///PATH; "": DefaultAddress
	Token           secret.Text   // sent as X-Vault-Token when not empty
	Namespace       string        // sent as X-Vault-Namespace when not empty
	WrapTTL         string        // sent as X-Vault-Wrap-TTL when not empty: seconds or a duration
	Header          http.Header   // further headers of every request
	TLS             TLS           // for https addresses
	ProxyURL        string        // "": the proxy that the environment names, if any
	Timeout         time.Duration // of one call with all its retries; 0: 60 s
	MaxRetries      int           // after a 5xx (but 501) or a broken connection; 0: 2, negative: none
	RetryWait       time.Duration // before a retry, plus up to half of it by chance; 0: 1 s
	Rate            float64       // requests a second; 0: no limit
	Burst           int           // requests that may be sent at once under Rate; 0: 1
	RefuseRedirects bool          // a redirect is an error instead of being followed
}

// TLS says whom to trust and who we are. The zero value trusts the system's roots.
type TLS struct {
	CACert     string // file of PEM certificates to trust
	CACertPEM  string // the same as text; beats CACert
	CAPath     string // directory of such files; used when neither of the above is given
	ClientCert string // PEM file, with ClientKey
	ClientKey  string // PEM file
	ServerName string // expected name, where it is not the address's host
	SkipVerify bool   // accept any certificate: for trials only
}

// Client sends requests to one server. Safe for concurrent use.
type Client struct {
	cfg     Config
	base    *url.URL
	http    *http.Client
	limiter *rate.Limiter // nil: no limit
}

// New checks cfg and reads the TLS files that it names. Nothing is sent.
func New(cfg Config) (*Client, error) {
	if cfg.Address == "" {
		cfg.Address = DefaultAddress
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 60 * time.Second
	}
	if cfg.MaxRetries == 0 {
		cfg.MaxRetries = 2
	}
	if cfg.RetryWait == 0 {
		cfg.RetryWait = time.Second
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	base, err := parseAddress(cfg.Address, transport)
	if err != nil {
		return nil, err
	}
	if cfg.ProxyURL != "" {
		proxy, err := url.Parse(cfg.ProxyURL)
		if err != nil {
			return nil, errors.New("proxy address: not a URL")
		}
		transport.Proxy = http.ProxyURL(proxy)
	}
	if transport.TLSClientConfig, err = cfg.TLS.config(); err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, base: base, http: &http.Client{Transport: transport, CheckRedirect: checkRedirect}}
	if cfg.RefuseRedirects {
		c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	if cfg.Rate > 0 {
		c.limiter = rate.NewLimiter(rate.Limit(cfg.Rate), max(cfg.Burst, 1))
	}
	return c, nil
}

// Address is the server's address as it was given.
func (c *Client) Address() string { return c.cfg.Address }

// WithToken is the same client for another token. The two share their connections.
func (c *Client) WithToken(token secret.Text) *Client {
	other := *c
	other.cfg.Token = token
	return &other
}

// WithWrapTTL is the same client asking for wrapped answers ("": for plain ones). The two share their connections.
func (c *Client) WithWrapTTL(ttl string) *Client {
	other := *c
	other.cfg.WrapTTL = ttl
	return &other
}

// Close ends the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// parseAddress reads a server's address; for a socket it makes transport dial that.
func parseAddress(address string, transport *http.Transport) (*url.URL, error) {
	if socket, ok := strings.CutPrefix(address, "unix://"); ok {
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}
		return &url.URL{Scheme: "http", Host: "localhost"}, nil
	}
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		// The address may hold a password: it is not repeated here.
		return nil, errors.New("server address: want http://HOST:PORT, https://HOST:PORT or unix:///PATH")
	}
	base.Path = strings.TrimSuffix(base.Path, "/")
	return base, nil
}

// checkRedirect follows a standby to the active node, but never from https to http: the token goes along.
func checkRedirect(next *http.Request, via []*http.Request) error {
	if via[0].URL.Scheme == "https" && next.URL.Scheme != "https" {
		return errors.New("redirect from https to http refused")
	}
	if len(via) > 3 {
		return errors.New("too many redirects")
	}
	return nil
}

func (t TLS) config() (*tls.Config, error) {
	cfg := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         t.ServerName,
		InsecureSkipVerify: t.SkipVerify, // #nosec G402 -- only on the user's explicit demand
	}
	switch {
	case t.CACertPEM != "":
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM([]byte(t.CACertPEM)) {
			return nil, errors.New("CA certificate: no PEM certificate in the text")
		}
	case t.CACert != "":
		cfg.RootCAs = x509.NewCertPool()
		if err := appendCerts(cfg.RootCAs, t.CACert); err != nil {
			return nil, err
		}
	case t.CAPath != "":
		entries, err := os.ReadDir(t.CAPath)
		if err != nil {
			return nil, fmt.Errorf("CA directory: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		for _, entry := range entries {
			if entry.IsDir() {
				continue
			}
			if err := appendCerts(cfg.RootCAs, filepath.Join(t.CAPath, entry.Name())); err != nil {
				return nil, err
			}
		}
	}
	if t.ClientCert != "" || t.ClientKey != "" {
		pair, err := tls.LoadX509KeyPair(t.ClientCert, t.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

func appendCerts(pool *x509.CertPool, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("CA certificate: %w", err)
	}
	if !pool.AppendCertsFromPEM(text) {
		return fmt.Errorf("CA certificate: no PEM certificate in %s", file)
	}
	return nil
}

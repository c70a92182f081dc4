package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"leasehold/internal/secret"
)

// Config is a server's configuration.
type Config struct {
	Storage   Storage
	Listeners []*Listener
	Seal      Seal

	FormerSeals []Seal // disabled ones: the store may be moved away from them

	APIAddr     string // the URL that clients are told; "": derived from the first listener
	ClusterAddr string // kept and shown; nodes do not talk to each other
	ClusterName string // "": generated at init

	DefaultLeaseTTL    time.Duration
	MaxLeaseTTL        time.Duration
	MaxRequestDuration time.Duration // for listeners that do not say

	PluginDirectory string // where the programs of registered plugins are, an absolute path; "": none can be launched

	LockMemory           bool // keep memory from being swapped out, where the system allows it
	APIAudit             bool // audit devices may be enabled through the API
	AuditPrefixing       bool // and may have a prefix
	ShowHostname         bool // answers carry X-Vault-Hostname
	PIDFile              string
	LogLevel             slog.Level
	LogFormat            string      // one of [LogFormats]
	LogFile              string      // "": standard error; a name that ends in "/" is a directory
	RequestLogLevel      *slog.Level // finished requests are logged at this level; nil: they are not
	UnauthenticatedFlows bool        // rekey and generate-root need no token, on all listeners

	Telemetry Telemetry

	// Warnings are what the files say that has no meaning here, one line each.
	Warnings []string
}

// Storage is where the server keeps everything.
type Storage struct {
	Type string // sqlite, file, raft, inmem or postgresql, as configured; sys/seal-status shows it
	Path string // sqlite: the file; file and raft: the directory

	// The rest is for postgresql alone.
	URL            secret.Text // a connection URL or keyword=value string; TLS, too, is configured in it
	Schema         string      // where the tables are; "": where the connection's search_path leads
	MaxConns       int64       // connections of this node; 0: the store's default
	MaxIdleConns   int64       // how many of them stay open when idle; 0: all
	ConnectRetries int64       // how often the first connection is tried again
}

// Shared reports whether several nodes may use the storage at the same time.
func (s Storage) Shared() bool { return s.Type == "postgresql" }

// DatabaseFile is the name of the SQLite file in the directory of storage types file and raft.
const DatabaseFile = "leasehold.db"

// File is the SQLite file, or "" where the type has none.
func (s Storage) File() string {
	switch s.Type {
	case "sqlite":
		return s.Path
	case "file", "raft":
		return filepath.Join(s.Path, DatabaseFile)
	default:
		return ""
	}
}

// Listener is one address that the server answers at.
type Listener struct {
	Network string // "tcp" or "unix"
	Address string // host:port, or the socket's path
	TLS     *TLS   // nil: plain HTTP

	SocketMode  os.FileMode // unix; 0: as the process's umask says
	SocketUser  string      // unix; "": the process's own
	SocketGroup string

	ReadHeaderTimeout time.Duration
	ReadTimeout       time.Duration
	WriteTimeout      time.Duration // zero: none
	IdleTimeout       time.Duration

	MaxRequestBytes    int64 // negative: no limit
	MaxRequestDuration time.Duration
	MaxJSONBytes       int64 // what a body may take in memory once it is decoded; negative: no limit
	MaxJSONStrings     int64 // keys and texts in a body; negative: no limit

	ForwardedFor ForwardedFor
	CORS         CORS
	Headers      map[string]http.Header // by "default", "4xx" or "404"

	UnauthenticatedRekey        bool
	UnauthenticatedGenerateRoot bool

	Exposure Exposure
}

// TLS is the TLS part of a listener.
type TLS struct {
	CertFile, KeyFile  string // PEM; contents are read again on SIGHUP, the paths are not
	MinVersion         uint16
	MaxVersion         uint16
	CipherSuites       []uint16 // TLS 1.2 and below; nil: Go's choice
	ClientCAFile       string
	RequireClientCerts bool // refuse clients without a certificate of ClientCAFile
	AskForClientCerts  bool // ask, and hand what comes to the engines unverified
}

// ForwardedFor says when the X-Forwarded-For header is believed.
type ForwardedFor struct {
	Authorized          []netip.Prefix // nil: the header is ignored
	HopSkips            int64          // entries skipped from the right
	RejectAbsent        bool           // 400 without the header
	RejectNotAuthorized bool           // 400 when another address sends the header; false: it is dropped
}

// CORS is a listener's answer to browsers of other origins.
type CORS struct {
	Enabled          bool
	AllowedOrigins   []string
	AllowedHeaders   []string
	AllowCredentials bool
}

// The defaults are those of the wire contract.
const (
	defaultAddress   = "127.0.0.1:8200"
	defaultLeaseTTL  = 768 * time.Hour
	defaultMaxBody   = 32 << 20
	defaultMaxJSON   = defaultMaxBody + 512<<10
	defaultMaxTexts  = 1000
	defaultMaxLength = 90 * time.Second
)

// Default is the configuration of an empty file.
func Default() *Config {
	return &Config{
		Seal:               Seal{Type: "shamir"},
		DefaultLeaseTTL:    defaultLeaseTTL,
		MaxLeaseTTL:        defaultLeaseTTL,
		MaxRequestDuration: defaultMaxLength,
		LockMemory:         true,
		APIAudit:           true, // as in HashiCorp Vault; a file can turn it off
		LogLevel:           slog.LevelInfo,
		LogFormat:          "standard",
		Telemetry:          defaultTelemetry(),
	}
}

// NewListener is a listener with every setting at its default and TLS on.
func NewListener(network string) *Listener {
	l := &Listener{
		Network: network,
		TLS: &TLS{
			MinVersion:        tls.VersionTLS12,
			MaxVersion:        tls.VersionTLS13,
			AskForClientCerts: true,
		},
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxRequestBytes:   defaultMaxBody,
		MaxJSONBytes:      defaultMaxJSON,
		MaxJSONStrings:    defaultMaxTexts,
	}
	if network == "tcp" {
		l.Address = defaultAddress
	}
	return l
}

// Validate checks what a single key cannot show, and fills in what follows from other keys.
func (c *Config) Validate() error {
	refuse := func(format string, args ...any) error { return &Error{Text: fmt.Sprintf(format, args...)} }
	if c.Storage.Type == "" {
		return refuse(`a storage block is needed, such as: storage "file" { path = "/srv/leasehold" }`)
	}
	if err := c.Storage.validate(); err != nil {
		return refuse("%s", err)
	}
	if err := c.Seal.validate(); err != nil {
		return refuse("%s", err)
	}
	if c.DefaultLeaseTTL > c.MaxLeaseTTL {
		return refuse("default_lease_ttl %s is greater than max_lease_ttl %s", c.DefaultLeaseTTL, c.MaxLeaseTTL)
	}
	if len(c.Listeners) == 0 {
		return refuse("at least one listener block is needed")
	}
	for _, l := range c.Listeners {
		if err := l.validate(); err != nil {
			return refuse("listener %q at %q: %s", l.Network, l.Address, err)
		}
		for _, duration := range []time.Duration{c.MaxRequestDuration, defaultMaxLength} {
			if l.MaxRequestDuration == 0 {
				l.MaxRequestDuration = duration
			}
		}
		if c.UnauthenticatedFlows {
			l.UnauthenticatedRekey, l.UnauthenticatedGenerateRoot = true, true
		}
	}
	if c.PluginDirectory != "" && !filepath.IsAbs(c.PluginDirectory) {
		return refuse("plugin_directory must be an absolute path, and is %q", c.PluginDirectory)
	}
	for _, name := range []string{c.APIAddr, c.ClusterAddr} {
		if strings.Contains(name, "{{") {
			return refuse("address templates are not supported: write the address")
		}
	}
	return nil
}

func (s Storage) validate() error {
	switch s.Type {
	case "inmem":
	case "sqlite", "file", "raft":
		if s.Path == "" {
			return fmt.Errorf("storage %q: path is needed", s.Type)
		}
	case "postgresql":
		if s.URL.Empty() {
			return errors.New(`storage "postgresql": connection_url is needed, such as: connection_url = "postgresql://leasehold@db.example.com/leasehold?sslmode=verify-full"`)
		}
		for key, n := range map[string]int64{"max_parallel": s.MaxConns, "max_idle_connections": s.MaxIdleConns,
			"max_connect_retries": s.ConnectRetries} {
			if n < 0 || n > 10000 {
				return fmt.Errorf("storage \"postgresql\": %s must be between 0 and 10000", key)
			}
		}
	default:
		return fmt.Errorf("storage %q is not known: use postgresql, file, sqlite, raft or inmem", s.Type)
	}
	return nil
}

func (l *Listener) validate() error {
	if l.Network == "unix" {
		if l.Address == "" {
			return fmt.Errorf("address is needed: the socket's path")
		}
	} else if _, _, err := net.SplitHostPort(l.Address); err != nil {
		return fmt.Errorf("address must be host:port")
	}
	if l.CORS.Enabled && len(l.CORS.AllowedOrigins) == 0 {
		return fmt.Errorf("cors_allowed_origins is needed where cors_enabled is set")
	}
	if slices.Contains(l.CORS.AllowedOrigins, "*") && len(l.CORS.AllowedOrigins) > 1 {
		return fmt.Errorf(`cors_allowed_origins: "*" stands alone`)
	}
	if l.ForwardedFor.HopSkips < 0 {
		return fmt.Errorf("x_forwarded_for_hop_skips must not be negative")
	}
	if err := l.Exposure.validate(); err != nil {
		return err
	}
	if l.TLS == nil {
		return nil
	}
	if l.TLS.CertFile == "" || l.TLS.KeyFile == "" {
		return fmt.Errorf("tls_cert_file and tls_key_file are needed, or tls_disable = true")
	}
	if l.TLS.MinVersion > l.TLS.MaxVersion {
		return fmt.Errorf("tls_min_version is above tls_max_version")
	}
	if l.TLS.RequireClientCerts && l.TLS.ClientCAFile == "" {
		return fmt.Errorf("tls_require_and_verify_client_cert needs tls_client_ca_file")
	}
	if l.TLS.RequireClientCerts && !l.TLS.AskForClientCerts {
		return fmt.Errorf("tls_require_and_verify_client_cert and tls_disable_client_certs exclude each other")
	}
	return nil
}

// UnauthenticatedRekey reports whether a rekey needs no token. The listeners must agree: the paths are the server's.
func (c *Config) UnauthenticatedRekey() bool {
	return !slices.ContainsFunc(c.Listeners, func(l *Listener) bool { return !l.UnauthenticatedRekey })
}

// UnauthenticatedGenerateRoot is the same for making a root token from unseal shares.
func (c *Config) UnauthenticatedGenerateRoot() bool {
	return !slices.ContainsFunc(c.Listeners, func(l *Listener) bool { return !l.UnauthenticatedGenerateRoot })
}

// URL is the address that clients use: api_addr, or one made from the first listener. It is "" when neither tells.
func (c *Config) URL() string {
	if c.APIAddr != "" {
		return c.APIAddr
	}
	for _, l := range c.Listeners {
		host, _, err := net.SplitHostPort(l.Address)
		if l.Network != "tcp" || err != nil || host == "" {
			continue
		}
		if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
			continue
		}
		if l.TLS != nil {
			return "https://" + l.Address
		}
		return "http://" + l.Address
	}
	return ""
}

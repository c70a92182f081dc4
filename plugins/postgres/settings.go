package postgres

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"leasehold/plugins"
)

const (
	applicationName = "leasehold"

	// connectTimeout is how long one attempt to connect may take, unless the URL says otherwise. The attempt has its place
	// in the pool until then, also when nobody waits for it any more.
	connectTimeout = 10 * time.Second
)

// authentication says when {{password}} stands for a SCRAM verifier.
type authentication int

const (
	authAutomatic authentication = iota // where a role's password is set, if the server keeps SCRAM verifiers itself
	authPlain                           // never
	authVerifier                        // everywhere
)

// settings are a connection's details after the checks.
type settings struct {
	pool           *pgxpool.Config
	maxIdle        int32
	authentication authentication
	rounds         int            // of the verifiers of users that are made
	secrets        []plugins.Mask // what no error text may hold
}

// parseSettings checks the settings. Its errors name the setting and hold no value of it, but for
// password_authentication. Settings of other layers, such as username_template, are passed over.
func parseSettings(s plugins.Settings) (*settings, error) {
	var text struct {
		url, username, password, authentication, ca, certificate, key string
	}
	for name, field := range map[string]*string{
		"connection_url": &text.url, "username": &text.username, "password": &text.password,
		"password_authentication": &text.authentication,
		"tls_ca":                  &text.ca, "tls_certificate": &text.certificate, "private_key": &text.key,
	} {
		var err error
		if *field, err = s.Text(name); err != nil {
			return nil, err
		}
	}
	if text.url == "" {
		return nil, errors.New("connection_url cannot be empty")
	}
	for _, v := range []string{text.username, text.password} {
		if strings.Contains(v, "{{username}}") || strings.Contains(v, "{{password}}") {
			return nil, errors.New("username and/or password cannot contain the template variables")
		}
	}
	var parsed settings
	switch text.authentication {
	case "":
	case "password":
		parsed.authentication = authPlain
	case "scram-sha-256":
		parsed.authentication = authVerifier
	default:
		return nil, fmt.Errorf("'%s' is not a valid password authentication type", text.authentication)
	}
	var err error
	if parsed.rounds, err = s.Int("scram_iterations"); err != nil {
		return nil, err
	}
	switch {
	case parsed.rounds == 0:
		parsed.rounds = scramRounds
	case parsed.rounds < 1 || parsed.rounds > maxScramRounds:
		return nil, fmt.Errorf("invalid scram_iterations: want a number between 1 and %d", maxScramRounds)
	}
	maxOpen, maxIdle, lifetime, err := s.Pool()
	if err != nil {
		return nil, err
	}
	disableEscaping, err := s.Bool("disable_escaping")
	if err != nil {
		return nil, err
	}
	escape := func(s string) string { return s }
	if !disableEscaping {
		escape = escaper(text.url)
	}
	connectionURL := strings.NewReplacer("{{username}}", escape(text.username), "{{password}}", escape(text.password)).Replace(text.url)
	if parsed.pool, err = pgxpool.ParseConfig(connectionURL); err != nil {
		return nil, parseError(err)
	}
	if strayAt(connectionURL, parsed.pool.ConnConfig) {
		return nil, errors.New("connection_url is not valid: characters of the user name, password or database are not percent-encoded")
	}
	parsed.secrets = append(plugins.MaskURL(text.url, connectionURL, parsed.pool.ConnString()),
		plugins.MaskPassword(text.password, escape(text.password), parsed.pool.ConnConfig.Password)...)
	if err := setTLS(parsed.pool, text.ca, text.certificate, text.key); err != nil {
		return nil, err
	}

	parsed.pool.MaxConns, parsed.maxIdle, parsed.pool.MaxConnLifetime = int32(maxOpen), int32(maxIdle), lifetime
	if parsed.pool.ConnConfig.ConnectTimeout == 0 {
		parsed.pool.ConnConfig.ConnectTimeout = connectTimeout
	}
	// The text says when a connection is opened; afterwards the pool decides.
	parsed.pool.MinConns, parsed.pool.MinIdleConns = 0, 0
	params := parsed.pool.ConnConfig.RuntimeParams
	if params["application_name"] == "" {
		params["application_name"] = applicationName
	}
	params["timezone"], params["client_encoding"] = "UTC", "UTF8"
	// Otherwise a backslash would escape inside plain quotes, and quoting would be wrong.
	params["standard_conforming_strings"] = "on"
	return &parsed, nil
}

func isURL(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

// escaper is how a value is written into the connection URL, or into a text of keys and values.
func escaper(text string) func(string) string {
	if isURL(text) {
		return func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	}
	return strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace
}

// strayAt reports whether a part of the password was taken for the host or database because of an @ or /. Errors of
// connecting would show it.
func strayAt(text string, c *pgx.ConnConfig) bool {
	if !isURL(text) {
		return false
	}
	hosts := c.Host
	for _, f := range c.Fallbacks {
		hosts += f.Host
	}
	u, err := url.Parse(text)
	return strings.Contains(hosts, "@") || err == nil && strings.Contains(u.EscapedPath(), "@")
}

// parseError leaves out what the driver quotes from the URL, but for problems with TLS, which quote none.
func parseError(err error) error {
	const message = "connection_url is not a valid PostgreSQL URL or list of keys and values"
	if strings.Contains(err.Error(), "failed to configure TLS") {
		if cause := errors.Unwrap(err); cause != nil {
			return fmt.Errorf("%s: TLS: %s", message, cause.Error())
		}
	}
	return errors.New(message)
}

// setTLS makes every attempt to connect use TLS with these PEM texts, whatever the URL says. With a CA the server's name
// is verified too.
func setTLS(pool *pgxpool.Config, ca, certificate, key string) error {
	if ca == "" && certificate == "" && key == "" {
		return nil
	}
	var roots *x509.CertPool
	if ca != "" {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(ca)) {
			return errors.New("tls_ca holds no PEM certificate")
		}
	}
	var pairs []tls.Certificate
	if certificate != "" || key != "" {
		pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
		if err != nil {
			return errors.New("tls_certificate and private_key are not a PEM certificate and its key")
		}
		pairs = []tls.Certificate{pair}
	}
	apply := func(base *tls.Config, host string) *tls.Config {
		c := base.Clone()
		if c == nil || roots != nil {
			c = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: roots}
		}
		c.Certificates = pairs
		return c
	}
	conn := pool.ConnConfig
	conn.TLSConfig = apply(conn.TLSConfig, conn.Host)
	// With sslmode=prefer and the like a host has a second entry without TLS.
	fallbacks := conn.Fallbacks[:0]
	seen := map[string]bool{address(conn.Host, conn.Port): true}
	for _, f := range conn.Fallbacks {
		if a := address(f.Host, f.Port); !seen[a] {
			seen[a] = true
			f.TLSConfig = apply(f.TLSConfig, f.Host)
			fallbacks = append(fallbacks, f)
		}
	}
	conn.Fallbacks = fallbacks
	return nil
}

func address(host string, port uint16) string { return host + ":" + strconv.Itoa(int(port)) }

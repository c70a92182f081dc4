package mysql

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"leasehold/plugins"
)

const (
	programName = "leasehold"
	defaultPort = "3306"

	// connectTimeout is how long one attempt to reach a server may take, unless the URL says otherwise.
	connectTimeout = 10 * time.Second
)

// settings are a connection's details after the checks.
type settings struct {
	hosts    hosts
	user     string // that the connection logs in as
	maxOpen  int
	maxIdle  int
	lifetime time.Duration
	secrets  []plugins.Mask // what no error text may hold
}

// parseSettings checks the settings. Its errors name the setting and hold no value of it. Settings of other layers, such as
// username_template, are passed over.
func parseSettings(s plugins.Settings) (*settings, error) {
	var given struct{ url, username, password, ca, certificate, serverName string }
	for name, field := range map[string]*string{
		"connection_url": &given.url, "username": &given.username, "password": &given.password,
		"tls_ca": &given.ca, "tls_certificate_key": &given.certificate, "tls_server_name": &given.serverName,
	} {
		var err error
		if *field, err = s.Text(name); err != nil {
			return nil, err
		}
	}
	skipVerify, err := s.Bool("tls_skip_verify")
	if err != nil {
		return nil, err
	}
	if given.url == "" {
		return nil, errors.New("connection_url cannot be empty")
	}
	for _, v := range []string{given.username, given.password} {
		if strings.Contains(v, "{{username}}") || strings.Contains(v, "{{password}}") {
			return nil, errors.New("username and/or password cannot contain the template variables")
		}
	}
	parsed := &settings{}
	if parsed.maxOpen, parsed.maxIdle, parsed.lifetime, err = s.Pool(); err != nil {
		return nil, err
	}
	config, err := mysql.ParseDSN(given.url)
	if err != nil { // the cause may quote a part of the URL
		return nil, errors.New("connection_url is not valid: it has the form {{username}}:{{password}}@tcp(host:port)/")
	}
	// The values go into the parts, not into the text: whatever characters they have, they are no delimiters.
	replace := strings.NewReplacer("{{username}}", given.username, "{{password}}", given.password).Replace
	config.User, config.Passwd, config.DBName = replace(config.User), replace(config.Passwd), replace(config.DBName)
	parsed.user = config.User
	parsed.secrets = plugins.MaskURL(given.url, config.FormatDSN())
	for _, password := range []string{given.password, config.Passwd} {
		parsed.secrets = append(parsed.secrets, plugins.MaskPassword(forms(password)...)...)
	}
	if given.ca != "" || given.certificate != "" || given.serverName != "" || skipVerify {
		if config.TLS, err = newTLS(given.ca, given.certificate, given.serverName, skipVerify); err != nil {
			return nil, err
		}
		config.AllowFallbackToPlaintext = false
	}
	harden(config)
	if parsed.hosts, err = newHosts(config, given.serverName != ""); err != nil {
		return nil, errors.New("connection_url is not valid: it names an option that does not exist here")
	}
	return parsed, nil
}

// harden sets what no URL may choose.
func harden(config *mysql.Config) {
	config.AllowAllFiles = false // a server, or a statement, could otherwise read the files of this machine
	config.CheckConnLiveness = true
	config.MultiStatements = false // what was cut at semicolons stays one statement
	// In some other character sets a quote or backslash may be the second byte of a character.
	_ = config.Apply(mysql.Charset("utf8mb4", ""))
	config.Logger = &mysql.NopLogger{} // it would write to standard error
	if config.ConnectionAttributes == "" {
		config.ConnectionAttributes = "program_name:" + programName
	}
	if config.Timeout == 0 {
		config.Timeout = connectTimeout
	}
}

// newTLS makes every connection use TLS with these PEM texts, whatever the URL says. Without skipVerify the server's certificate
// is verified, and its name: that of the URL, or serverName.
func newTLS(ca, certificate, serverName string, skipVerify bool) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: serverName, InsecureSkipVerify: skipVerify} // the operator asked for it
	if ca != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(ca)) {
			return nil, errors.New("tls_ca holds no PEM certificate")
		}
	}
	if certificate != "" {
		pair, err := tls.X509KeyPair([]byte(certificate), []byte(certificate))
		if err != nil {
			return nil, errors.New("tls_certificate_key is not a PEM certificate with its key")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// hosts are the servers of a URL. The first that can be reached is used.
type hosts []driver.Connector

// newHosts reads the address of a URL: host:port, or several separated by commas. named says that all have the TLS settings'
// server name.
func newHosts(config *mysql.Config, named bool) (hosts, error) {
	var all hosts
	for _, address := range addresses(config.Net, config.Addr) {
		one := config.Clone()
		one.Addr = address
		if one.TLS != nil && !named {
			one.TLS.ServerName = "" // of the whole list; NewConnector fills in the host's
		}
		connector, err := mysql.NewConnector(one)
		if err != nil {
			return nil, err
		}
		all = append(all, connector)
	}
	return all, nil
}

// addresses takes a list apart. The driver takes it for one host without a port when it has several colons.
func addresses(network, address string) []string {
	if network != "tcp" || !strings.Contains(address, ",") {
		return []string{address}
	}
	if inner, ok := strings.CutPrefix(address, "["); ok {
		if inner, ok := strings.CutSuffix(inner, "]:"+defaultPort); ok {
			address = inner
		}
	}
	var list []string
	for host := range strings.SplitSeq(address, ",") {
		host = strings.TrimSpace(host)
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), defaultPort)
		}
		list = append(list, host)
	}
	return list
}

// Connect implements [driver.Connector]. A server that answers, if only with a refusal, has the last word.
func (h hosts) Connect(ctx context.Context) (driver.Conn, error) {
	var failed error
	for _, server := range h {
		conn, err := server.Connect(ctx)
		if err == nil || numberOf(err) != 0 || ctx.Err() != nil {
			return conn, err
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

// Driver implements [driver.Connector].
func (h hosts) Driver() driver.Driver { return h[0].Driver() }

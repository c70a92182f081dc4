package mssql

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/microsoft/go-mssqldb/msdsn"

	"leasehold/plugins"
)

const programName = "leasehold"

// settings are a connection's details after the checks.
type settings struct {
	config    msdsn.Config
	user      string // that the connection logs in as
	contained bool   // users are those of the connection's database, and have no logins
	maxOpen   int
	maxIdle   int
	lifetime  time.Duration
	secrets   []plugins.Mask // what no error text may hold
}

// given are the settings as they are written.
type given struct {
	url, username, password     string
	ca, certificate, serverName string
	skipVerify, plain           bool
	selfManaged                 bool // the user comes later: each static role's own
}

// tls reports whether any of the settings about TLS is there.
func (g given) tls() bool {
	return g.ca != "" || g.certificate != "" || g.serverName != "" || g.skipVerify
}

// parseSettings checks the settings. Its errors name the setting and hold no value of it. Settings of other layers, such as
// username_template, are passed over.
func parseSettings(s plugins.Settings) (*settings, error) {
	var g given
	for name, field := range map[string]*string{
		"connection_url": &g.url, "username": &g.username, "password": &g.password,
		"tls_ca": &g.ca, "tls_certificate_key": &g.certificate, "tls_server_name": &g.serverName,
	} {
		var err error
		if *field, err = s.Text(name); err != nil {
			return nil, err
		}
	}
	parsed := &settings{}
	for name, field := range map[string]*bool{
		"tls_skip_verify": &g.skipVerify, "disable_escaping": &g.plain, "contained_db": &parsed.contained,
		"self_managed": &g.selfManaged,
	} {
		var err error
		if *field, err = s.Bool(name); err != nil {
			return nil, err
		}
	}
	if g.url == "" {
		return nil, errors.New("connection_url cannot be empty")
	}
	for _, v := range []string{g.username, g.password} {
		if strings.Contains(v, "{{username}}") || strings.Contains(v, "{{password}}") {
			return nil, errors.New("username and/or password cannot contain the template variables")
		}
	}
	var err error
	if parsed.maxOpen, parsed.maxIdle, parsed.lifetime, err = s.Pool(); err != nil {
		return nil, err
	}
	if parsed.config, err = parseURL(g); err != nil {
		return nil, err
	}
	parsed.user = parsed.config.User
	parsed.secrets = secretsOf(g, parsed.config)
	if err := secure(&parsed.config, g); err != nil {
		return nil, err
	}
	harden(&parsed.config)
	return parsed, nil
}

// words stand for the placeholders while an address is read.
const userWord, passwordWord = "leasehold-stands-for-the-user", "leasehold-stands-for-the-password"

// parseURL reads the address and puts in the user's name and password: into the parts that were read, so that whatever characters they
// have, they are no delimiters. With disable_escaping they are put into the text as they are.
func parseURL(g given) (msdsn.Config, error) {
	standIn := strings.NewReplacer("{{username}}", userWord, "{{password}}", passwordWord)
	fill := strings.NewReplacer(userWord, g.username, passwordWord, g.password)
	if g.plain {
		standIn = strings.NewReplacer("{{username}}", g.username, "{{password}}", g.password)
		fill = strings.NewReplacer()
	}
	config, err := msdsn.Parse(standIn.Replace(g.url))
	if err != nil || config.Host == "" { // the cause may quote a part of the URL
		return config, errors.New("connection_url is not valid: it has the form sqlserver://{{username}}:{{password}}@host:port?database=name")
	}
	config.User, config.Password, config.Database = fill.Replace(config.User), fill.Replace(config.Password), fill.Replace(config.Database)
	if config.User == "" && !g.selfManaged {
		return config, errors.New("connection_url is not valid: it names no user, and only SQL Server's own logins are supported")
	}
	return config, nil
}

func secretsOf(g given, config msdsn.Config) []plugins.Mask {
	masks := plugins.MaskURL(g.url)
	for _, password := range []string{g.password, config.Password} {
		masks = append(masks, plugins.MaskPassword(append(forms(password), url.QueryEscape(password), url.PathEscape(password))...)...)
	}
	return masks
}

// secure decides on encryption. Without a word of the operator's, it is asked for and the certificate is not verified, which keeps
// listeners out: a fresh SQL Server has a certificate of its own making.
func secure(config *msdsn.Config, g given) error {
	_, chosen := config.Parameters[msdsn.Encrypt]
	if !chosen {
		config.Encryption = msdsn.EncryptionRequired
	}
	if !g.tls() {
		return nil
	}
	if config.Encryption != msdsn.EncryptionStrict {
		config.Encryption = msdsn.EncryptionRequired
	}
	name := g.serverName
	if name == "" {
		name = config.Host
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name, InsecureSkipVerify: g.skipVerify} // the operator asked for it
	if g.ca != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(g.ca)) {
			return errors.New("tls_ca holds no PEM certificate")
		}
	}
	if g.certificate != "" {
		pair, err := tls.X509KeyPair([]byte(g.certificate), []byte(g.certificate))
		if err != nil {
			return errors.New("tls_certificate_key is not a PEM certificate with its key")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	config.TLSConfig, config.HostInCertificateProvided, config.TrustServerCertificate = c, g.serverName != "", g.skipVerify
	return nil
}

// harden sets what no URL may choose.
func harden(config *msdsn.Config) {
	config.DisableRetry = true // a statement is sent once
	config.ChangePassword = "" // that would happen at every login
	config.LogFlags = 0        // the driver's log shows statements
	if _, named := config.Parameters[msdsn.AppName]; !named {
		config.AppName = programName
	}
	if config.TLSConfig != nil {
		config.TLSConfig.DynamicRecordSizingDisabled = true // the driver wants it, and would change it while others read
		if config.TLSConfig.MinVersion == 0 {
			config.TLSConfig.MinVersion = tls.VersionTLS12
		}
	}
}

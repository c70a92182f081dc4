package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"leasehold/server/config"
)

// certificate is a listener's certificate and key, as last read from their files. Safe for concurrent use.
type certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

// reload reads the files again. On an error the former certificate stays in use.
func (c *certificate) reload() error {
	loaded, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("load certificate %s and key %s: %w", c.certFile, c.keyFile, err)
	}
	c.current.Store(&loaded)
	return nil
}

// get is tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// tlsConfig makes the TLS side of a listener, and reads its files for the first time.
func tlsConfig(cfg *config.TLS) (*tls.Config, *certificate, error) {
	cert := &certificate{certFile: cfg.CertFile, keyFile: cfg.KeyFile}
	if err := cert.reload(); err != nil {
		return nil, nil, err
	}
	out := &tls.Config{
		GetCertificate: cert.get,
		MinVersion:     cfg.MinVersion,
		MaxVersion:     cfg.MaxVersion,
		CipherSuites:   cfg.CipherSuites,
		NextProtos:     []string{"h2", "http/1.1"},
	}
	if cfg.ClientCAFile != "" {
		pem, err := os.ReadFile(cfg.ClientCAFile)
		if err != nil {
			return nil, nil, fmt.Errorf("read tls_client_ca_file: %w", err)
		}
		out.ClientCAs = x509.NewCertPool()
		if !out.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, nil, errors.New("tls_client_ca_file holds no certificate")
		}
	}
	switch {
	case cfg.RequireClientCerts:
		out.ClientAuth = tls.RequireAndVerifyClientCert
	case cfg.AskForClientCerts:
		out.ClientAuth = tls.RequestClientCert
	}
	return out, cert, nil
}

package testdb

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificates are those of an authority of their own, PEM: one for a server at 127.0.0.1 and localhost, one for a client.
type certificates struct{ ca, caKey, server, serverKey, client, clientKey string }

func issueCertificates(client string) (c certificates, err error) {
	ca, caKey, err := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "testdb"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	if err != nil {
		return c, err
	}
	c.ca = certPEM(ca)
	if c.caKey, err = keyPEM(caKey); err != nil {
		return c, err
	}
	for _, end := range []struct {
		template       *x509.Certificate
		certificate, k *string
	}{
		{&x509.Certificate{
			Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}, &c.server, &c.serverKey},
		{&x509.Certificate{
			Subject: pkix.Name{CommonName: client}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}, &c.client, &c.clientKey},
	} {
		signed, key, err := issue(end.template, ca, caKey)
		if err != nil {
			return c, err
		}
		*end.certificate = certPEM(signed)
		if *end.k, err = keyPEM(key); err != nil {
			return c, err
		}
	}
	return c, nil
}

// prepareTLS has the server take nothing but TLS, from clients with a certificate. To members of by_certificate, if there is such a role,
// the certificate is all: its common name has to be the user's.
func (s *Server) prepareTLS(settings map[string]string) error {
	c, err := issueCertificates(s.User)
	if err != nil {
		return err
	}
	s.CA, s.CAKey, s.ClientCertificate, s.ClientKey = c.ca, c.caKey, c.client, c.clientKey
	for name, text := range map[string]string{
		"ca.pem": c.ca, "server.pem": c.server, "server.key": c.serverKey,
		"pg_hba.conf": "hostssl all +by_certificate 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n",
	} {
		path := filepath.Join(s.data, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return fmt.Errorf("write the server's TLS files: %w", err)
		}
		if err := s.account.own(path); err != nil {
			return err
		}
	}
	settings["ssl"], settings["ssl_ca_file"] = "on", "ca.pem"
	settings["ssl_cert_file"], settings["ssl_key_file"] = "server.pem", "server.key"
	return nil
}

func (s *Server) clientTLS() (*tls.Config, error) {
	cert, err := tls.X509KeyPair([]byte(s.ClientCertificate), []byte(s.ClientKey))
	if err != nil {
		return nil, fmt.Errorf("read the client's certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(s.CA))
	return &tls.Config{ServerName: "localhost", RootCAs: roots, Certificates: []tls.Certificate{cert}}, nil
}

// issue signs a certificate; without a parent it signs itself. It is valid whenever a test may run.
func issue(c, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	if parent == nil {
		parent, parentKey = c, key
	}
	if c.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64)); err != nil {
		return nil, nil, fmt.Errorf("make a serial number: %w", err)
	}
	c.NotBefore, c.NotAfter = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), parentKey)
	if err != nil {
		return nil, nil, fmt.Errorf("sign a certificate: %w", err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("read a signed certificate: %w", err)
	}
	return signed, key, nil
}

func certPEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

func keyPEM(k *ecdsa.PrivateKey) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return "", fmt.Errorf("encode a key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

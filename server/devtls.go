package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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

// devCertificates are the files of -dev-tls.
type devCertificates struct{ ca, cert, key string }

// writeDevCertificates makes a certification authority whose key is thrown away, and one server certificate of it for
// the address's host, localhost and loopback. Both are valid for a year.
func writeDevCertificates(dir, address string, now time.Time) (devCertificates, error) {
	files := devCertificates{filepath.Join(dir, "leasehold-ca.pem"), filepath.Join(dir, "leasehold-cert.pem"), filepath.Join(dir, "leasehold-key.pem")}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return files, err
	}
	from, to := now.Add(-time.Minute), now.AddDate(1, 0, 0)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Leasehold development CA"}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return files, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return files, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if host, _, err := net.SplitHostPort(address); err == nil {
		if ip := net.ParseIP(host); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else if host != "" {
			leaf.DNSNames = append(leaf.DNSNames, host)
		}
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return files, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return files, err
	}
	for _, file := range []struct {
		path, block string
		der         []byte
		mode        os.FileMode
	}{
		{files.ca, "CERTIFICATE", caDER, 0o644},
		{files.cert, "CERTIFICATE", leafDER, 0o644},
		{files.key, "PRIVATE KEY", keyDER, 0o600},
	} {
		if err := os.WriteFile(file.path, pem.EncodeToMemory(&pem.Block{Type: file.block, Bytes: file.der}), file.mode); err != nil {
			return files, fmt.Errorf("write a development certificate: %w", err)
		}
	}
	return files, nil
}

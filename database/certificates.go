package database

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The validity of a certificate begins a little earlier than its user, for machines whose clocks are behind, and ends a little later
// than its lease can, which covers the time that passes between reading the clock and issuing the lease, too.
const certificateGrace = time.Minute

// commonNameData is what common_name_template sees. Username is what the database is told to call the user: where it looks a
// certificate's user up by the common name, {{.Username}} is the template.
type commonNameData struct {
	DisplayName string // of the caller's token
	RoleName    string
	Username    string
}

// commonName makes the common name of a certificate. Its language is that of username_template. Errors are safe to show.
func (c credential) commonName(data commonNameData, now time.Time) (string, error) {
	t, err := compile("common_name", c.CommonNameTemplate)
	if err != nil {
		return "", err
	}
	data.DisplayName = harmless(data.DisplayName)
	name, _, err := draw(t, data, now)
	switch {
	case err != nil:
		return "", err
	case strings.TrimSpace(name) == "":
		return "", errors.New("the common name is empty")
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return "", fmt.Errorf("the common name %q has characters that cannot be printed", name)
	}
	return name, nil
}

// authority reads the certificate that signs the users' certificates, with its key and whatever others follow it in ca_cert. Errors are
// safe to show.
func (c credential) authority() (tls.Certificate, error) {
	pair, err := tls.X509KeyPair([]byte(c.CACert), []byte(c.CAPrivateKey))
	if err != nil {
		return pair, errors.New("ca_cert and ca_private_key are not a certificate and its key") // the cause could quote the key
	}
	if usage := pair.Leaf.KeyUsage; !pair.Leaf.IsCA || usage != 0 && usage&x509.KeyUsageCertSign == 0 {
		return pair, errors.New("ca_cert is not the certificate of an authority: it may not sign others")
	}
	return pair, nil
}

// sign makes the certificate of a user's key: PEM, followed by those that lead from it to a root. It ends with the authority's, if not
// before. Errors are safe to show.
func (c credential) sign(commonName string, key crypto.PublicKey, now, until time.Time) (chain, subject string, err error) {
	ca, err := c.authority()
	if err != nil {
		return "", "", err
	}
	if now.After(ca.Leaf.NotAfter) || now.Before(ca.Leaf.NotBefore) {
		return "", "", fmt.Errorf("ca_cert is valid from %s to %s only", ca.Leaf.NotBefore.Format(time.RFC3339), ca.Leaf.NotAfter.Format(time.RFC3339))
	}
	template := &x509.Certificate{
		Subject:            pkix.Name{CommonName: commonName},
		NotBefore:          now.Add(-certificateGrace),
		NotAfter:           until.Add(certificateGrace),
		SignatureAlgorithm: signatureAlgorithm(ca.Leaf.PublicKey, c.SignatureBits),
		KeyUsage:           x509.KeyUsageDigitalSignature,
		ExtKeyUsage:        []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},

		BasicConstraintsValid: true,
	}
	if template.NotAfter.After(ca.Leaf.NotAfter) {
		template.NotAfter = ca.Leaf.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, key, ca.PrivateKey)
	if err != nil {
		return "", "", errors.New("ca_private_key cannot sign with these signature_bits")
	}
	var out strings.Builder
	for _, der := range append([][]byte{der}, ca.Certificate...) {
		if read, err := x509.ParseCertificate(der); err == nil && read.CheckSignatureFrom(read) == nil {
			continue // a root: whoever checks the chain has it
		}
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return out.String(), template.Subject.String(), nil
}

// signatureAlgorithm is how an authority with that key signs. Ed25519 has one way alone.
func signatureAlgorithm(authority crypto.PublicKey, bits int) x509.SignatureAlgorithm {
	switch authority.(type) {
	case *rsa.PublicKey:
		return map[int]x509.SignatureAlgorithm{256: x509.SHA256WithRSA, 384: x509.SHA384WithRSA, 512: x509.SHA512WithRSA}[bits]
	case *ecdsa.PublicKey:
		return map[int]x509.SignatureAlgorithm{256: x509.ECDSAWithSHA256, 384: x509.ECDSAWithSHA384, 512: x509.ECDSAWithSHA512}[bits]
	case ed25519.PublicKey:
		return x509.PureEd25519
	}
	return x509.UnknownSignatureAlgorithm
}

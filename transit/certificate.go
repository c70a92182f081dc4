package transit

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	"leasehold/engine"
	"leasehold/internal/errs"
)

// demandCertifiable refuses keys that have no public key of their own.
func (k *key) demandCertifiable() error {
	switch {
	case !k.algorithm().signs:
		return errs.New(errs.Invalid, "key type '%s' does not support signing", k.Type)
	case k.Derived:
		return errs.New(errs.Invalid, "a derived key has no public key of its own, and no certificate")
	}
	return nil
}

// certifiedVersion is the version that a request means. Errors: Invalid.
func (k *key) certifiedVersion(asked int) (int, error) {
	switch {
	case asked == 0:
		return k.Latest, nil
	case asked < max(k.MinAvailable, k.MinDecryption), asked > k.Latest:
		return 0, errs.New(errs.Invalid, "the key has no version %d that can be used", asked)
	}
	return asked, nil
}

// noSuchKey is the refusal of the paths around certificates. Source: recording transit-csr.
func noSuchKey(name string) error {
	return errs.New(errs.Invalid, "key with provided name '%s' not found", name)
}

// requestCertificate makes a certificate signing request for a key, after a template or an empty one.
func (e *Engine) requestCertificate(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	template, err := readTemplate(f.Text("csr"))
	if err != nil {
		return nil, err
	}
	number := f.Int("version")
	l, err := e.lend(ctx, r, f.Text("name"), noSuchKey(f.Text("name")), func(k *key) ([]int, error) {
		if err := k.demandCertifiable(); err != nil {
			return nil, err
		}
		number, err = k.certifiedVersion(number)
		return []int{number}, err
	})
	if err != nil {
		return nil, err
	}
	v, err := l.version(number)
	if err != nil {
		return nil, err
	}
	if v.pair == nil {
		return nil, errs.New(errs.Invalid, "version %d of the key has no private part", number)
	}
	encoded, err := x509.CreateCertificateRequest(rand.Reader, template, v.pair)
	if err != nil {
		return nil, errs.New(errs.Invalid, "the certificate request cannot be made for a key of type %s: %s", l.Type, err)
	}
	return &engine.Response{Data: map[string]any{"name": l.name, "type": l.Type, "csr": armour("CERTIFICATE REQUEST", encoded)}}, nil
}

// readTemplate reads the request that another one is made after. Its key and its signature do not matter.
func readTemplate(text string) (*x509.CertificateRequest, error) {
	if text == "" {
		return &x509.CertificateRequest{}, nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errs.New(errs.Invalid, "could not decode the PEM certificate signing request")
	}
	given, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, errs.New(errs.Invalid, "could not parse the certificate signing request: %s", err)
	}
	return &x509.CertificateRequest{RawSubject: given.RawSubject, ExtraExtensions: given.Extensions}, nil
}

// setCertificate stores the certificate chain of a version. The first certificate has to be of its key.
func (e *Engine) setCertificate(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	leaf, chain, err := readChain(f.Text("certificate_chain"))
	if err != nil {
		return nil, err
	}
	var of string
	resp, err := e.change(ctx, r, f, noSuchKey(f.Text("name")), false, func(s shelf, k *key) error {
		if err := k.demandCertifiable(); err != nil {
			return err
		}
		number, err := k.certifiedVersion(f.Int("version"))
		if err != nil {
			return err
		}
		v, found, err := s.version(k, number)
		switch {
		case err != nil:
			return err
		case !found:
			return fmt.Errorf("version %d of a key is missing", number)
		case !bytes.Equal(v.material.public, subjectKey(leaf)):
			return errs.New(errs.Invalid, "the first certificate of the chain is not one of version %d of the key", number)
		}
		of = k.Type
		certified := v.material
		certified.chain = chain
		return s.replaceMaterial(k, number, certified)
	})
	if resp == nil || err != nil {
		return nil, err
	}
	return &engine.Response{Data: map[string]any{"name": f.Text("name"), "type": of, "certificate_chain": chain}}, nil
}

// subjectKey is the PKIX form of a certificate's public key. Keys that crypto/x509 does not know are as they stand there.
func subjectKey(c *x509.Certificate) []byte {
	if c.PublicKey != nil {
		if encoded, err := encodePublicKey(c.PublicKey); err == nil {
			return encoded
		}
	}
	return c.RawSubjectPublicKeyInfo
}

// readChain reads certificates, the one of the key first. Source: recording transit-csr.
func readChain(text string) (leaf *x509.Certificate, chain string, err error) {
	var out bytes.Buffer
	for rest := []byte(strings.TrimSpace(text)); len(rest) > 0; {
		block, after := pem.Decode(rest)
		if block == nil {
			return nil, "", errs.New(errs.Invalid, "could not decode a PEM block in the certificate chain")
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, "", errs.New(errs.Invalid, "could not parse a certificate of the chain: %s", err)
		}
		if leaf == nil {
			leaf = certificate
		}
		out.WriteString(armour("CERTIFICATE", block.Bytes))
		rest = bytes.TrimSpace(after)
	}
	if leaf == nil {
		return nil, "", errs.New(errs.Invalid, "provided certificate chain did not contain any valid PEM encoded certificate")
	}
	return leaf, out.String(), nil
}

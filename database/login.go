package database

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"runtime"
	"time"

	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/plugins"
)

// login is what one user logs in with: a password, or a key of which the database knows the public half alone. It is made before anything
// is written.
type login struct {
	password secret.Text  // empty: key
	key      *plugins.Key // nil: password

	// With a key:
	private     secret.Text // PKCS#8 in PEM
	keyType     string      // of a certificate: keyRSA, keyEC or keyEd25519
	certificate string      // PEM, the user's first; empty: there is none
}

// shown is what the client is told beside the user's name. Source of the words: the wire contract, "creds/:role".
func (l login) shown() map[string]any {
	switch {
	case l.key == nil:
		return map[string]any{"password": l.password.Reveal()}
	case l.key.Type == plugins.TypeCertificate:
		return map[string]any{"client_certificate": l.certificate, "private_key": l.private.Reveal(), "private_key_type": l.keyType}
	}
	return map[string]any{"rsa_private_key": l.private.Reveal()}
}

// makeLogin makes what a role hands out. data.Username is the user's name, and until is the last moment that its lease can have. certified:
// see plugins.Usernames.
//
// Errors: Unavailable (no password by the policy, no key in time, no certificate by the role's authority), Invalid (the database would not
// take the certificate for this user's).
func (e *Engine) makeLogin(ctx context.Context, p *plan, data commonNameData, certified bool, until time.Time) (l login, err error) {
	c := p.role.Credential
	switch c.Type {
	case plugins.TypeRSA:
		return e.makeRSA(ctx, c.KeyBits)
	case plugins.TypeCertificate:
		commonName, err := c.commonName(data, p.now)
		if err != nil {
			return l, certificateError(err)
		}
		if certified && commonName != data.Username {
			return l, errs.New(errs.Invalid, "the certificate's common name would be %q, but a certificate lets in the user of that name alone, "+
				"and the user is %q: set common_name_template to {{.Username}}", commonName, data.Username)
		}
		return e.makeCertificate(ctx, c, commonName, p.now, until)
	}
	l.password, err = e.password(ctx, c.PasswordPolicy, p.connection.settings.PasswordPolicy)
	return l, err
}

func (e *Engine) makeRSA(ctx context.Context, bits int) (l login, err error) {
	key, private, err := e.makeKey(ctx, keyRSA, bits)
	if err != nil {
		return l, err
	}
	if l.key, err = publicHalf(key); err != nil {
		return l, errNoKey(err)
	}
	l.private = private
	return l, nil
}

// publicHalf is what a database is told of an RSA key.
func publicHalf(key crypto.Signer) (*plugins.Key, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return &plugins.Key{Type: plugins.TypeRSA, PublicKey: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}, nil
}

// nextPassword makes what a static role's user is to log in with next: a password, or a key in PKCS#8 and PEM, which takes its place
// wherever static roles have one.
//
// Errors: those of makeLogin.
func (e *Engine) nextPassword(ctx context.Context, r staticRole, c *connection) (secret.Text, error) {
	if r.Credential.Type == plugins.TypeRSA {
		l, err := e.makeRSA(ctx, r.Credential.KeyBits)
		return l.private, err
	}
	return e.password(ctx, r.Credential.PasswordPolicy, c.settings.PasswordPolicy)
}

// storedKey is what a database is told of a static role's key.
func storedKey(private secret.Text) (*plugins.Key, error) {
	unreadable := errors.New("the stored key cannot be read") // without the cause, which might quote it
	block, _ := pem.Decode([]byte(private.Reveal()))
	if block == nil {
		return nil, unreadable
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, unreadable
	}
	return publicHalf(signer)
}

func (e *Engine) makeCertificate(ctx context.Context, c credential, commonName string, now, until time.Time) (l login, err error) {
	key, private, err := e.makeKey(ctx, c.KeyType, c.KeyBits)
	if err != nil {
		return l, err
	}
	chain, subject, err := c.sign(commonName, key.Public(), now, until)
	if err != nil {
		return l, certificateError(err)
	}
	l.key = &plugins.Key{Type: plugins.TypeCertificate, Subject: subject}
	l.private, l.keyType, l.certificate = private, c.KeyType, chain
	return l, nil
}

// certificateError frames why there is no certificate for a client's request.
func certificateError(err error) error {
	return errs.Framed(errs.Unavailable, "failed to generate client certificate: %s", err)
}

// The kinds of keys. Source: the wire contract, "key_type".
const (
	keyRSA     = "rsa"
	keyEC      = "ec"
	keyEd25519 = "ed25519"
)

var curves = map[int]elliptic.Curve{224: elliptic.P224(), 256: elliptic.P256(), 384: elliptic.P384(), 521: elliptic.P521()}

// newKeyTurns bounds how many keys are made at once: a long RSA key takes a processor for seconds, and half of them have other work to do.
func newKeyTurns() chan struct{} { return make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)) }

// makeKey makes a key, and its PKCS#8 in PEM. Waiting for a turn ends when nobody waits for the key any more; the making itself cannot be
// broken off, but what it made is thrown away then.
func (e *Engine) makeKey(ctx context.Context, kind string, bits int) (crypto.Signer, secret.Text, error) {
	ctx, done := context.WithTimeoutCause(ctx, e.timeout, errSlow)
	defer done()
	select {
	case e.keyTurns <- struct{}{}:
	case <-ctx.Done():
		return nil, secret.Text{}, errNoKey(context.Cause(ctx))
	}
	key, err := newKey(kind, bits)
	<-e.keyTurns
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, secret.Text{}, errNoKey(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, secret.Text{}, errNoKey(err)
	}
	return key, secret.NewText(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))), nil
}

// errNoKey is the refusal to a client for whom no key could be made.
func errNoKey(cause error) error {
	return errs.Framed(errs.Unavailable, "failed to generate a key in time: try again").Because(cause)
}

func newKey(kind string, bits int) (crypto.Signer, error) {
	switch kind {
	case keyEC:
		return ecdsa.GenerateKey(curves[bits], rand.Reader)
	case keyEd25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return rsa.GenerateKey(rand.Reader, bits)
}

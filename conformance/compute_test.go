package conformance

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	"leasehold/internal/secret"
	"leasehold/transit/keywrap"
)

// computation is a value that is made before a request is sent; the wire contract's sheet on extra checks lists them.
type computation struct {
	Fn          string `json:"fn"`
	WrappingKey string `json:"wrapping_key"`
	Key         []byte `json:"key_b64"`
	Hash        string `json:"hash"`
}

// compute binds the computed values of a line.
func (run *runner) compute(l *line) error {
	for name, c := range l.Compute {
		if c.Fn != "transit-import-wrap" {
			return fmt.Errorf("needs %s, which comes with its engine", c.Fn)
		}
		value, err := run.importWrap(c)
		if err != nil {
			return fmt.Errorf("compute %s: %w", name, err)
		}
		run.vars[name] = value
	}
	return nil
}

func (run *runner) importWrap(c computation) (string, error) {
	text, err := run.vars.text(c.WrappingKey)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return "", errors.New("the wrapping key is not PEM")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return "", err
	}
	public, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return "", errors.New("the wrapping key is not one of RSA")
	}
	h, known := keywrap.Hash(c.Hash)
	if !known {
		return "", fmt.Errorf("unknown hash %s", c.Hash)
	}
	wrapped, err := keywrap.Wrap(public, h, secret.NewBytes(c.Key))
	return base64.StdEncoding.EncodeToString(wrapped), err
}

// Package transit opens a store with the help of another server that speaks the same API: its transit engine wraps the store's
// key, and that server never sees the store.
//
// The token needs update on MOUNT/encrypt/KEY and MOUNT/decrypt/KEY. It is best a periodic orphan: it is renewed while the
// server runs, unless something else does that, and does not end with another token. The key may be rotated at any time: the
// next start wraps the store's key with the newest version.
package transit

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"leasehold/client"
	"leasehold/internal/secret"
)

// patience is how long the other server may take for an answer.
const patience = 10 * time.Second

// Config is a seal block of type "transit".
type Config struct {
	Address   string      // http or https; required
	Token     secret.Text // required
	KeyName   string      // required
	MountPath string      // required
	Namespace string      // may be empty

	CACertFile     string // PEM; empty: the system's roots
	ClientCertFile string // PEM, with ClientKeyFile
	ClientKeyFile  string
	ServerName     string // that the certificate must have, where it is not the address's
	SkipVerify     bool   // accept any certificate

	RenewedOutside bool         // something else renews the token
	Log            *slog.Logger // required
}

// Seal wraps with a key of another server. Safe for concurrent use.
type Seal struct {
	cfg    Config
	client *client.Client
}

// New checks the settings. Nothing is sent.
func New(cfg Config) (*Seal, error) {
	cfg.MountPath = strings.Trim(cfg.MountPath, "/")
	switch {
	case cfg.Address == "":
		return nil, errors.New("address is needed: the URL of the other server")
	case cfg.Token.Empty():
		return nil, errors.New("token is needed, or the environment variable VAULT_TOKEN")
	case cfg.KeyName == "":
		return nil, errors.New("key_name is needed: the name of a key of the other server's transit engine")
	case cfg.MountPath == "":
		return nil, errors.New(`mount_path is needed: the path of the other server's transit engine, such as "transit/"`)
	}
	c, err := client.New(client.Config{
		Address: cfg.Address, Token: cfg.Token, Namespace: cfg.Namespace,
		TLS: client.TLS{
			CACert: cfg.CACertFile, ClientCert: cfg.ClientCertFile, ClientKey: cfg.ClientKeyFile, ServerName: cfg.ServerName,
			SkipVerify: cfg.SkipVerify,
		},
		Timeout:    patience,
		MaxRetries: -1, // who calls tries again
	})
	if err != nil {
		return nil, err
	}
	return &Seal{cfg: cfg, client: c}, nil
}

// Close ends idle connections.
func (s *Seal) Close() { s.client.Close() }

// Type is "transit".
func (*Seal) Type() string { return "transit" }

// Wrap has the other server encrypt plain. What it answers is kept as it is.
func (s *Seal) Wrap(ctx context.Context, plain []byte) ([]byte, error) {
	encoded := base64.StdEncoding.EncodeToString(plain)
	var answer struct {
		Ciphertext string `json:"ciphertext"`
	}
	if err := s.ask(ctx, "encrypt", map[string]string{"plaintext": encoded}, &answer, encoded); err != nil {
		return nil, err
	}
	if answer.Ciphertext == "" {
		return nil, errors.New("encrypt: the other server's answer has no ciphertext")
	}
	return []byte(answer.Ciphertext), nil
}

// Unwrap has the other server decrypt what Wrap gave.
func (s *Seal) Unwrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	var answer struct {
		Plaintext string `json:"plaintext"`
	}
	if err := s.ask(ctx, "decrypt", map[string]string{"ciphertext": string(wrapped)}, &answer, ""); err != nil {
		return nil, err
	}
	plain, err := base64.StdEncoding.DecodeString(answer.Plaintext)
	if err != nil {
		return nil, errors.New("decrypt: the plaintext of the other server's answer is not base64")
	}
	return plain, nil
}

// Stale encrypts something to see which version of the key does it: the token need not be allowed to read the key itself.
func (s *Seal) Stale(ctx context.Context, wrapped []byte) (bool, error) {
	probe, err := s.Wrap(ctx, make([]byte, 32))
	if err != nil {
		return false, err
	}
	return version(probe) > version(wrapped), nil
}

var versioned = regexp.MustCompile(`^[^:]*:v([0-9]{1,9}):`)

// version is the key's version in a ciphertext such as "vault:v2:..."; 0 when it names none.
func version(ciphertext []byte) int {
	found := versioned.FindSubmatch(ciphertext)
	if found == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(found[1])) // nine digits are a number
	return n
}

// ask calls one operation of the transit engine. sent is what the request held that must not be repeated in an error.
func (s *Seal) ask(ctx context.Context, operation string, body map[string]string, answer any, sent string) error {
	resp, err := s.client.Do(ctx, http.MethodPut, s.cfg.MountPath+"/"+operation+"/"+s.cfg.KeyName, body)
	if err != nil {
		return s.refusal(operation, err, sent)
	}
	if err := resp.Decode(answer); err != nil {
		// The decoder's error may quote the answer, which may hold the key.
		return fmt.Errorf("%s: the other server's answer is not understood", operation)
	}
	return nil
}

// refusal is an error of the other server, for the log. Its words are shown, unless they repeat a secret.
func (s *Seal) refusal(operation string, err error, sent string) error {
	text := err.Error()
	for _, hidden := range []string{s.cfg.Token.Reveal(), sent} {
		if hidden != "" && strings.Contains(text, hidden) {
			return fmt.Errorf("%s: the other server has refused, in words that hold a secret", operation)
		}
	}
	return fmt.Errorf("%s: %w", operation, err)
}

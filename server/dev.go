package server

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"time"

	"leasehold/broker"
	"leasehold/internal/secret"
)

// devSecrets are what dev mode shows on the terminal.
type devSecrets struct {
	root      secret.Text
	unsealKey secret.Bytes
}

// makeDevCertificates writes the files of -dev-tls.
func (o *Options) makeDevCertificates(now time.Time) error {
	if o.DevTLSCertDir == "" {
		dir, err := os.MkdirTemp("", "leasehold-tls-")
		if err != nil {
			return fmt.Errorf("dev mode: %w", err)
		}
		o.DevTLSCertDir = dir
	}
	files, err := writeDevCertificates(o.DevTLSCertDir, o.DevListenAddress, now)
	o.devCertificate = files
	return err
}

// initialiseDev makes the keys of the store that is not kept, and opens it.
func (s *Server) initialiseDev(ctx context.Context) error {
	share, root, err := s.parts.broker.InitializeDev(ctx, secret.NewText(s.opts.DevRootTokenID))
	if err != nil {
		return err
	}
	s.dev = &devSecrets{root: root, unsealKey: share}
	if s.parts.engines["kv"] != nil {
		err := s.parts.broker.Enable(ctx, &broker.Mount{
			Path: "secret/", Kind: broker.Secret, Type: "kv", Description: "key/value secret storage", Options: map[string]string{"version": "2"},
		})
		if err != nil {
			return err
		}
	}
	if s.opts.StoreToken == nil || s.opts.DevNoStoreToken {
		return nil
	}
	if err := s.opts.StoreToken(root); err != nil {
		return fmt.Errorf("store the root token: %w", err)
	}
	return nil
}

// devText is what dev mode adds to the start-up text.
func (s *Server) devText() string {
	certificate := ""
	if s.opts.DevTLS {
		certificate = fmt.Sprintf("    $ export VAULT_CACERT='%s'\n", s.opts.devCertificate.ca)
	}
	return fmt.Sprintf(`WARNING! This is dev mode: everything is kept in memory and is gone when the server
ends. The server is unsealed, and whoever knows the root token can do anything. Never
use it for anything but trying things out.

To talk to it, set in your shell:

    $ export VAULT_ADDR='%s'
%s
Unseal Key: %s
Root Token: %s

`, s.cfg.URL(), certificate, base64.StdEncoding.EncodeToString(s.dev.unsealKey.Reveal()), s.dev.root.Reveal())
}

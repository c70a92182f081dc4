package server

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"leasehold/internal/secret"
	"leasehold/server/config"
)

// Options are what the command line gives. Flags beat the environment, which beats the files.
type Options struct {
	ConfigPaths []string // files and directories, in order
	LogLevel    string   // "": not given
	LogFormat   string   // "": not given
	LogFile     string   // "": not given

	Dev              bool   // keep everything in memory, initialised and unsealed
	DevRootTokenID   string // the root token; "": LEASEHOLD_DEV_ROOT_TOKEN_ID or VAULT_DEV_ROOT_TOKEN_ID, or a random one
	DevListenAddress string // "": LEASEHOLD_DEV_LISTEN_ADDRESS or VAULT_DEV_LISTEN_ADDRESS, or 127.0.0.1:8200
	DevTLS           bool   // with a certificate of a certification authority of its own
	DevTLSCertDir    string // where their files go; "": a new temporary directory
	DevNoStoreToken  bool   // do not call StoreToken

	// StoreToken keeps the root token of dev mode for the client's commands. Nil: it is not kept.
	StoreToken func(token secret.Text) error

	Version string              // the program's, such as "1.2.3"
	Getenv  func(string) string // nil: os.Getenv
	Stdout  io.Writer           // the start-up text; nil: os.Stdout
	Stderr  io.Writer           // log lines, unless they go to a file; nil: os.Stderr

	// Signals replaces the signals that the process receives. For tests.
	Signals <-chan os.Signal

	devCertificate devCertificates
}

func (o *Options) fillIn() {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	for _, v := range []struct {
		into *string
		name string
	}{{&o.DevRootTokenID, "DEV_ROOT_TOKEN_ID"}, {&o.DevListenAddress, "DEV_LISTEN_ADDRESS"}} {
		if *v.into == "" {
			*v.into = config.Variable(o.Getenv, v.name)
		}
	}
	if o.DevListenAddress == "" {
		o.DevListenAddress = "127.0.0.1:8200"
	}
}

// configuration is the files, the environment and the flags together, checked.
func (o *Options) configuration() (*config.Config, error) {
	cfg, err := config.Load(o.ConfigPaths, o.Getenv)
	if err != nil {
		return nil, err
	}
	if o.LogLevel != "" {
		if cfg.LogLevel, err = config.ParseLevel(o.LogLevel); err != nil {
			return nil, fmt.Errorf("-log-level: %w", err)
		}
	}
	if o.LogFormat != "" {
		if !slices.Contains(config.LogFormats, o.LogFormat) {
			return nil, fmt.Errorf("-log-format: expected one of %s", strings.Join(config.LogFormats, ", "))
		}
		cfg.LogFormat = o.LogFormat
	}
	if o.LogFile != "" {
		cfg.LogFile = o.LogFile
	}
	if o.Dev {
		o.devConfiguration(cfg)
	}
	return cfg, cfg.Validate()
}

// devConfiguration puts dev mode over the files: its listener comes first, and nothing is kept.
func (o *Options) devConfiguration(cfg *config.Config) {
	if cfg.Storage.Type != "" && cfg.Storage.Type != "inmem" {
		cfg.Warnings = append(cfg.Warnings, "dev mode keeps everything in memory: the storage block has no effect")
	}
	cfg.Storage = config.Storage{Type: "inmem"}
	cfg.LockMemory = false
	first := config.NewListener("tcp")
	first.Address = o.DevListenAddress
	first.Exposure.OpenMetrics = true
	first.TLS.CertFile, first.TLS.KeyFile = o.devCertificate.cert, o.devCertificate.key
	if !o.DevTLS {
		first.TLS = nil
	}
	cfg.Listeners = append([]*config.Listener{first}, cfg.Listeners...)
}

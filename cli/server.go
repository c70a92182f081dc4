package cli

import (
	"context"

	"github.com/urfave/cli/v2"

	"leasehold/internal/secret"
	"leasehold/server"
)

func (e *env) server() *cli.Command {
	var o server.Options
	return e.command(leaf{
		name: "server", usage: "Run a server",
		help: "With -dev it keeps everything in memory, is unsealed and answers at http://127.0.0.1:8200: to try things out.",
		flags: []cli.Flag{
			repeated("config", "file or directory with the configuration; repeatable", "", func(v []string) error {
				o.ConfigPaths = v
				return nil
			}),
			&cli.StringFlag{Name: "log-level", Usage: "trace, debug, info, warn or error (VAULT_LOG_LEVEL)", Destination: &o.LogLevel},
			&cli.StringFlag{Name: "log-format", Usage: "standard or json (VAULT_LOG_FORMAT)", Destination: &o.LogFormat},
			&cli.StringFlag{Name: "log-file", Usage: "file for the log instead of stderr", Destination: &o.LogFile},
			&cli.BoolFlag{Name: "dev", Usage: "dev mode", Destination: &o.Dev},
			&cli.StringFlag{Name: "dev-root-token-id", Usage: "root token of dev mode (VAULT_DEV_ROOT_TOKEN_ID)", Destination: &o.DevRootTokenID},
			&cli.StringFlag{Name: "dev-listen-address", Usage: "address of dev mode (VAULT_DEV_LISTEN_ADDRESS)", Destination: &o.DevListenAddress},
			&cli.BoolFlag{Name: "dev-tls", Usage: "dev mode with a certificate of its own CA", Destination: &o.DevTLS},
			&cli.StringFlag{Name: "dev-tls-cert-dir", Usage: "where the files of -dev-tls go", Destination: &o.DevTLSCertDir},
			&cli.BoolFlag{Name: "dev-no-store-token", Usage: "do not keep dev mode's root token for other commands", Destination: &o.DevNoStoreToken},
		},
		local: true,
		run:   func(ctx context.Context, _ []string) error { return runServer(ctx, e, o) },
	})
}

func runServer(ctx context.Context, e *env, o server.Options) error {
	o.Dev = o.Dev || o.DevTLS
	if !o.Dev && len(o.ConfigPaths) == 0 {
		return mistake("Must specify at least one config path using -config").hint("%s server -dev needs none", e.program)
	}
	o.Version, o.Getenv, o.Stdout, o.Stderr = release, e.getenv, e.stdout, e.stderr
	o.StoreToken = func(token secret.Text) error {
		store, err := e.tokens()
		if err != nil {
			return err
		}
		return store.write(token)
	}
	if err := server.Run(ctx, o); err != nil {
		return mistake("Error starting the server: %s", err)
	}
	return nil
}

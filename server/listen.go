package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"

	"leasehold/server/config"
	"leasehold/server/httpapi"
)

// listener is one open address and the HTTP server behind it.
type listener struct {
	cfg     *config.Listener
	net     net.Listener
	cert    *certificate // nil: plain HTTP
	handler *httpapi.Handler
	http    *http.Server
}

// listen opens the address. Nothing is served yet.
func listen(ctx context.Context, cfg *config.Listener) (*listener, error) {
	l := &listener{cfg: cfg}
	var secure *tls.Config
	if cfg.TLS != nil {
		var err error
		if secure, l.cert, err = tlsConfig(cfg.TLS); err != nil {
			return nil, fmt.Errorf("listener at %s: %w", cfg.Address, err)
		}
	}
	var err error
	if cfg.Network == "unix" {
		l.net, err = listenUnix(ctx, cfg)
	} else {
		l.net, err = new(net.ListenConfig).Listen(ctx, "tcp", cfg.Address)
	}
	if err != nil {
		return nil, err
	}
	l.http = &http.Server{
		TLSConfig:         secure,
		ReadHeaderTimeout: cfg.ReadHeaderTimeout,
		ReadTimeout:       cfg.ReadTimeout,
		WriteTimeout:      cfg.WriteTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    1 << 20,
	}
	return l, nil
}

// listenUnix replaces a socket file that an earlier server left.
func listenUnix(ctx context.Context, cfg *config.Listener) (net.Listener, error) {
	if info, err := os.Lstat(cfg.Address); err == nil && info.Mode()&fs.ModeSocket != 0 {
		if err := os.Remove(cfg.Address); err != nil {
			return nil, err
		}
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", cfg.Address)
	if err != nil {
		return nil, err
	}
	if err := socketOwner(cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("listener at %s: %w", cfg.Address, err), l.Close())
	}
	return l, nil
}

func socketOwner(cfg *config.Listener) error {
	uid, gid := -1, -1
	if cfg.SocketUser != "" {
		u, err := user.Lookup(cfg.SocketUser)
		if err != nil {
			if u, err = user.LookupId(cfg.SocketUser); err != nil {
				return fmt.Errorf("socket_user: %w", err)
			}
		}
		if uid, err = strconv.Atoi(u.Uid); err != nil {
			return fmt.Errorf("socket_user: %w", err)
		}
	}
	if cfg.SocketGroup != "" {
		g, err := user.LookupGroup(cfg.SocketGroup)
		if err != nil {
			if g, err = user.LookupGroupId(cfg.SocketGroup); err != nil {
				return fmt.Errorf("socket_group: %w", err)
			}
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return fmt.Errorf("socket_group: %w", err)
		}
	}
	if uid >= 0 || gid >= 0 {
		if err := os.Chown(cfg.Address, uid, gid); err != nil {
			return err
		}
	}
	if cfg.SocketMode != 0 {
		return os.Chmod(cfg.Address, cfg.SocketMode)
	}
	return nil
}

// serve answers requests until the server is shut down.
func (l *listener) serve(log *slog.Logger) error {
	l.http.Handler = l.handler
	l.http.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug) // such as failed handshakes: anybody can cause them
	var err error
	if l.http.TLSConfig != nil {
		err = l.http.ServeTLS(l.net, "", "")
	} else {
		err = l.http.Serve(l.net)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("listener at %s: %w", l.cfg.Address, err)
}

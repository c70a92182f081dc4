package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"leasehold/broker/sys"
	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/server/config"
	"leasehold/server/httpapi"
)

// drainTime is how long requests may go on after the server was told to end.
const drainTime = 30 * time.Second

// Server is one server. Make it with [New], run it with [Server.Serve], once.
type Server struct {
	opts      Options
	cfg       *config.Config
	log       *logger
	clock     clock.Clock
	parts     *parts
	listeners []*listener
	dev       *devSecrets // nil: not in dev mode
}

// New reads the configuration, opens the store and the addresses, and in dev mode initialises the store. Its errors
// are one line for the operator. What it has opened is closed again when it fails.
func New(ctx context.Context, opts Options) (_ *Server, err error) {
	opts.fillIn()
	s := &Server{opts: opts, clock: clock.System{}}
	if opts.Dev && opts.DevTLS {
		if err := s.opts.makeDevCertificates(s.clock.Now()); err != nil {
			return nil, err
		}
	}
	if s.cfg, err = s.opts.configuration(); err != nil {
		return nil, err
	}
	if s.log, err = newLogger(s.cfg, opts.Stderr); err != nil {
		return nil, fmt.Errorf("open the log file: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	for _, warning := range s.cfg.Warnings {
		s.log.Warn("configuration", "warning", warning)
	}
	// The addresses first: when another server has them, the store is not touched.
	for _, c := range s.cfg.Listeners {
		l, err := listen(ctx, c)
		if err != nil {
			return nil, err
		}
		s.listeners = append(s.listeners, l)
	}
	if s.parts, err = compose(ctx, s.cfg, s.opts, s.clock, s.log); err != nil {
		return nil, err
	}
	if err := s.makeHandlers(); err != nil {
		return nil, err
	}
	if opts.Dev {
		if err := s.initialiseDev(ctx); err != nil {
			return nil, fmt.Errorf("dev mode: %w", err)
		}
	}
	return s, nil
}

func (s *Server) makeHandlers() error {
	hostname := ""
	if s.cfg.ShowHostname {
		var err error
		if hostname, err = os.Hostname(); err != nil {
			return err
		}
	}
	for _, l := range s.listeners {
		var err error
		l.handler, err = httpapi.New(httpapi.Config{
			Broker: s.parts.broker, Listener: l.cfg, Log: s.log.With(loggerKey, "http"), Clock: s.clock,
			Version: s.opts.Version, StorageType: s.cfg.Storage.Type, Hostname: hostname,
			Opened:   s.parts.opened,
			Process:  httpapi.Process{Metrics: s.parts.measures.render, Profile: sys.Profile},
			InFlight: &s.parts.measures.inFlight, Answered: s.parts.measures.answered,
		})
		if err != nil {
			return err
		}
		l.handler.Reload(l.cfg.Headers, s.cfg.RequestLogLevel)
	}
	return nil
}

// Addr is the address of a listener, in the order of the configuration; dev mode's own is the first.
func (s *Server) Addr(i int) net.Addr { return s.listeners[i].net.Addr() }

// DevSecrets are the root token and the unseal key of dev mode. Empty otherwise.
func (s *Server) DevSecrets() (root secret.Text, unsealKey secret.Bytes) {
	if s.dev == nil {
		return secret.Text{}, secret.Bytes{}
	}
	return s.dev.root, s.dev.unsealKey
}

// Serve answers requests and reaps until ctx is done or a listener fails. When it returns, everything is closed.
func (s *Server) Serve(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	reaping, stopReaping := context.WithCancel(context.WithoutCancel(ctx))
	defer stopReaping()

	var running errgroup.Group
	for _, l := range s.listeners {
		running.Go(func() error {
			defer stop() // a server without one of its addresses is not what was configured
			return l.serve(s.log.With(loggerKey, "http"))
		})
	}
	running.Go(func() error {
		(&reaper{
			broker: s.parts.broker, leases: s.parts.leases, clock: s.clock, log: s.log.Logger, woken: s.parts.tokenWork,
		}).run(reaping)
		return nil
	})
	running.Go(func() error {
		s.parts.beat(reaping)
		return nil
	})
	running.Go(func() error {
		s.parts.measures.run(reaping, s.log.Logger)
		return nil
	})
	running.Go(func() error {
		s.parts.keepUnsealed(reaping)
		return nil
	})
	<-ctx.Done()

	s.log.Info("stopping")
	s.drain(context.WithoutCancel(ctx))
	stopReaping()
	err := running.Wait()
	s.parts.leases.Wait()
	s.parts.database.Wait()
	s.parts.leave(context.WithoutCancel(ctx))
	return errors.Join(err, s.close())
}

// drain stops accepting and waits for the requests that are under way, up to drainTime.
func (s *Server) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	s.log.loggers.monitors.end()
	var ending errgroup.Group
	for _, l := range s.listeners {
		ending.Go(func() error {
			if err := l.http.Shutdown(ctx); err != nil {
				s.log.Warn("requests were cut off", "address", l.cfg.Address, "error", err)
				return l.http.Close()
			}
			return nil
		})
	}
	if err := ending.Wait(); err != nil {
		s.log.Warn("close a listener", "error", err)
	}
}

// close ends what New has opened.
func (s *Server) close() error {
	var all []error
	for _, l := range s.listeners {
		if err := l.net.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			all = append(all, err)
		}
	}
	if s.parts != nil {
		all = append(all, s.parts.close())
	}
	if s.log.file != nil {
		all = append(all, s.log.file.close())
	}
	return errors.Join(all...)
}

// Reload reads again what may change while the server runs: certificates and keys, log level, request log level,
// custom headers, audit files and the log file. An error in one part does not keep the others from it.
func (s *Server) Reload() error {
	var all []error
	for _, l := range s.listeners {
		if l.cert != nil {
			all = append(all, l.cert.reload())
		}
	}
	if s.log.file != nil {
		all = append(all, s.log.file.reopen())
	}
	all = append(all, s.parts.broker.ReopenAudit())
	fresh, err := s.opts.configuration()
	if err != nil {
		return errors.Join(append(all, err)...)
	}
	s.log.loggers.restart(fresh.LogLevel)
	for i, l := range s.listeners {
		headers := l.cfg.Headers
		// Listeners are told apart by their place: their number and addresses stay as they are until a restart.
		if i < len(fresh.Listeners) && fresh.Listeners[i].Address == l.cfg.Address {
			headers = fresh.Listeners[i].Headers
		}
		l.handler.Reload(headers, fresh.RequestLogLevel)
	}
	return errors.Join(all...)
}

// Run is the command `leasehold server`: it serves until ctx is done or the process is told to end. An error is one line
// that says why the server could not start or go on.
func Run(ctx context.Context, opts Options) error {
	coreDumps := noCoreDumps()
	s, err := New(ctx, opts)
	if err != nil {
		return err
	}
	if coreDumps != nil {
		s.log.Warn("core dumps stay on", "error", coreDumps)
	}
	if s.cfg.LockMemory {
		if err := lockMemory(); err != nil {
			s.log.Warn("memory can be swapped out; set disable_mlock to accept that", "error", err)
		}
	}
	removePID, err := writePID(s.cfg.PIDFile)
	if err != nil {
		return errors.Join(err, s.close())
	}
	defer removePID()
	s.announce()

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan struct{})
	var handling errgroup.Group
	handling.Go(func() error {
		s.handleSignals(ended, stop)
		return nil
	})
	notify(s.opts.Getenv, "READY=1")
	err = s.Serve(ctx)
	close(ended)
	return errors.Join(err, handling.Wait())
}

// handleSignals acts on signals until the server has ended. The first SIGINT or SIGTERM stops it; the second ends the
// process at once.
func (s *Server) handleSignals(ended <-chan struct{}, stop context.CancelFunc) {
	signals := s.opts.Signals
	if signals == nil {
		own := make(chan os.Signal, 4)
		signal.Notify(own, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		defer signal.Stop(own)
		signals = own
	}
	stopping := false
	for {
		select {
		case <-ended:
			return
		case sig := <-signals:
			switch {
			case sig == syscall.SIGHUP && !stopping:
				s.reloadBySignal()
			case stopping && sig != syscall.SIGHUP:
				// Crash: as with any other sudden end, the rows say what is still to be done.
				os.Exit(1)
			case !stopping:
				stopping = true
				notify(s.opts.Getenv, "STOPPING=1")
				stop()
			}
		}
	}
}

func (s *Server) reloadBySignal() {
	notify(s.opts.Getenv, "RELOADING=1")
	if err := s.Reload(); err != nil {
		s.log.Error("reload", "error", err)
	} else {
		s.log.Info("reloaded")
	}
	notify(s.opts.Getenv, "READY=1")
}

// writePID writes the process's id, and returns what removes the file again.
func writePID(path string) (remove func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return nil, fmt.Errorf("write pid_file: %w", err)
	}
	return func() { _ = os.Remove(path) }, nil // the process ends: nobody is left to act on an error
}

// notify tells systemd, where it started us, how we stand. The protocol is sd_notify(3).
func notify(getenv func(string) string, state string) {
	path := getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		return // the service manager finds out by its own timeouts
	}
	_, _ = conn.Write([]byte(state))
	_ = conn.Close()
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"

	"toolhand/internal/admin"
	"toolhand/internal/config"
	"toolhand/internal/gcfloor"
	"toolhand/internal/registry"
	"toolhand/internal/telemetry"
)

type runCmd struct {
	configFlags
	logFlags
	Session []string `help:"Serve this session; repeatable, stands before sessions.ids." placeholder:"ID" env:"TOOLHAND_SESSION"`
}

// Help is the long help.
func (runCmd) Help() string {
	return `Signals: SIGTERM or SIGINT drains (no new calls, running ones finish, within shutdown.grace), a second one stops at once; SIGHUP reloads tools.d and the key file.

Examples:

  ANTHROPIC_API_KEY=... worker run --session sesn_011CZkZAtmR3yMPDzynEDxu7
  worker run --config /etc/toolhand/worker.yaml
`
}

var errSecondSignal = errors.New("stopped by a second signal")

// Run is the daemon.
func (c runCmd) Run(p *process) error {
	gcfloor.Set(gcfloor.Size)
	signals, release := p.notify()
	defer release()
	cfg, path, err := c.load(p)
	if err != nil {
		return err
	}
	if err := c.sessions(cfg); err != nil {
		return err
	}
	secrets := &telemetry.Secrets{}
	log, err := c.logger(p, cfg, secrets)
	if err != nil {
		return err
	}
	w, err := startWorker(p.ctx, signals, func(ctx context.Context) (*worker, error) {
		return newWorker(ctx, cfg, log, secrets, p.lookupEnv)
	})
	if errors.Is(err, errStopped) {
		log.Info("worker stopped before it had started")
		return nil
	}
	if err != nil {
		return err
	}
	defer w.close()
	server, err := w.openAdmin()
	if err != nil {
		return err
	}
	w.greet(path)
	return w.daemon(p.ctx, signals, server)
}

// sessions lays the flag over the configuration.
func (c runCmd) sessions(cfg *config.Config) error {
	// An empty variable is one that is not set.
	ids := slices.DeleteFunc(c.Session, func(id string) bool { return id == "" })
	for i, id := range ids {
		if err := config.SessionID(id); err != nil {
			return usageError{fmt.Errorf("--session or TOOLHAND_SESSION: %w", err)}
		}
		if slices.Contains(ids[:i], id) {
			return usageError{fmt.Errorf("--session or TOOLHAND_SESSION: %s stands there twice", id)}
		}
	}
	if len(ids) > 0 {
		cfg.Sessions.IDs = ids
	}
	return enoughRoom(cfg)
}

// greet logs what the worker begins with.
func (w *worker) greet(path string) {
	v, _ := versions()
	w.log.Info("worker started", "version", v, "config", cmp.Or(path, "defaults"), "tools", len(w.registry.Set().Tools()),
		"sessions", len(w.cfg.Sessions.IDs), "api", w.cfg.Upstream.BaseURL)
	for _, key := range config.Inert(w.cfg) {
		w.log.Warn("a key of the configuration has no effect in this version", "key", key)
	}
	if os.Geteuid() == 0 && slices.ContainsFunc(w.registry.Set().Tools(), func(t *registry.Tool) bool { return t.Kind == "exec" }) {
		w.log.Warn("the worker runs as root: nothing can be hidden from an exec tool that runs as root too; run the worker as another user, or give each exec tool a user")
	}
	w.warnOfNATS()
	if len(w.cfg.Sessions.IDs) == 0 {
		w.log.Warn("no session to serve: name one with --session or sessions.ids")
	}
}

// errStopped says that a signal came before the worker had started.
var errStopped = errors.New("stopped as asked")

// startWorker puts a worker together, which may take as long as its NATS server
// is away. A signal that asks to stop ends that.
func startWorker[W interface{ close() }](ctx context.Context, signals <-chan os.Signal, start func(context.Context) (W, error)) (W, error) {
	type outcome struct {
		w   W
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan outcome, 1)
	go func() {
		w, err := start(ctx)
		done <- outcome{w, err}
	}()
	for {
		select {
		case o := <-done:
			return o.w, o.err
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				continue // all is read now anyway
			}
			cancel()
			if o := <-done; o.err == nil {
				o.w.close()
			}
			var none W
			return none, errStopped
		}
	}
}

// daemon serves until a signal says otherwise. The admin address and the watch
// for signals are there from before the first session until after the last one.
func (w *worker) daemon(ctx context.Context, signals <-chan os.Signal, server *admin.Server) error {
	drain, drained := context.WithCancel(ctx)
	defer drained()
	hard, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	beside, end := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	if server != nil {
		wg.Go(func() { serveAdmin(beside, server, w.log) })
	}
	wg.Go(func() {
		watchSignals(beside, signals, watched{
			log: w.log, grace: w.cfg.Shutdown.Grace,
			reload: w.reload, drain: drained, stop: func() { stop(errSecondSignal) },
		})
	})
	wg.Go(func() { w.registry.Follow(beside, func() { w.reloaded(beside) }) })
	var broken error // owned by watchStore until wg is done
	wg.Go(func() {
		if broken = w.watchStore(beside); broken != nil {
			w.log.Error("draining: the store has to be opened anew", "error", broken)
			drained()
		}
	})
	wg.Go(func() { w.sweepJournal(beside) })
	if watch := w.discovery(beside); watch != nil {
		w.firstTools(drain, watch)
		wg.Go(func() { watch.Run(beside) })
	}
	left := w.serve(drain, hard)
	end()
	wg.Wait()
	err := context.Cause(hard)
	stop(nil)
	if err == nil {
		err = broken
	}
	w.log.Info("worker stopped", "calls_left", left)
	return err
}

// serveAdmin answers until ctx ends. The sessions are served on without it: a
// call that is open is worth more than a status page.
func serveAdmin(ctx context.Context, server *admin.Server, log *slog.Logger) {
	if err := server.Serve(ctx); err != nil {
		log.Error("the admin address is lost; sessions are served on without it", "error", err)
	}
}

// watched is what signals do to a command.
type watched struct {
	log    *slog.Logger
	grace  config.Duration
	reload func(context.Context)
	drain  func() // no new calls
	stop   func() // everything at once
}

// watchSignals acts on signals until ctx ends.
func watchSignals(ctx context.Context, signals <-chan os.Signal, w watched) {
	draining := false
	for {
		select {
		case <-ctx.Done():
			return
		case sig := <-signals:
			switch {
			case sig == syscall.SIGHUP:
				w.log.Info("reloading tools and key file")
				w.reload(ctx)
			case draining:
				w.log.Warn("second signal: stopping at once", "signal", sig.String())
				w.stop()
			default:
				draining = true
				w.log.Info("stopping", "signal", sig.String(), "grace", w.grace)
				w.drain()
			}
		}
	}
}

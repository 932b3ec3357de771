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
	return `Signals: SIGTERM or SIGINT drains (no new calls, running ones finish, within shutdown.grace), a second one stops at once; SIGHUP reloads tools.d and the key file, or drains if the terminal is gone.

Examples:

  ANTHROPIC_API_KEY=... worker run --session sesn_011CZkZAtmR3yMPDzynEDxu7
  worker run --config /etc/toolhand/worker.yaml
`
}

// Run is the daemon.
func (c runCmd) Run(p *process) error {
	gcfloor.Set(gcfloor.Size)
	return underSignals(p, true, func(s *signals) error { return c.run(p, s) })
}

func (c runCmd) run(p *process, signals *signals) error {
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
	for _, text := range config.Exposed(w.cfg) {
		w.log.Warn(text)
	}
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

// daemon serves until a signal says otherwise. The admin address and the watch
// for signals are there from before the first session until after the last one.
func (w *worker) daemon(ctx context.Context, signals *signals, server *admin.Server) error {
	drain, drained := context.WithCancel(ctx)
	defer drained()
	hard, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	beside, end := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	if server != nil {
		wg.Go(func() { serveAdmin(beside, server, w.log) })
	}
	acts := watched{log: w.log, grace: w.cfg.Shutdown.Grace, reload: w.reload, drain: drained, stop: stop}
	wg.Go(func() { watchStops(beside, signals, acts) })
	wg.Go(func() { watchReloads(beside, signals, acts) })
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
	drain  func()            // no new calls
	stop   func(cause error) // everything at once
}

// watchStops acts on the signals to stop until ctx ends.
func watchStops(ctx context.Context, s *signals, w watched) {
	select {
	case <-ctx.Done():
		return
	case <-s.stop.Done():
	}
	var first stopSignal
	if errors.As(context.Cause(s.stop), &first) && first.Signal == syscall.SIGHUP {
		w.log.Info("stopping: the terminal is gone", "signal", first.String(), "grace", w.grace)
	} else {
		w.log.Info("stopping", "signal", first.String(), "grace", w.grace)
	}
	w.drain()
	select {
	case <-ctx.Done():
	case <-s.hard.Done():
		w.log.Warn("second signal: stopping at once")
		w.stop(context.Cause(s.hard))
	}
}

// watchReloads reloads when a signal asks for it, until the command stops: what
// is loaded then would serve nobody.
func watchReloads(ctx context.Context, s *signals, w watched) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.stop.Done():
			return
		case <-s.reload:
			w.log.Info("reloading tools and key file")
			w.reload(ctx)
		}
	}
}

package main

import (
	"context"
	"errors"
	"os"
	"syscall"

	"toolhand/internal/config"
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
	cfg, path, err := c.load(p)
	if err != nil {
		return err
	}
	c.logFlags.apply(cfg)
	if len(c.Session) > 0 {
		cfg.Sessions.IDs = c.Session
		for _, id := range c.Session {
			if err := config.SessionID(id); err != nil {
				return usageError{err}
			}
		}
	}
	secrets := &telemetry.Secrets{}
	log, err := newLogger(p, cfg, secrets)
	if err != nil {
		return err
	}
	w, err := newWorker(cfg, log, secrets, p.lookupEnv)
	if err != nil {
		return err
	}
	defer w.close()
	admin, err := w.openAdmin()
	if err != nil {
		return err
	}
	v, _ := versions()
	log.Info("worker started", "version", v, "config", path, "tools", len(w.registry.Set().Tools()),
		"sessions", len(cfg.Sessions.IDs), "api", cfg.Upstream.BaseURL)
	for _, key := range config.Inert(cfg) {
		log.Warn("a key of the configuration has no effect in this version", "key", key)
	}
	for _, text := range w.registry.Set().Warnings() {
		log.Warn(text)
	}
	if len(cfg.Sessions.IDs) == 0 {
		log.Warn("no session to serve: name one with --session or sessions.ids")
	}
	drain, drained := context.WithCancelCause(p.ctx)
	defer drained(nil)
	hard, stop := context.WithCancelCause(context.WithoutCancel(p.ctx))
	defer stop(nil)
	adminDone := make(chan struct{})
	adminCtx, adminStop := context.WithCancel(context.Background())
	go func() {
		defer close(adminDone)
		if admin == nil {
			return
		}
		if err := admin.Serve(adminCtx); err != nil {
			log.Error("admin address is lost", "error", err)
		}
	}()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		w.watch(p.signals, hard, func() { drained(nil) }, func() { stop(errSecondSignal) })
	}()
	left := w.serve(drain, hard)
	err = context.Cause(hard)
	stop(nil)
	<-watched
	adminStop()
	<-adminDone
	log.Info("worker stopped", "calls_left", left)
	if errors.Is(err, errSecondSignal) {
		return err
	}
	return nil
}

// watch acts on signals until ctx ends.
func (w *worker) watch(signals <-chan os.Signal, ctx context.Context, drain, stop func()) {
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
				stop()
			default:
				draining = true
				w.log.Info("stopping", "signal", sig.String(), "grace", w.cfg.Shutdown.Grace)
				drain()
			}
		}
	}
}

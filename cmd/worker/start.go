package main

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"toolhand/internal/config"
	"toolhand/internal/worker"
)

// hardBound is how long a command may take to end once a second signal has come.
const hardBound = 5 * time.Second

// hardStart is how much of that a start has which is given up: enough to end the
// servers of tools that it has started.
const hardStart = 2 * time.Second

// errStopped says that a signal came before the worker had started.
var errStopped = errors.New("stopped as asked")

// underSignals runs a command with its signals. Once a second one has come the
// command has a bounded time to stop what it started: nothing that it waits for
// keeps the process.
func underSignals(p *process, reloads bool, run func(*signals) error) error {
	s := p.notify(reloads)
	defer s.release()
	done := make(chan error, 1)
	go func() { done <- run(s) }()
	select {
	case err := <-done:
		return err
	case <-s.hard.Done():
	}
	bound := time.NewTimer(hardBound)
	defer bound.Stop()
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, errStopped) {
			return err
		}
	case <-bound.C:
	}
	return errSecondSignal
}

// openWorker opens a worker. A signal that asks to stop ends that, and a second one
// the wait for what can't be stopped.
func openWorker(s *signals, cfg *config.Config, opts worker.Options) (*worker.Worker, error) {
	type outcome struct {
		w   *worker.Worker
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		w, err := worker.Open(s.stop, cfg, opts)
		if err == nil && s.stop.Err() != nil {
			_ = w.Close() // it logs what is wrong
			err = errStopped
		}
		done <- outcome{w, err}
	}()
	select {
	case o := <-done:
		if o.err != nil && s.stop.Err() != nil {
			return nil, errStopped
		}
		return o.w, o.err
	case <-s.hard.Done():
	}
	select { // it has been told to stop, and stops what it has started
	case <-done:
	case <-time.After(hardStart):
	}
	return nil, errSecondSignal
}

// serve opens a worker and has it serve until signals say otherwise.
func serve(s *signals, cfg *config.Config, opts worker.Options) error {
	w, err := openWorker(s, cfg, opts)
	if errors.Is(err, errStopped) {
		opts.Log.Info("worker stopped before it had started")
		return nil
	}
	if err != nil {
		return err
	}
	defer w.Close()
	drain, drained := context.WithCancel(context.Background())
	defer drained()
	hard, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	served := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() {
		select {
		case <-served:
			return
		case <-s.stop.Done():
		}
		text, sig := "stopping", stopSignal{}
		if errors.As(context.Cause(s.stop), &sig) && sig.Signal == syscall.SIGHUP {
			text = "stopping: the terminal is gone"
		}
		opts.Log.Info(text, "signal", sig.String(), "grace", cfg.Shutdown.Grace)
		drained()
		select {
		case <-served:
		case <-s.hard.Done():
			opts.Log.Warn("second signal: stopping at once")
			stop(context.Cause(s.hard))
		}
	})
	beside.Go(func() { reload(s, served, opts, w) })
	_, err = w.Serve(drain, hard)
	close(served)
	beside.Wait()
	return err
}

// reload reloads when a signal asks for it, until the command stops: what is loaded
// then would serve nobody.
func reload(s *signals, served <-chan struct{}, opts worker.Options, w *worker.Worker) {
	for {
		select {
		case <-served:
			return
		case <-s.stop.Done():
			return
		case <-s.reload:
			opts.Log.Info("reloading tools and key file")
			_ = w.Reload(s.stop) // the log says what is wrong
		}
	}
}

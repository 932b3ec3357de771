package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// notify collects the signals that commands act on, until release is called.
func notify() (signals <-chan os.Signal, release func()) {
	c := make(chan os.Signal, 8)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// stopOnSignal calls stop at the first signal, or returns at the end of ctx. The
// second signal ends the process, whatever it waits for. It is for commands that
// a person runs: there SIGHUP says that the terminal is gone.
func stopOnSignal(ctx context.Context, p *process, stop func()) {
	signals, release := p.notify()
	defer release()
	select {
	case <-signals:
		stop()
	case <-ctx.Done():
	}
}

// survivePipes makes a write to a closed pipe an error. Otherwise it would kill
// the process, and leave the trees of its tools behind. The signal is caught and
// not ignored, since tools would inherit that.
func survivePipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// setUmask keeps the files that the worker makes its own.
func setUmask() { syscall.Umask(0o077) }

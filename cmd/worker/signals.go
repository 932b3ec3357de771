package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

var errSecondSignal = errors.New("stopped by a second signal")

// stopSignal says which signal asked to stop; it is the cause of [signals.stop].
type stopSignal struct{ os.Signal }

func (s stopSignal) Error() string { return "stopped by signal: " + s.String() }

// signals are those that a command acts on. Signals to stop have a channel of
// their own in the runtime, and a goroutine that does nothing else: neither
// reloads nor anything that the command waits for delays them.
type signals struct {
	// stop ends at the first signal to stop, with a [stopSignal] as its cause.
	stop context.Context
	// hard ends at the second one, with errSecondSignal as its cause.
	hard context.Context
	// reload has an element where a reload was asked for and is not taken yet.
	reload chan struct{}

	release func()
}

// notify gives the signals to the command from now on, until release is called.
// Before and after, a signal ends the process.
//
// SIGHUP asks for a reload. Where it comes because the terminal is gone that the
// process was started on, it asks to stop instead, however often it comes; so it
// does always where there is nothing to reload.
func notify(reloads bool) *signals {
	// Looked at first: later it may be gone. Who ignores SIGHUP (nohup) wants to
	// outlive the terminal.
	ignored := signal.Ignored(syscall.SIGHUP)
	terminal := !ignored && !terminalGone()
	stops, hangups := make(chan os.Signal, 8), make(chan os.Signal, 1)
	signal.Notify(stops, syscall.SIGTERM, syscall.SIGINT)
	if reloads || !ignored {
		signal.Notify(hangups, syscall.SIGHUP)
	}
	s, beside := &signals{reload: make(chan struct{}, 1)}, sync.WaitGroup{}
	stop, stopped := context.WithCancelCause(context.Background())
	hard, hardened := context.WithCancelCause(context.Background())
	s.stop, s.hard = stop, hard
	over := make(chan struct{})
	beside.Go(func() {
		for {
			select {
			case <-over:
				return
			case sig := <-stops:
				if stop.Err() != nil {
					hardened(errSecondSignal)
				}
				stopped(stopSignal{sig})
			}
		}
	})
	beside.Go(func() {
		for {
			select {
			case <-over:
				return
			case sig := <-hangups:
				if !reloads || terminal && terminalGone() {
					stopped(stopSignal{sig})
					continue
				}
				select {
				case s.reload <- struct{}{}:
				default: // the one that waits will read all that is there by then
				}
			}
		}
	})
	s.release = func() {
		signal.Stop(stops)
		signal.Stop(hangups)
		close(over)
		beside.Wait()
	}
	return s
}

// terminalGone reports whether the process has no controlling terminal (any more).
func terminalGone() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDONLY|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err == nil {
		_ = f.Close()
	}
	return errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.EIO)
}

// survivePipes makes a write to a closed pipe an error. Otherwise it would kill
// the process, and leave the trees of its tools behind. The signal is caught and
// not ignored, since tools would inherit that.
func survivePipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// setUmask keeps the files that the worker makes its own.
func setUmask() { syscall.Umask(0o077) }

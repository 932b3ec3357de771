package main

import (
	"os"
	"os/signal"
	"syscall"
)

// notify collects the signals that commands act on.
func notify() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 8)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// hangUp reloads the daemon, and says nothing to other commands.
const hangUp = syscall.SIGHUP

// setUmask keeps the files that the worker makes its own.
func setUmask() { syscall.Umask(0o077) }

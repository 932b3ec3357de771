package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"toolhand/internal/worker"
)

const (
	// childEnd bounds how long the demo's worker may take to drain.
	childEnd = 10 * time.Second
	// childStop bounds how long it may take to stop at once.
	childStop = 2 * time.Second
)

// child is the demo's worker: a process of its own.
type child struct {
	cmd      *exec.Cmd
	lifeline io.Closer     // its standard input; its end lets it drain
	open     chan struct{} // closed when it is open; admin is set then
	done     chan struct{} // closed when it has ended; err is set then
	admin    string
	err      error
}

// startChild starts a worker with a configuration, and tells ended of each call that
// has ended.
func (c demoCmd) startChild(p *process, config string, ended func(endedCall)) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("the worker's program can't be found: %w", err)
	}
	cmd := exec.Command(exe, "demo", "--as-worker", config)
	cmd.Args[0] = os.Args[0]
	if c.Verbose {
		cmd.Args = append(cmd.Args, "--verbose")
	}
	cmd.Stderr = p.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C is for the demo
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("the worker can't be started: %w", err)
	}
	w := &child{cmd: cmd, lifeline: lifeline, open: make(chan struct{}), done: make(chan struct{})}
	go w.follow(out, ended)
	return w, nil
}

// follow reads what the worker tells until it has ended.
func (w *child) follow(out io.Reader, ended func(endedCall)) {
	defer close(w.done)
	for lines := json.NewDecoder(bufio.NewReader(out)); ; {
		var n news
		if lines.Decode(&n) != nil {
			break // its end, in the middle of a line where it was killed
		}
		if n.Admin != "" {
			w.admin = n.Admin
			close(w.open)
		}
		if n.Ended != nil {
			ended(*n.Ended)
		}
	}
	_, _ = io.Copy(io.Discard, out)
	w.err = w.cmd.Wait()
}

// ready waits until the worker is open.
func (w *child) ready(ctx context.Context) error {
	select {
	case <-w.open:
		return nil
	case <-w.done:
		return w.failure()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// failure is why a worker has ended that should not have: it has told itself.
func (w *child) failure() error {
	if w.cmd.ProcessState.ExitCode() == exitUsage {
		return worker.Usagef("%w", errSaid)
	}
	return errSaid
}

// kill ends it as a crash does.
func (w *child) kill() {
	_ = w.cmd.Process.Kill() // it may have ended
	<-w.done
}

// drain lets it end in order, and kills it if it does not.
func (w *child) drain(hard context.Context) (killed bool) {
	_ = w.lifeline.Close()
	return w.within(hard, childEnd)
}

// stop stops it at once, and kills it if that takes too long.
func (w *child) stop(hard context.Context) (killed bool) {
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	return w.within(hard, childStop)
}

func (w *child) within(hard context.Context, d time.Duration) (killed bool) {
	bound := time.NewTimer(d)
	defer bound.Stop()
	select {
	case <-w.done:
		return false
	case <-bound.C:
	case <-hard.Done():
	}
	w.kill()
	return true
}

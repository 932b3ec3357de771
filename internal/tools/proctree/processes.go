package proctree

import (
	"context"
	"log/slog"
	"os/exec"
	"syscall"
	"time"
)

const (
	// termGrace is what a tree gets between SIGTERM and SIGKILL.
	termGrace = 500 * time.Millisecond
	// killGrace is how long a killed tree is waited for. What outlives it hangs
	// in the kernel, or isn't ours to kill.
	killGrace = 5 * time.Second
)

// ServerVar is the variable that marks the processes of programs which serve many
// calls.
const ServerVar = "TOOLHAND_SERVER"

// Options say how [Processes] are made.
type Options struct {
	// Log receives what happens to trees; nil discards.
	Log *slog.Logger
	// MarksOnly leaves cgroups aside.
	MarksOnly bool
}

// A tree is all the processes of one call. Its methods are called by one
// goroutine at a time.
type tree interface {
	// prepare makes cmd start inside the tree.
	prepare(cmd *exec.Cmd)
	// signal sends sig to each live process of the tree.
	signal(sig syscall.Signal)
	// alive counts the live processes; a zombie is not one. Some trees only
	// know whether there are any.
	alive() int
	// release gives back what the tree holds. Nothing is alive, or can be helped.
	// quiet says that all of it ended by itself.
	release(quiet bool)
}

// A Process is a started program with all that comes of it.
type Process struct {
	tree  tree
	Cmd   *exec.Cmd
	log   *slog.Logger
	procs *Processes
	Done  chan struct{} // closed when cmd.Wait has returned
	Err   error         // what it returned; read it after done
}

// Start runs cmd as the root of a tree of its own. marks are the variables of
// its environment that no other call has.
func (p *Processes) Start(ctx context.Context, cmd *exec.Cmd, marks []string, log *slog.Logger) (*Process, error) {
	t, err := p.newTree(marks)
	if err != nil {
		return nil, err
	}
	t.prepare(cmd)
	if err := p.launch(ctx, cmd, t); err != nil {
		t.release(false)
		return nil, err
	}
	proc := &Process{tree: t, Cmd: cmd, log: log, procs: p, Done: make(chan struct{})}
	go func() {
		proc.Err = cmd.Wait()
		p.forget(cmd.Process.Pid)
		close(proc.Done)
	}()
	return proc, nil
}

// Wait waits until the program has ended and its output is read, and reports
// whether that came before the end of ctx. Meanwhile it buries the orphans that
// the tree leaves.
func (p *Process) Wait(ctx context.Context) bool {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-p.Done:
			return true
		case <-tick.C:
			p.procs.reap(true)
		case <-ctx.Done():
			select {
			case <-p.Done:
				return true
			default:
				return false
			}
		}
	}
}

// End stops what still runs of the tree, and returns when it is gone.
func (p *Process) End() {
	left := p.tree.alive() > 0
	if left {
		p.tree.signal(syscall.SIGTERM)
		if !p.gone(termGrace, func() {}) {
			kill := func() { p.tree.signal(syscall.SIGKILL) }
			kill()
			if !p.gone(killGrace, kill) {
				p.log.Error("processes of a call survive SIGKILL", "count", p.tree.alive(), "pid", p.Cmd.Process.Pid)
			}
		}
	}
	select {
	case <-p.Done:
	case <-time.After(killGrace):
		p.log.Error("a killed program does not end", "pid", p.Cmd.Process.Pid)
	}
	// A killed process is out of its tree some moments before it can be buried.
	p.procs.reap(left)
	for try := 0; left && try < 20 && p.procs.hasOrphans(); try++ {
		time.Sleep(time.Millisecond)
		p.procs.reap(true)
	}
	p.tree.release(!left && !p.wasKilled())
}

// wasKilled reports whether the program did not end, or by SIGKILL.
func (p *Process) wasKilled() bool {
	select {
	case <-p.Done:
	default:
		return true
	}
	if p.Cmd.ProcessState == nil {
		return true
	}
	ws, ok := p.Cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL
}

// gone polls until the tree is empty, for at most bound, and reports whether it
// is. again is done at each look: a tree that forks all the time is killed
// piecemeal.
func (p *Process) gone(bound time.Duration, again func()) bool {
	until := time.Now().Add(bound)
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		if p.tree.alive() == 0 {
			return true
		}
		if time.Now().After(until) {
			return false
		}
		again()
		time.Sleep(pause)
	}
}

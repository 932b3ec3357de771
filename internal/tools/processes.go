package tools

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

// serverVar is the variable that marks the processes of programs which serve many
// calls.
const serverVar = "TOOLHAND_SERVER"

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

// A process is a started program with all that comes of it.
type process struct {
	tree  tree
	cmd   *exec.Cmd
	log   *slog.Logger
	procs *Processes
	done  chan struct{} // closed when cmd.Wait has returned
	err   error         // what it returned; read it after done
}

// start runs cmd as the root of a tree of its own. marks are the variables of
// its environment that no other call has.
func (p *Processes) start(ctx context.Context, cmd *exec.Cmd, marks []string, log *slog.Logger) (*process, error) {
	t, err := p.newTree(marks)
	if err != nil {
		return nil, err
	}
	t.prepare(cmd)
	if err := p.launch(ctx, cmd, t); err != nil {
		t.release(false)
		return nil, err
	}
	proc := &process{tree: t, cmd: cmd, log: log, procs: p, done: make(chan struct{})}
	go func() {
		proc.err = cmd.Wait()
		p.forget(cmd.Process.Pid)
		close(proc.done)
	}()
	return proc, nil
}

// wait waits until the program has ended and its output is read, and reports
// whether that came before the end of ctx. Meanwhile it buries the orphans that
// the tree leaves.
func (p *process) wait(ctx context.Context) bool {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return true
		case <-tick.C:
			p.procs.reap(true)
		case <-ctx.Done():
			select {
			case <-p.done:
				return true
			default:
				return false
			}
		}
	}
}

// end stops what still runs of the tree, and returns when it is gone.
func (p *process) end() {
	left := p.tree.alive() > 0
	if left {
		p.tree.signal(syscall.SIGTERM)
		if !p.gone(termGrace, func() {}) {
			kill := func() { p.tree.signal(syscall.SIGKILL) }
			kill()
			if !p.gone(killGrace, kill) {
				p.log.Error("processes of a call survive SIGKILL", "count", p.tree.alive(), "pid", p.cmd.Process.Pid)
			}
		}
	}
	select {
	case <-p.done:
	case <-time.After(killGrace):
		p.log.Error("a killed program does not end", "pid", p.cmd.Process.Pid)
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
func (p *process) wasKilled() bool {
	select {
	case <-p.done:
	default:
		return true
	}
	if p.cmd.ProcessState == nil {
		return true
	}
	ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL
}

// gone polls until the tree is empty, for at most bound, and reports whether it
// is. again is done at each look: a tree that forks all the time is killed
// piecemeal.
func (p *process) gone(bound time.Duration, again func()) bool {
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

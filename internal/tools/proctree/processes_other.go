//go:build !linux

package proctree

import (
	"context"
	"errors"
	"os/exec"
	"strconv"
	"syscall"
)

// Processes owns the process trees of exec tools. On this system a tree is a
// process group: what leaves it is not found.
type Processes struct{}

// New makes Processes for this process.
func New(Options) (*Processes, error) { return &Processes{}, nil }

// Close has nothing to release on this system.
func (p *Processes) Close() error { return nil }

// StopLeft finds nothing on this system.
func (p *Processes) StopLeft([][]string) (int, error) { return 0, nil }

// ServerMark is the variable that marks the processes of the nth MCP server of
// this worker. It names the worker as a mark does.
func (p *Processes) ServerMark(n uint64) string { return ServerVar + "=" + strconv.FormatUint(n, 10) }

func (p *Processes) newTree([]string) (tree, error) { return &group{}, nil }
func (p *Processes) forget(int)                     {}
func (p *Processes) reap(bool)                      {}
func (p *Processes) hasOrphans() bool               { return false }

func (p *Processes) launch(_ context.Context, cmd *exec.Cmd, t tree) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	t.(*group).id = cmd.Process.Pid
	return nil
}

// A group is a tree that consists of one process group.
type group struct{ id int }

func (g *group) prepare(cmd *exec.Cmd)     { cmd.SysProcAttr.Setsid = true }
func (g *group) signal(sig syscall.Signal) { _ = syscall.Kill(-g.id, sig) }
func (g *group) release(bool)              {}

func (g *group) alive() int {
	if errors.Is(syscall.Kill(-g.id, 0), syscall.ESRCH) {
		return 0
	}
	return 1
}

// Harden has no effect on this system.
func Harden() error { return nil }

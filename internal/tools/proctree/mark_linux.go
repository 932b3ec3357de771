package proctree

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A marked tree is found again among the descendants of this process. Since it
// is a subreaper, each process of each call is one of them, whatever session it
// has made. Which call a child of ours belongs to, with all below it, is told by
//   - its being the program that was started;
//   - its mark;
//   - where a tool has changed that, the variables of its environment;
//   - where those are gone too, its age: it belongs to none of the calls that
//     still run if it is older than they are. That is no proof where this process
//     has children that no tool left, as process 1 has: there what has no mark is
//     left alone.
type marked struct {
	p     *Processes
	vars  []string
	token mark
	root  int    // pid; immutable once the tree is in p.marks
	since uint64 // its start, in clock ticks since boot; immutable likewise
	ended int    // orphans that may have been of this tree and were buried; guarded by p.mu
}

// newMarked makes a tree with a number that no other has.
func newMarked(p *Processes, vars []string) (*marked, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range maxTrees {
		p.made++
		if token := p.own | p.made%maxTrees; !p.tokens[token] {
			p.tokens[token] = true
			for _, v := range vars {
				name, _, _ := strings.Cut(v, "=")
				p.names[name] = true
			}
			return &marked{p: p, vars: vars, token: token}, nil
		}
	}
	return nil, errors.New("too many programs run at once")
}

func (m *marked) prepare(cmd *exec.Cmd) { cmd.SysProcAttr.Setsid = true }

// alive counts. Where this process has no child at all, one system call tells; else
// /proc is read. A look at it may miss processes that fork and exit: they leave
// orphans that have ended, and as long as such are found the tree is not known to be
// empty. Neither is it where /proc can't be read.
func (m *marked) alive() int {
	for range 4 {
		if _, err := endedChild(); errors.Is(err, unix.ECHILD) {
			return 0
		}
		before := m.buried()
		t := newTable()
		if n := len(m.members(t)); n > 0 {
			return n
		}
		for _, s := range t.children(unix.Getpid()) {
			if s.zombie {
				m.p.bury(s.pid)
			}
		}
		if t.err == nil && m.buried() == before {
			return 0
		}
	}
	return 1
}

func (m *marked) buried() int {
	m.p.mu.Lock()
	defer m.p.mu.Unlock()
	return m.ended
}

func (m *marked) signal(sig syscall.Signal) {
	for _, s := range m.members(newTable()) {
		signalStat(s, sig)
	}
	if sig == unix.SIGKILL {
		hunt(func(s stat) bool {
			n, _ := markOf(s.pid)
			return n == m.token || s.parent == unix.Getpid() && m.owns(s)
		})
	}
}

func (m *marked) release(bool) {
	m.p.mu.Lock()
	defer m.p.mu.Unlock()
	delete(m.p.marks, m)
	delete(m.p.tokens, m.token)
}

// members are the live processes of the tree.
func (m *marked) members(t table) []stat {
	byParent := t.byParent()
	var found []stat
	var take func(stat)
	take = func(s stat) {
		if !s.zombie {
			found = append(found, s)
		}
		for _, child := range byParent[s.pid] {
			take(child)
		}
	}
	for _, child := range byParent[unix.Getpid()] {
		if m.owns(child) {
			take(child)
		}
	}
	return found
}

// owns reports whether a child of this process is of this tree.
func (m *marked) owns(child stat) bool {
	m.p.mu.Lock()
	defer m.p.mu.Unlock()
	if !m.p.orphan(child.pid) {
		return child.pid == m.root && child.start == m.since
	}
	if child.zombie {
		return false
	}
	certain := m.p.certain
	if n, _ := markOf(child.pid); n != 0 {
		if n.sameOwner(m.p.own) {
			return n == m.token
		}
		// A worker that one of our tools had started has left it.
		if certain = n.sameNamespace(m.p.own) && n.ownerDead(child); !certain {
			return false
		}
	} else if vars, err := environOf(child.pid); err == nil && m.p.hasMark(vars) {
		return hasAll(vars, m.vars)
	}
	if !certain {
		m.p.once(child.pid, "a process without a mark has fallen to this worker: it is not stopped, since it may be no tool's")
		return false
	}
	return m.last(child)
}

// last reports whether a child that is of one of our calls can be of this one only.
// p.mu is held.
func (m *marked) last(child stat) bool {
	if child.start < m.since {
		return false
	}
	for other := range m.p.marks {
		if other != m && other.since <= child.start {
			return false // it may be theirs: the last of them to end takes it
		}
	}
	return true
}

// environOf are the variables that a process was started with, each with a zero
// byte before and after. It can be unreadable where the process runs as another
// user.
func environOf(pid int) ([]byte, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err == nil && len(text) == 0 {
		err = unix.ESRCH
	}
	return append([]byte{0}, text...), err
}

// hasMark reports whether a process has a variable that marks trees. p.mu is held.
func (p *Processes) hasMark(vars []byte) bool {
	for name := range p.names {
		if bytes.Contains(vars, []byte("\x00"+name+"=")) {
			return true
		}
	}
	return false
}

func hasAll(vars []byte, all []string) bool {
	for _, v := range all {
		if !bytes.Contains(vars, []byte("\x00"+v+"\x00")) {
			return false
		}
	}
	return true
}

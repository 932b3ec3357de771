package tools

import (
	"bytes"
	"hash/fnv"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// A marked tree is found again among the descendants of this process. Since it
// is a subreaper, each process of each call is one of them, whatever session it
// has made; and nobody else ever is, so that no stranger can be hit. Which call
// a child of ours belongs to, with all below it, is told by
//   - its being the program that was started;
//   - a number in its limit of file locks (RLIMIT_LOCKS), which is handed down
//     through fork, exec, setsid, setuid and env -i, which no kernel since 2.4.25
//     enforces, and which everybody may read;
//   - where something has changed that, the variables of its environment;
//   - where those are gone too, its age: it belongs to none of the calls that
//     still run if it is older than they are.
type marked struct {
	p     *Processes
	vars  []string
	token uint64
	root  int    // pid; immutable once the tree is in p.marks
	since uint64 // its start, in clock ticks since boot; immutable likewise
}

func newMarked(p *Processes, vars []string) *marked {
	h := fnv.New64a()
	for _, v := range vars {
		h.Write(append([]byte(v), 0))
	}
	// From 2^62 to 2^63: above any limit that somebody means, and below infinity.
	return &marked{p: p, vars: vars, token: h.Sum64()>>2 | 1<<62}
}

func (m *marked) prepare(cmd *exec.Cmd) { cmd.SysProcAttr.Setsid = true }

// limit gives this process the tree's number, for the length of a fork, and
// returns what takes it back. Where the limit can't be set the tree is told by
// its environment alone.
func (m *marked) limit() func() {
	var before unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_LOCKS, &before) != nil {
		return func() {}
	}
	if unix.Setrlimit(unix.RLIMIT_LOCKS, &unix.Rlimit{Cur: m.token, Max: before.Max}) != nil {
		return func() {}
	}
	return func() { _ = unix.Setrlimit(unix.RLIMIT_LOCKS, &before) }
}

// alive counts. Where this process has no child at all, one system call tells;
// else /proc is read, and read again where it changed meanwhile.
func (m *marked) alive() int {
	if _, err := endedChild(); err == unix.ECHILD {
		return 0
	}
	for range 3 {
		t := newTable()
		if n := len(m.members(t)); n > 0 || !t.torn {
			return n
		}
	}
	return 0
}

func (m *marked) signal(sig syscall.Signal) {
	for _, s := range m.members(newTable()) {
		signalStat(s, sig)
	}
}

func (m *marked) release(bool) {
	m.p.mu.Lock()
	defer m.p.mu.Unlock()
	delete(m.p.marks, m)
}

// members are the live processes of the tree.
func (m *marked) members(t table) []stat {
	byParent := map[int][]stat{}
	for _, s := range t.all {
		byParent[s.parent] = append(byParent[s.parent], s)
	}
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
	if n, ok := lockLimit(child.pid); ok && n >= 1<<62 && n < 1<<63 {
		return n == m.token
	}
	if vars, ok := environOf(child.pid); ok && (hasVar(vars, "TOOL_USE_ID") || hasVar(vars, serverVar)) {
		return hasAll(vars, m.vars)
	}
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

// lockLimit is the soft limit of file locks of a process.
func lockLimit(pid int) (uint64, bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits")
	if err != nil {
		return 0, false
	}
	_, rest, ok := bytes.Cut(text, []byte("\nMax file locks"))
	fields := bytes.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(fields[0]), 10, 64)
	return n, err == nil
}

// environOf are the variables that a process was started with, each with a zero
// byte before and after. It can be unreadable where the process runs as another
// user.
func environOf(pid int) ([]byte, bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	return append([]byte{0}, text...), err == nil && len(text) > 0
}

func hasVar(vars []byte, name string) bool { return bytes.Contains(vars, []byte("\x00"+name+"=")) }

func hasAll(vars []byte, all []string) bool {
	for _, v := range all {
		if !bytes.Contains(vars, []byte("\x00"+v+"\x00")) {
			return false
		}
	}
	return true
}

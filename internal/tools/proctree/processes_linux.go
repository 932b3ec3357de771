package proctree

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// toolUmask is the umask of tools. The worker's own is stricter.
const toolUmask = 0o022

const (
	// maxSaid bounds how many processes the log remembers to have named.
	maxSaid = 1000
	// buryInterval is how often process 1 buries orphans while nothing else makes
	// it look: they may be no tool's.
	buryInterval = 5 * time.Second
)

// Processes owns the process trees of exec tools: it makes them, ends them
// whole, and reaps what they leave behind. One a process, since orphans fall to
// the process and not to a part of it: each child that another part of the
// process starts must stay in the worker's own process group, or its exit status
// may be taken from it.
type Processes struct {
	log     *slog.Logger
	groups  *cgroups // nil: trees are told by marks
	own     mark     // names this process in the marks of its tools; 0: none can be given
	certain bool     // no orphan falls to this process but those of its tools
	starts  chan func()
	quit    chan struct{}
	ended   chan struct{} // closed when the starting thread is gone

	mu     sync.Mutex
	roots  map[int]struct{}     // programs started here and not yet waited for; guarded by mu
	marks  map[*marked]struct{} // trees told by marks, while they live; guarded by mu
	tokens map[mark]bool        // of the trees that are made; guarded by mu
	names  map[string]bool      // of the variables that mark trees; guarded by mu
	made   mark                 // the number of the last tree; guarded by mu

	saidMu sync.Mutex
	said   map[int]bool // processes that the log has named; guarded by saidMu
}

// New makes this process the one that orphans of its tools fall to,
// and finds out whether cgroups can hold them; what dead workers of this pid
// namespace have left is stopped. It fails where nothing tells whose a process is, or whether
// any is left.
// Close releases what it made.
func New(opts Options) (*Processes, error) {
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become the subreaper of tools: %w", err)
	}
	// What the worker was started with (a supervisor's socket, a shell's pipe) is
	// not for tools; what Go opens itself is close-on-exec. Kernels before 5.11
	// can't, and lack nothing else by it.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	p := &Processes{
		log:    log,
		starts: make(chan func()),
		quit:   make(chan struct{}),
		ended:  make(chan struct{}),
		roots:  map[int]struct{}{},
		marks:  map[*marked]struct{}{},
		tokens: map[mark]bool{},
		names:  map[string]bool{},
		said:   map[int]bool{},
	}
	var noMark error
	if p.own, noMark = ownMark(); noMark == nil {
		p.certain = p.onlyOurs()
	}
	go p.serveStarts()
	if !opts.MarksOnly {
		groups, err := newCgroups(p.starts, log)
		if err != nil {
			log.Info("process trees are told by marks, since cgroups can't hold them", "reason", err)
		}
		p.groups = groups
	}
	if p.groups == nil && noMark != nil {
		return nil, errors.Join(fmt.Errorf("the processes of a tool can't be told from others: %w", noMark), p.Close())
	}
	p.tryMark(noMark)
	if _, err := p.stopLeft(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// onlyOurs reports whether all orphans that will fall to this process are those of
// its tools: it is not process 1, and has not inherited children from the program
// that it was before.
func (p *Processes) onlyOurs() bool {
	if unix.Getpid() == 1 {
		return false
	}
	return !slices.ContainsFunc(newTable().children(unix.Getpid()), func(s stat) bool {
		return !s.zombie && p.ownership(s) == unowned
	})
}

// tryMark logs what is lost where tools can't be given a mark.
func (p *Processes) tryMark(noMark error) {
	done := make(chan error, 1)
	p.starts <- func() {
		unset, err := p.own.set()
		unset()
		done <- err
	}
	if err := errors.Join(noMark, <-done); err != nil {
		p.log.Warn("tools can't be marked as this worker's: what is left of them where it is killed is stopped only if a cgroup holds it", "reason", err)
	}
}

// once logs text about the process pid, and not again.
func (p *Processes) once(pid int, text string) {
	p.saidMu.Lock()
	defer p.saidMu.Unlock()
	if p.said[pid] {
		return
	}
	if len(p.said) == maxSaid {
		clear(p.said)
	}
	p.said[pid] = true
	p.log.Warn(text, "pid", pid)
}

// Close releases what New made. Call it when no call runs any more; a
// cgroup that still holds processes kills them.
func (p *Processes) Close() error {
	close(p.quit)
	<-p.ended
	if p.groups != nil {
		return p.groups.close()
	}
	return nil
}

// serveStarts runs what is sent to starts on an OS thread of its own, whose
// umask is that of tools: Go can't set the umask of a child, a child has that of
// the thread that it is forked from, and the umask of the whole process is never
// loosened, not even for a moment in which the worker creates a file. One thread
// is enough, for Go forks under one lock anyway. The thread ends with the
// goroutine, because it stays locked to it.
func (p *Processes) serveStarts() {
	defer close(p.ended)
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The main thread can't end, and others read its state as the process's:
		// hold it, and take another.
		other := make(chan struct{})
		go func() { defer close(other); runtime.LockOSThread(); p.startUntilQuit() }()
		<-other
		runtime.UnlockOSThread()
		return
	}
	p.startUntilQuit()
}

func (p *Processes) startUntilQuit() {
	own := unix.Unshare(unix.CLONE_FS) == nil
	if own {
		unix.Umask(toolUmask)
	}
	var bury <-chan time.Time
	if unix.Getpid() == 1 {
		tick := time.NewTicker(buryInterval)
		defer tick.Stop()
		bury = tick.C
	}
	for {
		select {
		case <-bury:
			p.reap(false)
		case start := <-p.starts:
			if own {
				start()
				continue
			}
			// Some containers forbid unshare. Then the umask of the process is
			// loosened for the length of a fork; the store's directory, which
			// nobody else can enter, guards what is created meanwhile.
			worker := unix.Umask(toolUmask)
			start()
			unix.Umask(worker)
		case <-p.quit:
			return
		}
	}
}

func (p *Processes) newTree(marks []string) (tree, error) {
	if p.groups != nil {
		return p.groups.leaf()
	}
	return newMarked(p, marks)
}

// launch starts cmd as the root of t. mu is held meanwhile, so that nobody takes
// a program that ends at once for an orphan.
func (p *Processes) launch(ctx context.Context, cmd *exec.Cmd, t tree) error {
	result := make(chan error, 1)
	start := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		result <- p.startNow(cmd, t)
	}
	select {
	case p.starts <- start:
		return <-result
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-p.quit:
		return errors.New("the worker is stopping")
	}
}

func (p *Processes) startNow(cmd *exec.Cmd, t tree) error {
	if cmd.SysProcAttr.Credential != nil {
		// The child shares our memory until it has become another program, and
		// its change of user sets the dumpable flag of that memory to
		// fs.suid_dumpable, which some systems have at 1.
		defer keepDumpable()()
	}
	token := p.own
	m, ok := t.(*marked)
	if ok {
		token = m.token
	}
	unset, _ := token.set()
	err := cmd.Start()
	unset()
	if err != nil {
		return err
	}
	p.roots[cmd.Process.Pid] = struct{}{}
	if ok {
		m.root = cmd.Process.Pid
		if s, ok := statOf(m.root); ok {
			m.since = s.start
		}
		p.marks[m] = struct{}{}
	}
	return nil
}

// keepDumpable remembers whether this process may be read by others of its user,
// and returns what restores it.
func keepDumpable() func() {
	before, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	return func() {
		if now, e := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err == nil && e == nil && now > before {
			_ = unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(before), 0, 0, 0)
		}
	}
}

// forget takes note that the program pid has been waited for.
func (p *Processes) forget(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.roots, pid)
}

// reap buries the orphans that have fallen to this process and ended. It leaves
// alone what was started here, for os/exec waits for it, and what is in the
// worker's own process group, for somebody else in this process does. Such a one
// hides the orphans behind it: only whoever asks for all of them pays for a look
// at each process, others take what costs a system call or two.
func (p *Processes) reap(all bool) {
	for {
		pid, err := endedChild()
		if err != nil || pid == 0 {
			return
		}
		if !p.bury(pid) {
			break
		}
	}
	if !all {
		return
	}
	for _, s := range newTable().children(unix.Getpid()) {
		if s.zombie {
			p.bury(s.pid)
		}
	}
}

// hasOrphans reports whether this process has children that tools have left.
func (p *Processes) hasOrphans() bool {
	children := newTable().children(unix.Getpid())
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(children, func(s stat) bool { return p.orphan(s.pid) })
}

// bury reports whether pid was an orphan and is buried.
func (p *Processes) bury(pid int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.orphan(pid) {
		return false
	}
	var token mark
	if len(p.marks) > 0 {
		token, _ = markOf(pid)
	}
	var ws unix.WaitStatus
	got, err := unix.Wait4(pid, &ws, unix.WNOHANG, nil)
	if err != nil || got != pid {
		return false
	}
	for m := range p.marks {
		if token == m.token || !token.sameOwner(p.own) {
			m.ended++
		}
	}
	return true
}

// orphan reports whether pid, a child of this process, was started by a tool and
// not by this process. mu is held.
func (p *Processes) orphan(pid int) bool {
	if _, ours := p.roots[pid]; ours {
		return false
	}
	group, err := unix.Getpgid(pid)
	return err == nil && group != unix.Getpgrp()
}

// Harden forbids other processes of the same user to read this one's memory and
// environment, where its credentials are (PR_SET_DUMPABLE 0). Call it first of
// all. From then on this process's own files in /proc belong to root: as another
// user it can't read /proc/self/environ or /proc/self/fd any more, nor make user
// namespaces. It hides nothing from a tool that runs as root.
func Harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hide the worker's memory from its tools: %w", err)
	}
	return nil
}

package proctree

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// groupPrefix begins the name of each worker's cgroup, which has the form groupName.
const groupPrefix = "toolhand-"

var groupName = regexp.MustCompile(`^toolhand-[0-9]+-[0-9]+$`)

// cgroups are the cgroups of one worker's calls: a directory of the worker's
// own, and in it a leaf for each call. The worker holds a lock on its directory,
// which the kernel drops with the worker, however it ends; a directory without
// one was left by a dead worker.
type cgroups struct {
	dir  string
	lock *os.File

	mu   sync.Mutex
	made uint64   // leaves so far, which are named by it; guarded by mu
	idle []string // the names of leaves of calls that have ended, as good as new; guarded by mu
}

// maxIdle is how many leaves wait for a call. To make and remove one costs a tenth
// of what the start of a small program does.
const maxIdle = 16

// newCgroups makes this worker's directory in its own cgroup, where a cgroup2
// hierarchy is mounted and may be written, and tries it. starts runs the trial
// on the thread that starts programs.
func newCgroups(starts chan<- func(), log *slog.Logger) (*cgroups, error) {
	own, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	sweepCgroups(own, log)
	g := &cgroups{}
	for try := 0; g.lock == nil; try++ {
		g.dir = filepath.Join(own, groupPrefix+strconv.Itoa(os.Getpid())+"-"+strconv.Itoa(try))
		if g.lock, err = claimCgroup(g.dir); err != nil && (!errors.Is(err, fs.ErrExist) || try == 100) {
			return nil, err
		}
	}
	tried := make(chan error, 1)
	starts <- func() { tried <- g.trial() }
	if err := <-tried; err != nil {
		_ = g.close()
		return nil, err
	}
	return g, nil
}

// ownCgroup is the directory of this process's cgroup.
func ownCgroup() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(groups)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return cgroupDir(string(mounts), path)
		}
	}
	return "", errors.New("this process is in no cgroup of version 2")
}

// cgroupDir finds the directory of the cgroup path in a text of the form
// proc_pid_mountinfo(5).
func cgroupDir(mounts, path string) (string, error) {
	for line := range strings.Lines(mounts) {
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		rel, err := filepath.Rel(unescape(fields[3]), path)
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			continue
		}
		return filepath.Join(unescape(fields[4]), rel), nil
	}
	return "", errors.New("no cgroup2 file system that shows this process's cgroup is mounted")
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// claimCgroup makes the directory and locks it. Another worker may take it for a
// dead one's and remove it between the two; then there is nothing at its name, or
// another directory.
func claimCgroup(dir string) (*os.File, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, errors.Join(err, fs.ErrExist))
	}
	held, err1 := lock.Stat()
	named, err2 := os.Stat(dir)
	if err1 != nil || err2 != nil || !os.SameFile(held, named) {
		lock.Close()
		return nil, fmt.Errorf("%s was removed: %w", dir, fs.ErrExist)
	}
	return lock, nil
}

// sweepCgroups kills and removes what dead workers left.
func sweepCgroups(own string, log *slog.Logger) {
	left, _ := filepath.Glob(filepath.Join(own, groupPrefix+"*"))
	for _, dir := range left {
		if !groupName.MatchString(filepath.Base(dir)) {
			continue // another's, such as a unit of that name
		}
		lock, err := os.Open(dir)
		if err != nil {
			continue
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			log.Info("kill what a dead worker left", "cgroup", dir)
			if err := removeCgroup(dir); err != nil {
				log.Warn("a dead worker's cgroup can't be removed", "error", err)
			}
		}
		lock.Close()
	}
}

// removeCgroup kills what is in a cgroup and below, and removes it.
func removeCgroup(dir string) error {
	for until := time.Now().Add(killGrace); ; time.Sleep(time.Millisecond) {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
		err := removeEmpty(dir)
		if err == nil || time.Now().After(until) {
			return err
		}
	}
}

// removeEmpty removes a cgroup in which nothing lives, with those below it that
// a tool may have made.
func removeEmpty(dir string) error {
	err := unix.Rmdir(dir)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	inner, _ := filepath.Glob(filepath.Join(dir, "*", "cgroup.events"))
	for _, file := range inner {
		_ = removeEmpty(filepath.Dir(file))
	}
	if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
		return fmt.Errorf("remove the cgroup %s: %w", dir, err)
	}
	return nil
}

// trial starts a program that does not exist in a leaf. The kernel looks for the
// program only after it has put the child into the cgroup: to hear that there is
// no such program means that the rest works.
func (g *cgroups) trial() error {
	leaf, err := g.leaf()
	if err != nil {
		return err
	}
	defer leaf.release(false)
	if _, err := os.Stat(filepath.Join(leaf.dir, "cgroup.kill")); err != nil {
		return fmt.Errorf("the kernel is older than 5.14: %w", err)
	}
	cmd := &exec.Cmd{Path: filepath.Join(leaf.dir, "no-such-program"), SysProcAttr: &syscall.SysProcAttr{}}
	leaf.prepare(cmd)
	if err := cmd.Start(); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("a program can't be started in a cgroup: %w", err)
	}
	return nil
}

func (g *cgroups) close() error {
	defer g.lock.Close()
	return removeCgroup(g.dir)
}

// leaf is the cgroup of one call: one that waits, or a new one.
func (g *cgroups) leaf() (*leaf, error) {
	dir, isNew := g.take()
	if isNew {
		if err := unix.Mkdir(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make the cgroup %s: %w", dir, err)
		}
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = unix.Rmdir(dir)
		return nil, fmt.Errorf("open the cgroup %s: %w", dir, err)
	}
	return &leaf{of: g, dir: dir, fd: fd}, nil
}

// take is a leaf that nobody has, or the name of one that is not there yet.
func (g *cgroups) take() (dir string, isNew bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := len(g.idle); n > 0 {
		dir, g.idle = g.idle[n-1], g.idle[:n-1]
		return dir, false
	}
	g.made++
	return filepath.Join(g.dir, strconv.FormatUint(g.made, 10)), true
}

// keep takes a leaf back, if there is room for it.
func (g *cgroups) keep(dir string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.idle) == maxIdle {
		return false
	}
	g.idle = append(g.idle, dir)
	return true
}

// A leaf is a tree that a cgroup holds: nothing leaves it by changing its session
// or its parent.
type leaf struct {
	of  *cgroups
	dir string
	fd  int
}

func (l *leaf) prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr.Setsid = true
	cmd.SysProcAttr.UseCgroupFD = true
	cmd.SysProcAttr.CgroupFD = l.fd
}

// alive reports 1 for any number. What can't be read counts as alive: the leaf
// is not removed before it is known to be empty.
func (l *leaf) alive() int {
	if events, err := l.read("cgroup.events"); err != nil || !bytes.Contains(events, []byte("populated 0")) {
		return 1
	}
	return 0
}

// asNew reports whether the leaf is as it was made: nothing lives in it, it is not
// frozen, nothing was made below it, and no controller was handed down from it (in
// such a one nothing could be started). A tool of the worker's own user may do all
// of that.
func (l *leaf) asNew() bool {
	events, err := l.read("cgroup.events")
	if err != nil || string(events) != "populated 0\nfrozen 0\n" {
		return false
	}
	var st unix.Stat_t
	if unix.Fstat(l.fd, &st) != nil || st.Nlink != 2 {
		return false
	}
	down, err := l.read("cgroup.subtree_control")
	return err == nil && len(bytes.TrimSpace(down)) == 0
}

// read reads a small file of the leaf.
func (l *leaf) read(name string) ([]byte, error) {
	fd, err := unix.Openat(l.fd, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	buf := make([]byte, 256)
	n, err := unix.Read(fd, buf)
	return buf[:max(n, 0)], err
}

func (l *leaf) signal(sig syscall.Signal) {
	if sig == syscall.SIGKILL {
		_ = os.WriteFile(filepath.Join(l.dir, "cgroup.kill"), []byte("1"), 0)
		return
	}
	_ = filepath.WalkDir(l.dir, func(dir string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			signalCgroup(dir, sig)
		}
		return nil
	})
}

// signalCgroup sends sig to each process that is in the cgroup dir itself.
func signalCgroup(dir string, sig syscall.Signal) {
	file, err := os.Open(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil || pid == 0 {
			continue // 0 stands for a process of another pid namespace
		}
		send(pid, sig, func() bool {
			now, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
			name := filepath.Join(filepath.Base(filepath.Dir(dir)), filepath.Base(dir))
			return err == nil && strings.Contains(string(now), name+"\n")
		})
	}
}

// release keeps the leaf for the next call, unless something in it was killed: newer
// kernels count the kills of a cgroup, and compare the count with that of the
// worker's own when a program is started in it, which then dies at once.
func (l *leaf) release(quiet bool) {
	clean := quiet && l.asNew()
	unix.Close(l.fd)
	if !clean || !l.of.keep(l.dir) {
		_ = removeEmpty(l.dir)
	}
}

package proctree

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A mark is a number in the soft limit of file locks (RLIMIT_LOCKS) of each process
// of a tool: no kernel since 2.4.25 enforces that limit, fork, exec, setsid, setuid
// and env -i hand it down, and everybody may read it. It names the worker that owns
// the process in a way that another one can tell whether that worker still lives,
// and the call:
//
//	bits 63, 62  0 1: above any limit that somebody means, and below infinity
//	bits 61-46   the end of the inode of the owner's pid namespace
//	bits 45-24   the owner's pid
//	bits 23-14   the end of the owner's start, in clock ticks since boot
//	bits 13-0    the number of the call among those of the owner that run
type mark uint64

const (
	markBit    = 1 << 62
	spaceShift = 46
	pidShift   = 24
	startShift = 14
	maxTrees   = 1 << startShift
)

// ownMark is the mark of this process, with the number 0.
func ownMark() (mark, error) {
	const mount = "/proc does not show the processes of this pid namespace: mount it"
	if self, err := os.Readlink("/proc/self"); err != nil {
		return 0, fmt.Errorf("%s: %w", mount, err)
	} else if self != strconv.Itoa(os.Getpid()) {
		return 0, fmt.Errorf("%s: /proc/self is %q", mount, self)
	}
	ns, err := strconv.ParseUint(pidNamespace(), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the pid namespace of this process can't be told: %w", err)
	}
	own, ok := statOf(os.Getpid())
	if !ok {
		return 0, fmt.Errorf("/proc/%d/stat can't be read", os.Getpid())
	}
	return markBit | mark(ns%(1<<16))<<spaceShift | mark(own.pid)<<pidShift | mark(own.start%(1<<10))<<startShift, nil
}

// markOf is the mark of a process, or 0.
func markOf(pid int) (mark, error) {
	n, err := lockLimit(pid)
	if n < markBit || n >= markBit<<1 {
		n = 0
	}
	return mark(n), err
}

func (m mark) sameOwner(as mark) bool     { return m>>startShift == as>>startShift }
func (m mark) sameNamespace(as mark) bool { return m>>spaceShift == as>>spaceShift }

// ownerDead reports whether the owner of the process of, which has this mark, lives
// no more. The mark is one of this pid namespace.
func (m mark) ownerDead(of stat) bool {
	pid := int(m >> pidShift % (1 << (spaceShift - pidShift)))
	start := uint64(m >> startShift % (1 << (pidShift - startShift)))
	now, ok := statOf(pid)
	if !ok {
		return isGone(pid)
	}
	return now.zombie || now.start%(1<<10) != start || now.start > of.start
}

// isGone reports whether there is no process pid. That /proc does not show one
// proves nothing, for it may hide those of other users.
func isGone(pid int) bool { return unix.Kill(pid, 0) == unix.ESRCH }

// set gives this process the mark, for the length of a fork, and returns what takes
// it back. Where that is not allowed trees are told by their environment alone.
func (m mark) set() (func(), error) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_LOCKS, &before); err != nil || m == 0 {
		return func() {}, err
	}
	if err := unix.Setrlimit(unix.RLIMIT_LOCKS, &unix.Rlimit{Cur: uint64(m), Max: before.Max}); err != nil {
		return func() {}, err
	}
	return func() { _ = unix.Setrlimit(unix.RLIMIT_LOCKS, &before) }, nil
}

// lockLimit is the soft limit of file locks of a process, an ended one too.
func lockLimit(pid int) (uint64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits")
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(text, []byte("\nMax file locks"))
	if fields := bytes.Fields(rest); len(fields) > 0 && string(fields[0]) != "unlimited" {
		return strconv.ParseUint(string(fields[0]), 10, 64)
	}
	return 0, nil
}

// An ownership is what the marks of a process say of its owner.
type ownership int

const (
	unowned     ownership = iota // it has no mark that can be read
	ownedByLive                  // its owner lives, or can't be told to be dead
	ownedByDead                  // its owner is dead
	unread                       // for a lack of our own its marks could not be read
)

// errUnread is that of a process which is unread.
var errUnread = errors.New("a process's marks can't be read")

// ownership reads the marks of a process: the number, or where a tool changed that,
// the variable of an MCP server. The variables of a call name no owner.
func (p *Processes) ownership(s stat) ownership {
	n, err := markOf(s.pid)
	if n != 0 {
		if n.sameNamespace(p.own) && n.ownerDead(s) {
			return ownedByDead
		}
		return ownedByLive
	}
	mark, err2 := serverMarkOf(s.pid)
	switch {
	case mark == "" && (isLack(err) || isLack(err2)):
		return unread
	case mark == "":
		return unowned
	case serverOwnerDead(mark):
		return ownedByDead
	}
	return ownedByLive
}

// ServerMark is the variable that marks the processes of the nth MCP server of
// this worker. It names the worker as a mark does.
func (p *Processes) ServerMark(n uint64) string {
	own, _ := statOf(os.Getpid())
	return fmt.Sprintf("%s=%s:%d:%d:%d", ServerVar, pidNamespace(), os.Getpid(), own.start, n)
}

// pidNamespace names the namespace in which this process's pid counts; empty where
// it can't be told.
func pidNamespace() string {
	name, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.Trim(name, "pid:[]")
}

// serverMarkOf is the mark in the environment of a process, whole; empty where
// there is none that can be read.
func serverMarkOf(pid int) (string, error) {
	vars, err := environOf(pid)
	if err != nil {
		return "", err
	}
	_, rest, ok := bytes.Cut(vars, []byte("\x00"+ServerVar+"="))
	if !ok {
		return "", nil
	}
	value, _, _ := bytes.Cut(rest, []byte{0})
	return ServerVar + "=" + string(value), nil
}

// serverOwnerDead reports whether the worker that a server's mark names was of this
// pid namespace and lives no more.
func serverOwnerDead(mark string) bool {
	parts := strings.Split(strings.TrimPrefix(mark, ServerVar+"="), ":")
	if len(parts) != 4 || parts[0] == "" || parts[0] != pidNamespace() {
		return false
	}
	pid, err1 := strconv.Atoi(parts[1])
	start, err2 := strconv.ParseUint(parts[2], 10, 64)
	if err1 != nil || err2 != nil || pid <= 0 {
		return false
	}
	now, ok := statOf(pid)
	if !ok {
		return isGone(pid)
	}
	return now.start != start || now.zombie
}

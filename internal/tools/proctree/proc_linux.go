package proctree

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A stat is what /proc says of a process. pid and start together name it for
// ever: a pid alone is used again.
type stat struct {
	pid, parent int
	start       uint64 // clock ticks since boot
	// zombie reports that all its threads have ended. The first one alone may have
	// ended before the others.
	zombie bool
}

// A table is what /proc said of all processes at about one time.
type table struct {
	all map[int]stat
	// torn reports that processes came or went while the table was made, so that
	// it may lack one that lives.
	torn bool
	// err says that /proc could not be read: the table may lack anything.
	err error
}

// newTable reads /proc. It costs a few microseconds a process of the machine.
func newTable() table {
	t := table{all: map[int]stat{}}
	dir, err := os.Open("/proc")
	if err != nil {
		t.torn, t.err = true, err
		return t
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	t.torn, t.err = err != nil, err
	buf := make([]byte, 1024)
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		s, err := readStat("/proc/"+name+"/stat", buf)
		if err != nil {
			t.torn = true
			if isLack(err) {
				t.err = err
			}
			continue
		}
		t.all[s.pid] = s
	}
	for _, s := range t.all {
		if _, ok := t.all[s.parent]; !ok && s.parent != 0 {
			t.torn = true
		}
	}
	return t
}

// isLack reports whether it was for a lack of our own, such as of file descriptors,
// that /proc did not tell of a process: it is neither gone nor hidden from this user.
func isLack(err error) bool {
	return err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ESRCH) && !errors.Is(err, os.ErrPermission)
}

// children are the processes whose parent is pid.
func (t table) children(pid int) []stat {
	var found []stat
	for _, s := range t.all {
		if s.parent == pid {
			found = append(found, s)
		}
	}
	return found
}

// byParent are the children of each process.
func (t table) byParent() map[int][]stat {
	children := make(map[int][]stat, len(t.all))
	for _, s := range t.all {
		children[s.parent] = append(children[s.parent], s)
	}
	return children
}

// newestPID is the pid that this pid namespace has given out last, or 0.
func newestPID() int {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(string(bytes.TrimSpace(text[bytes.LastIndexByte(text, ' ')+1:])))
	return pid
}

// statOf reads what /proc says of one process.
func statOf(pid int) (stat, bool) {
	s, err := readStat("/proc/"+strconv.Itoa(pid)+"/stat", make([]byte, 1024))
	return s, err == nil
}

// errNoStat is a text that is no stat.
var errNoStat = errors.New("not of the form proc_pid_stat(5)")

// readStat reads a file of the form proc_pid_stat(5). The name of the program
// may hold anything, a parenthesis too: what counts begins after the last one.
func readStat(path string, buf []byte) (stat, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return stat{}, err
	}
	n, err := unix.Read(fd, buf)
	unix.Close(fd)
	if err != nil {
		return stat{}, err
	}
	if n <= 0 {
		return stat{}, unix.ESRCH
	}
	line := buf[:n]
	open, shut := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 2 || shut < open {
		return stat{}, errNoStat
	}
	fields := bytes.Fields(line[shut+1:])
	if len(fields) < 20 {
		return stat{}, errNoStat
	}
	pid, err1 := strconv.Atoi(string(line[:open-1]))
	parent, err2 := strconv.Atoi(string(fields[1]))
	start, err3 := strconv.ParseUint(string(fields[19]), 10, 64)
	ended := (fields[0][0] == 'Z' || fields[0][0] == 'X') && len(fields[17]) == 1 && fields[17][0] <= '1'
	return stat{pid: pid, parent: parent, start: start, zombie: ended}, errors.Join(err1, err2, err3)
}

// send sends sig to the process s, and to no other that has its pid by now:
// belongs is asked after the process is held fast.
func send(pid int, sig unix.Signal, belongs func() bool) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it is gone
	}
	defer unix.Close(fd)
	if belongs() {
		_ = unix.PidfdSendSignal(fd, sig, nil, 0)
	}
}

// endedChild is the pid of a child that has ended and that nobody has waited for
// yet, or 0. Asking does not take its exit status from anybody. The error is
// ECHILD where there is no child at all.
func endedChild() (int, error) {
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || info.Signo == 0 {
			return 0, err
		}
		// siginfo_t has three ints, then a union aligned as a pointer is, whose
		// first member is the pid (sigaction(2)); x/sys names none of them.
		word := unsafe.Sizeof(uintptr(0))
		offset := (3*unsafe.Sizeof(info.Signo) + word - 1) / word * word
		return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), offset))), nil
	}
}

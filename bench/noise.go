package main

import (
	"bytes"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxOthers is how much of the machine others may use during a visit.
const maxOthers = 0.06

// tick is the unit of /proc in seconds: USER_HZ is 100 on every Linux.
const tick = 0.01

// times are the processor times of processes by their ids.
type times map[int]used

// used is the processor time of a process, its children that it has joined
// included, in ticks.
type used struct {
	ticks  int64
	parent int
}

// noise tells how much others have used the machine since it was made.
type noise struct {
	since time.Time
	begin times
	busy  int64
}

func listen() noise { return noise{since: time.Now(), begin: processes(), busy: busy()} }

// others is the part of the machine that processes other than ours and their
// children have used, or that its host has kept for itself. Threads of the kernel work for us too and are
// left out. A process counts with the children that it has joined, the whole of
// their lives, so that what the machine did in all is a bound.
func (n noise) others(ours ...int) float64 {
	now := processes()
	others, all := int64(0), busy()-n.busy
	for pid, t := range now {
		if d := max(0, t.ticks-n.begin[pid].ticks); now.under(pid, ours) {
			all -= d
		} else {
			others += d
		}
	}
	return float64(max(0, min(others, all))) * tick / time.Since(n.since).Seconds() / float64(runtime.NumCPU())
}

// under reports whether a process is this one, one of ours, or a child of one of
// ours, however far down. (What else this process was started with is not.)
func (t times) under(pid int, ours []int) bool {
	if pid == os.Getpid() {
		return true
	}
	for ; pid > 1; pid = t[pid].parent {
		if slices.Contains(ours, pid) {
			return true
		}
	}
	return false
}

// awaitQuiet waits until others leave the machine alone for a while, or have not
// for too long: then the visit will say so.
func awaitQuiet() {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		around := listen()
		time.Sleep(500 * time.Millisecond)
		if around.others() <= maxOthers {
			return
		}
	}
}

func processes() times {
	all := times{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return all
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		// The name in parentheses may hold anything; what follows is numbers.
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		if len(fields) < 22 || fields[20] == "0" { // vsize: a thread of the kernel
			continue
		}
		var u used
		for _, i := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime
			n, _ := strconv.ParseInt(fields[i], 10, 64) // the kernel writes numbers
			u.ticks += n
		}
		u.parent, _ = strconv.Atoi(fields[1])
		all[pid] = u
	}
	return all
}

// busy is the time that the machine's processors have worked, or were not given to
// it by its host, in ticks.
func busy() int64 {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	fields := strings.Fields(string(line))
	if len(fields) < 9 {
		return 0
	}
	sum := int64(0)
	for _, i := range []int{1, 2, 3, 8} { // user, nice, system, steal
		n, _ := strconv.ParseInt(fields[i], 10, 64) // the kernel writes numbers
		sum += n
	}
	return sum
}

package tools

import (
	"time"

	"golang.org/x/sys/unix"
)

// StopLeft ends the process trees that a dead worker left of these calls, and
// returns how many processes there were. What was in a dead worker's cgroup is
// gone already (see [NewProcesses]); this finds the rest by its marks, wherever
// it has been handed to. Call it before anything of these calls is run again. It
// takes at most the time that a tree gets to end.
func (p *Processes) StopLeft(calls []Call) int {
	if len(calls) == 0 {
		return 0
	}
	trees := make([]*marked, len(calls))
	for i, call := range calls {
		trees[i] = newMarked(p, callVars(call))
	}
	return p.stopTrees(trees)
}

// stopTrees ends what lives of the trees of a dead worker.
func (p *Processes) stopTrees(trees []*marked) int {
	left := leftOf(trees)
	for _, s := range left {
		signalStat(s, unix.SIGTERM)
	}
	begun, found := time.Now(), len(left)
	for pause := time.Millisecond; len(left) > 0; pause = min(2*pause, 20*time.Millisecond) {
		time.Sleep(pause)
		if left = leftOf(trees); time.Since(begun) < termGrace {
			continue
		}
		for _, s := range left {
			signalStat(s, unix.SIGKILL)
		}
		if time.Since(begun) > termGrace+killGrace {
			p.log.Error("processes that a dead worker left survive SIGKILL", "count", len(left))
			break
		}
	}
	p.reap(true)
	return found
}

// leftOf are the live processes that carry the marks of one of the trees, and
// what descends from them.
func leftOf(trees []*marked) []stat {
	t := newTable()
	children := map[int][]stat{}
	for _, s := range t.all {
		children[s.parent] = append(children[s.parent], s)
	}
	found, seen := []stat(nil), map[int]bool{unix.Getpid(): true}
	var take func(stat)
	take = func(s stat) {
		if seen[s.pid] {
			return
		}
		seen[s.pid] = true
		if !s.zombie {
			found = append(found, s)
		}
		for _, child := range children[s.pid] {
			take(child)
		}
	}
	for _, s := range t.all {
		if !s.zombie && carries(s.pid, trees) {
			take(s)
		}
	}
	return found
}

// carries reports whether a process has the marks of one of the trees.
func carries(pid int, trees []*marked) bool {
	if n, ok := lockLimit(pid); ok && n >= 1<<62 && n < 1<<63 {
		for _, m := range trees {
			if n == m.token {
				return true
			}
		}
		return false
	}
	vars, ok := environOf(pid)
	if !ok || !hasVar(vars, "TOOL_USE_ID") && !hasVar(vars, serverVar) {
		return false
	}
	for _, m := range trees {
		if hasAll(vars, m.vars) {
			return true
		}
	}
	return false
}

func signalStat(s stat, sig unix.Signal) {
	send(s.pid, sig, func() bool {
		now, ok := statOf(s.pid)
		return ok && now.start == s.start
	})
}

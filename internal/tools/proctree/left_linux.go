package proctree

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// StopLeft ends the process trees that dead workers of this pid namespace have
// left, whatever they ran and whoever has started the workers, and returns how many
// processes there were. [New] does so too: this is for workers that have
// died since. marks are the variables that [Processes.Start] was given for what
// another worker has started: call it before anything of that is run again or
// answered for; without any it does nothing. It takes at most the time that a tree
// gets to end, and returns an error where it could not look for them meanwhile.
//
// What carries no mark of its owner is never stopped, for it may be another's: that
// it carries one of marks is logged.
func (p *Processes) StopLeft(marks [][]string) (int, error) {
	if len(marks) == 0 {
		return 0, nil
	}
	found, err := p.stopLeft()
	for _, s := range newTable().all {
		vars, err := environOf(s.pid)
		if err != nil || p.ownership(s) != unowned {
			continue
		}
		for _, mark := range marks {
			if hasAll(vars, mark) {
				p.log.Warn("a process that another worker has started carries no mark of that worker: it is not stopped",
					"marks", strings.Join(mark, " "), "pid", s.pid)
			}
		}
	}
	return found, err
}

// stopLeft ends what dead workers have left. That nothing can be looked at does not
// mean that there is nothing: it looks again, as long as a tree gets to end.
func (p *Processes) stopLeft() (found int, err error) {
	if p.own == 0 {
		return 0, nil
	}
	begun := time.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		left, err := p.leftByDead()
		since := time.Since(begun)
		switch {
		case err != nil && since > termGrace+killGrace:
			return found, fmt.Errorf("what dead workers have left can't be looked for: %w", err)
		case err == nil && len(left) == 0:
			p.reap(true)
			if found > 0 {
				p.log.Info("stopped what a dead worker left", "processes", found)
			}
			return found, nil
		case since > termGrace+killGrace:
			p.log.Error("processes that a dead worker left survive SIGKILL", "count", len(left), "pid", left[0].pid)
			return found, nil
		case found == 0:
			found = len(left)
			for _, s := range left {
				signalStat(s, unix.SIGTERM)
			}
		case since > termGrace:
			for _, s := range left {
				signalStat(s, unix.SIGKILL)
			}
			hunt(func(s stat) bool { return p.ownership(s) == ownedByDead })
		}
		time.Sleep(pause)
	}
}

// leftByDead are the live processes that carry the mark of a dead worker, and what
// descends from them; but not this process, from what it descends, and what a
// worker that lives has started. Where processes came and went meanwhile it looks
// again before it says that there is none.
func (p *Processes) leftByDead() ([]stat, error) {
	for range 3 {
		t := newTable()
		if found, err := p.leftIn(t); len(found) > 0 || err != nil || !t.torn {
			return found, err
		}
	}
	return nil, nil
}

// leftIn finds them in a table. The error says that some processes could not be
// looked at.
func (p *Processes) leftIn(t table) (found []stat, err error) {
	children := t.byParent()
	seen := map[int]bool{}
	for s, ok := t.all[os.Getpid()]; ok && !seen[s.pid]; s, ok = t.all[s.parent] {
		seen[s.pid] = true
	}
	var take func(stat)
	take = func(s stat) {
		if seen[s.pid] || p.ownership(s) == ownedByLive {
			return
		}
		seen[s.pid] = true
		if !s.zombie && p.maySignal(s.pid) {
			found = append(found, s)
		}
		for _, child := range children[s.pid] {
			take(child)
		}
	}
	err = t.err
	for _, s := range t.all {
		if s.zombie {
			continue
		}
		switch p.ownership(s) {
		case ownedByDead:
			take(s)
		case unread:
			err = cmp.Or(err, errUnread)
		}
	}
	return found, err
}

// maySignal reports whether a process is not beyond the rights of this one.
func (p *Processes) maySignal(pid int) bool {
	if unix.Kill(pid, 0) != unix.EPERM {
		return true
	}
	p.once(pid, "a process that a dead worker left runs as another user: it can't be stopped")
	return false
}

// hunt kills what is ours of the newest processes. A chain of processes of which
// each forks and exits may be faster than any look at all of them; but the newest
// pid of all is most often its.
func hunt(ours func(stat) bool) {
	for range 500 {
		if s, ok := statOf(newestPID()); ok && !s.zombie {
			send(s.pid, unix.SIGKILL, func() bool { return ours(s) })
		}
	}
}

func signalStat(s stat, sig unix.Signal) {
	send(s.pid, sig, func() bool {
		now, ok := statOf(s.pid)
		return ok && now.start == s.start
	})
}

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"toolhand/internal/testkit"
	"toolhand/internal/tools/handlertest"
)

// stayTool runs on when its worker dies, with a child in a session of its own that
// does harm later.
const stayTool = `#!/bin/sh
echo $TOOL_USE_ID >> ran.$TOOL_NAME
setsid sh -c 'echo $$ > child; sleep 30; echo $TOOL_USE_ID >> harm' &
while ! test -s child; do sleep 0.02; done
echo $$ $(cat child) > pids.new
mv pids.new pids
sleep 300
`

// withoutCgroups starts the worker where no cgroup is mounted, so that it tells
// process trees by their marks.
var withoutCgroups = []string{"unshare", "--mount", "sh", "-ec",
	"for at in $(grep ' cgroup2 ' /proc/mounts | cut -d ' ' -f 2); do umount -l $at; done; exec worker run"}

// lives reports whether a process runs; one that is dead and not yet waited for
// does not.
func lives(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return len(rest) > 0 && rest[0] != 'Z' && rest[0] != 'X'
}

// TestTreeLeftByDeadWorker kills a worker whose tool runs on. The next one stops
// the tool, with its child, before it answers for the call.
func TestTreeLeftByDeadWorker(t *testing.T) {
	t.Parallel()
	for _, way := range []struct {
		name string
		args []string
	}{{"cgroup", []string{"worker", "run"}}, {"marks", withoutCgroups}} {
		t.Run(way.name, func(t *testing.T) {
			if !handlertest.Alone(t) {
				return
			}
			l := newLoad(t, 1, map[string]string{"tools.d/stay.sh": stayTool, "tools.d/stay.yaml": manifestOf("stay", "stay.sh", "5m", false)})
			s := l.all[0]
			id := l.call(s, "stay")
			s.RequireAction()
			l.env = append(l.env, "TZ=Asia/Tokyo") // the journal keeps deadlines in UTC
			first := startIn(t, l.dir, "run1", l.env, way.args...)
			needs(t, first, way.name)
			pids := awaitPIDs(t, filepath.Join(l.dir, "tools.d/pids"))
			first.kill()
			begin := time.Now()
			for _, pid := range pids {
				if !lives(pid) && os.Geteuid() == 0 {
					t.Errorf("process %d ended with its worker", pid)
				}
			}
			l.watchSends(pids, func(pid int) { t.Errorf("process %d still ran when the call was answered", pid) })
			second := startIn(t, l.dir, "run2", l.env, way.args...)
			l.answered(t, second, time.Minute)
			if got, _ := s.Result(id); !got.IsError || !strings.Contains(got.Text(), "was interrupted by a worker restart: its outcome is unknown") {
				t.Errorf("the answer is %q", got.Text())
			}
			if _, err := os.Stat(filepath.Join(l.dir, "tools.d/harm")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the child has done its harm: %v", err)
			}
			t.Logf("answered %s after the kill", time.Since(begin).Round(time.Millisecond))
			if v := l.judge(t); v.unknown != 1 {
				t.Errorf("%+v", v)
			}
		})
	}
}

// needs says NOT TESTED where the worker can't tell trees in this way.
func needs(t *testing.T, r *running, way string) {
	t.Helper()
	if _, err := r.until(until(`"msg":"worker started"`)); err != nil {
		if way == "marks" && strings.Contains(r.text(), "unshare") && os.Geteuid() != 0 {
			t.Skip("NOT TESTED: a place without cgroups needs the right to make one, which this user has not")
		}
		t.Fatal(err)
	}
	if byMarks := strings.Contains(r.text(), "process trees are told by marks"); byMarks != (way == "marks") {
		if way == "cgroup" {
			t.Skip("NOT TESTED: this process has no cgroup of version 2 that it may write")
		}
		t.Fatalf("the worker uses cgroups:\n%s", r.text())
	}
}

// awaitPIDs waits until the tool has written its processes down.
func awaitPIDs(t *testing.T, path string) (pids []int) {
	t.Helper()
	testkit.Eventually(t, "the tool", func() bool { _, err := os.Stat(path); return err == nil })
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for word := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	}
	if len(pids) != 2 {
		t.Fatalf("the tool has the processes %v", pids)
	}
	return pids
}

// watchSends tells of each process that lives when a result arrives.
func (l *load) watchSends(pids []int, alive func(pid int)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onSend = func() {
		for _, pid := range pids {
			if lives(pid) {
				alive(pid)
			}
		}
	}
}

package proctree_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"toolhand/internal/testkit"
	"toolhand/internal/tools"
	toolexec "toolhand/internal/tools/exec"
	"toolhand/internal/tools/handlertest"
	"toolhand/internal/tools/proctree"
)

// leftCall is a call that a dead worker has started, as the journal tells of it.
func leftCall(deadline string) tools.Call {
	at, err := time.Parse(time.RFC3339Nano, deadline)
	if err != nil {
		panic(err)
	}
	return tools.Call{ID: "sevt_left", Tool: "family", Session: "sesn_left", Input: []byte(`{}`), Deadline: at}
}

// markedParent plays a worker without cgroups. Its deadlines are in local time.
func markedParent(dir, shape, deadline string) int {
	call := leftCall(deadline)
	call.Deadline = call.Deadline.Local()
	return parentOf(dir, shape, call, proctree.Options{MarksOnly: true})
}

// A parent is a worker of a test that is another process, and runs one tool.
type parentWorker struct {
	cmd *exec.Cmd
	dir string
}

// startParent starts a worker without cgroups, and waits for its tool.
func startParent(t *testing.T, shape, deadline string) *parentWorker {
	t.Helper()
	p := &parentWorker{dir: handlertest.PublicDir(t)}
	p.cmd = exec.Command(os.Args[0], handlertest.ChildArg, "marked parent", p.dir, shape, deadline)
	p.cmd.Stderr = os.Stderr
	p.cmd.Env = append(os.Environ(), "TZ=Asia/Tokyo")
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, name := range lines {
			line, _ := os.ReadFile(name)
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil && bytes.Contains(line, []byte(p.dir)) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	testkit.Eventually(t, "a tool", func() bool { return len(pids(p.dir)) == 1 })
	return p
}

// kill kills the worker, and leaves its tool.
func (p *parentWorker) kill(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	if !handlertest.Lives(pids(p.dir)[0]) {
		if os.Geteuid() != 0 {
			t.Skip("NOT TESTED: the tool is gone already: a worker outside this test was started in this moment")
		}
		t.Fatal("the tool ended with its worker")
	}
}

// TestStopLeft kills a worker, and stops what it has left; the tool of one that
// lives, and runs the same call, is left alone until that one is dead too.
func TestStopLeft(t *testing.T) {
	if !handlertest.Alone(t) {
		return
	}
	procs := handlertest.ProcessesWith(t, proctree.Options{MarksOnly: true})
	deadline := time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano)
	calls := [][]string{toolexec.Marks(leftCall(deadline))}
	alive := startParent(t, "env -i daemon", deadline)
	dead := startParent(t, "env -i daemon", deadline)
	dead.kill(t)
	if n, err := procs.StopLeft(nil); n != 0 || err != nil || !handlertest.Lives(pids(dead.dir)[0]) {
		t.Errorf("%d processes of no call were stopped", n)
	}
	if n, err := procs.StopLeft(calls); n < 1 || err != nil {
		t.Errorf("%d processes were left, want at least 1: %v", n, err)
	}
	if left := survivors(dead.dir); len(left) > 0 {
		t.Errorf("left of the call: %v", left)
	}
	if !handlertest.Lives(pids(alive.dir)[0]) {
		t.Error("the tool of a worker that lives is gone")
	}
	alive.kill(t)
	if _, err := procs.StopLeft(calls); err != nil {
		t.Error(err)
	}
	if left := survivors(alive.dir); len(left) > 0 {
		t.Errorf("left of the second: %v", left)
	}
}

// TestStartStopsLeft kills workers: the start of any other one stops what they have
// left, whichever way that one tells trees.
func TestStartStopsLeft(t *testing.T) {
	if !handlertest.Alone(t) {
		return
	}
	for name, opts := range map[string]proctree.Options{"best": {}, "marks": {MarksOnly: true}} {
		t.Run(name, func(t *testing.T) {
			dead := startParent(t, "stubborn daemon", time.Now().Add(time.Hour).Format(time.RFC3339Nano))
			dead.kill(t)
			handlertest.ProcessesWith(t, opts)
			if left := survivors(dead.dir); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestUnmarkedIsLeft kills a worker whose tool has changed the limit that holds the
// mark. Its variables name the call, but nobody can tell that its owner is dead: it
// is left alone, and logged.
func TestUnmarkedIsLeft(t *testing.T) {
	if !handlertest.Alone(t) {
		return
	}
	var log bytes.Buffer
	procs := handlertest.ProcessesWith(t, proctree.Options{MarksOnly: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	deadline := time.Now().Add(time.Hour).Format(time.RFC3339Nano)
	dead := startParent(t, "unlimited daemon", deadline)
	dead.kill(t)
	if _, err := procs.StopLeft([][]string{toolexec.Marks(leftCall(deadline))}); err != nil {
		t.Error(err)
	}
	if !handlertest.Lives(pids(dead.dir)[0]) {
		t.Error("a process without the mark of its owner is gone")
	}
	if !strings.Contains(log.String(), "TOOL_USE_ID=sevt_left") || !strings.Contains(log.String(), "it is not stopped") {
		t.Errorf("the log tells nothing of it: %s", log.String())
	}
}

// chain is a tool that is a chain of processes, each of which makes a session of its
// own, leaves a byte in a file, forks and exits. It uses system calls alone: only one
// thread of Go's is there after the first fork.
func chain(file string) int {
	fd, err := syscall.Open(file, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_APPEND, 0o644)
	if err != nil {
		return 1
	}
	return links(fd)
}

// TestChainIsCaught stops chains of processes that fork and exit faster than all of
// /proc can be looked at: one whose links make sessions, and one of a small program.
func TestChainIsCaught(t *testing.T) {
	if !handlertest.Alone(t) {
		return
	}
	chains := map[string][]string{
		"sessions": {os.Args[0], handlertest.ChildArg, "chain"},
		"shell":    {"sh", "-c", `exec >>"$0"; link() { echo; link & exit; }; link`},
	}
	handlertest.EachTree(t, func(t *testing.T, procs *proctree.Processes) {
		for name, command := range chains {
			t.Run(name, func(t *testing.T) {
				file := filepath.Join(handlertest.PublicDir(t), "steps")
				size := func() int64 {
					info, err := os.Stat(file)
					if err != nil {
						return 0
					}
					return info.Size()
				}
				h, err := toolexec.New(toolexec.Config{Command: append(command, file), Env: handlertest.QuickExit()}, tools.Common{Name: "chain", Dir: "/"}, procs)
				if err != nil {
					t.Fatal(err)
				}
				if text, isError := handlertest.Call(t, h, `{}`); isError {
					t.Fatal(text)
				}
				steps := size()
				time.Sleep(200 * time.Millisecond)
				if now := size(); now != steps {
					t.Errorf("the chain runs on: it had %d links when the call ended, and has %d", steps, now)
				}
				testkit.Enough(t, int(steps), 20, "links")
			})
		}
	})
}

// TestUnreadableIsNotEmpty stops a call while no file can be opened, /proc's neither:
// its tree is not taken for empty.
func TestUnreadableIsNotEmpty(t *testing.T) {
	handlertest.EachTree(t, func(t *testing.T, procs *proctree.Processes) {
		dir := handlertest.PublicDir(t)
		h := familyHandler(t, procs, "daemon", dir, "stay")
		var before syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = h.Call(ctx, handlertest.NewCall(`{}`))
		}()
		testkit.Eventually(t, "a member", func() bool { return len(pids(dir)) == 1 })
		none := before
		none.Cur = 3
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
			t.Fatal(err)
		}
		cancel()
		time.Sleep(300 * time.Millisecond)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
		<-done
		if left := survivors(dir); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// TestStopLeftSeesNothing looks for what a dead worker has left while no file can be
// opened, or /proc alone and nothing in it: that is not taken for nothing, but looked
// at again, and told where it lasts.
func TestStopLeftSeesNothing(t *testing.T) {
	if !handlertest.Alone(t) {
		return
	}
	procs := handlertest.ProcessesWith(t, proctree.Options{MarksOnly: true})
	deadline := time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano)
	calls := [][]string{toolexec.Marks(leftCall(deadline))}
	dead := startParent(t, "env -i daemon", deadline)
	dead.kill(t)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	limit := func(n uint64) {
		none := before
		none.Cur = n
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
			t.Error(err)
		}
	}
	next, err := os.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	one := uint64(next.Fd()) + 1 // the limit that lets one more file be opened
	next.Close()
	limit(one)
	if n, err := procs.StopLeft(calls); err == nil || n != 0 {
		t.Errorf("%d processes were found and no error, though nothing could be read", n)
	}
	limit(3)
	again := time.AfterFunc(300*time.Millisecond, func() { limit(before.Cur) })
	defer again.Stop()
	if n, err := procs.StopLeft(calls); err != nil || n < 1 {
		t.Errorf("%d processes were left, want at least 1: %v", n, err)
	}
	if left := survivors(dead.dir); len(left) > 0 {
		t.Errorf("left of the call: %v", left)
	}
}

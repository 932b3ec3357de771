package proctree_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"toolhand/internal/testkit"
	"toolhand/internal/tools"
	toolexec "toolhand/internal/tools/exec"
	"toolhand/internal/tools/handlertest"
	"toolhand/internal/tools/proctree"
)

// treeRoles are what this binary plays in tests of process trees.
func treeRoles() map[string]func([]string) int {
	return map[string]func([]string) int{
		"serve":         handlertest.ServeProgram,
		"family":        func(args []string) int { return family(args[0], args[1], args[2] == "stay") },
		"member":        func(args []string) int { return member(args[0], args[1]) },
		"worker":        worker,
		"marked parent": func(args []string) int { return markedParent(args[0], args[1], args[2]) },
		"chain":         func(args []string) int { return chain(args[0]) },
		"process 1":     func(args []string) int { return processOne(args[0], args[1]) },
		"parent":        func(args []string) int { return parent(args[0]) },
		"spy":           func([]string) int { return spy() },
	}
}

func notifyContext() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM)
}

// shapes are the ways in which a program may leave a process behind.
func shapes() []string {
	return []string{"plain", "background", "setsid", "daemon", "env -i setsid", "env -i daemon", "unlimited daemon", "unmarked daemon", "stubborn", "stubborn daemon", "other user"}
}

// family starts a member in the given way, waits until it is there, and then
// stays or ends well.
func family(shape, dir string, stay bool) int {
	kind := map[string]string{"stubborn": "stubborn", "stubborn daemon": "fork stubborn", "daemon": "fork hold", "env -i daemon": "fork hold", "unmarked daemon": "fork hold", "unlimited daemon": "fork hold"}[shape]
	if kind == "" {
		kind = "hold"
	}
	cmd := memberCmd(dir, kind)
	switch shape {
	case "background":
		cmd.SysProcAttr.Setpgid = true
	case "setsid", "daemon", "stubborn daemon":
		cmd.SysProcAttr.Setsid = true
	case "env -i setsid", "env -i daemon":
		cmd.SysProcAttr.Setsid = true
		cmd.Env = []string{""}
	case "unmarked daemon":
		cmd.SysProcAttr.Setsid = true
		cmd.Env = []string{""}
		_ = unix.Setrlimit(unix.RLIMIT_LOCKS, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	case "unlimited daemon":
		cmd.SysProcAttr.Setsid = true
		_ = unix.Setrlimit(unix.RLIMIT_LOCKS, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	case "other user":
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() { _ = cmd.Wait() }()
	for until := time.Now().Add(time.Minute); len(pids(dir)) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			return 1
		}
	}
	if stay {
		time.Sleep(5 * time.Minute)
	}
	fmt.Print("done")
	return 0
}

func memberCmd(dir, kind string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], handlertest.ChildArg, "member", dir, kind)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	return cmd
}

// member notes its pid in dir and stays; or it starts such a one in a session of
// its own, and ends.
func member(dir, kind string) int {
	switch kind {
	case "fork hold", "fork stubborn":
		cmd := memberCmd(dir, kind[len("fork "):])
		cmd.SysProcAttr.Setsid = true
		cmd.Env = os.Environ()
		if len(cmd.Env) == 0 {
			cmd.Env = []string{""}
		}
		if cmd.Start() != nil {
			return 1
		}
		return 0
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
	}
	name := filepath.Join(dir, strconv.Itoa(os.Getpid()))
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	time.Sleep(5 * time.Minute)
	return 0
}

// pids are those that members have noted in dir.
func pids(dir string) []int {
	entries, _ := os.ReadDir(dir)
	var found []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			found = append(found, pid)
		}
	}
	return found
}

// survivors are the processes of dir that are there, zombies too.
func survivors(dir string) []int {
	var found []int
	for _, pid := range pids(dir) {
		if !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			found = append(found, pid)
		}
	}
	return found
}

func familyHandler(t *testing.T, procs *proctree.Processes, shape, dir, how string) tools.Handler {
	t.Helper()
	if shape == "other user" && os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root can start a child of another user")
	}
	h, err := toolexec.New(toolexec.Config{Command: []string{handlertest.PublicBinary(t), handlertest.ChildArg, "family", shape, dir, how}, Env: handlertest.QuickExit()}, tools.Common{Name: "family", Dir: dir}, procs)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// besideOthers lets the shapes be tested beside one another, as the calls of a worker
// are: but for the one that can't be told from other calls' while they run.
func besideOthers(t *testing.T, shape string) {
	t.Helper()
	if shape != "unmarked daemon" {
		t.Parallel()
	}
}

// callOf is a call whose variables no other has.
func callOf(name string) tools.Call {
	call := handlertest.NewCall(`{}`)
	call.ID = "sevt_" + name
	return call
}

// TestNothingSurvivesTheDeadline counts what is left of a call that is stopped.
func TestNothingSurvivesTheDeadline(t *testing.T) {
	handlertest.EachTree(t, func(t *testing.T, procs *proctree.Processes) {
		for _, shape := range shapes() {
			t.Run(shape, func(t *testing.T) {
				besideOthers(t, shape)
				dir := handlertest.PublicDir(t)
				h := familyHandler(t, procs, shape, dir, "stay")
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() {
					_, err := h.Call(ctx, callOf(shape))
					done <- err
				}()
				testkit.Eventually(t, "a member", func() bool { return len(pids(dir)) == 1 })
				begin := time.Now()
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(begin); took > 3*time.Second {
					t.Errorf("stopping took %v", took)
				}
				if left := survivors(dir); len(left) > 0 {
					t.Errorf("left: %v", left)
				}
			})
		}
	})
}

// TestNothingSurvivesSuccess counts what is left of a call that ends well and
// leaves a process behind.
func TestNothingSurvivesSuccess(t *testing.T) {
	handlertest.EachTree(t, func(t *testing.T, procs *proctree.Processes) {
		for _, shape := range shapes() {
			t.Run(shape, func(t *testing.T) {
				besideOthers(t, shape)
				dir := handlertest.PublicDir(t)
				h := familyHandler(t, procs, shape, dir, "leave")
				r, err := h.Call(t.Context(), callOf(shape))
				if err != nil {
					t.Fatal(err)
				}
				if text := handlertest.Text(t, r); text != "done" || r.IsError {
					t.Errorf("got %q, error %t", text, r.IsError)
				}
				if left := survivors(dir); len(left) > 0 || len(pids(dir)) != 1 {
					t.Errorf("left: %v of %v", left, pids(dir))
				}
			})
		}
	})
}

// TestCallsLeaveEachOtherAlone stops one of two calls of the same shape, and then
// the other.
func TestCallsLeaveEachOtherAlone(t *testing.T) {
	if !handlertest.Alone(t) {
		return
	}
	handlertest.EachTree(t, func(t *testing.T, procs *proctree.Processes) {
		for _, shape := range shapes() {
			t.Run(shape, func(t *testing.T) {
				besideOthers(t, shape)
				var dirs [2]string
				var cancels [2]context.CancelFunc
				var done [2]chan struct{}
				for i := range dirs {
					dirs[i] = handlertest.PublicDir(t)
					h := familyHandler(t, procs, shape, dirs[i], "stay")
					var ctx context.Context
					ctx, cancels[i] = context.WithCancel(t.Context())
					done[i] = make(chan struct{})
					call := callOf(fmt.Sprint(shape, i))
					go func() {
						defer close(done[i])
						_, _ = h.Call(ctx, call)
					}()
				}
				testkit.Eventually(t, "two members", func() bool { return len(pids(dirs[0])) == 1 && len(pids(dirs[1])) == 1 })
				cancels[0]()
				<-done[0]
				if len(survivors(dirs[1])) != 1 {
					t.Error("the other call's process is gone")
				}
				// What carries no mark at all can't be told from the other call's:
				// it goes with the last of the two.
				if left := survivors(dirs[0]); len(left) > 0 && (shape != "unmarked daemon" || procs.Grouped()) {
					t.Errorf("left: %v", left)
				}
				cancels[1]()
				<-done[1]
				if left := append(survivors(dirs[0]), survivors(dirs[1])...); len(left) > 0 {
					t.Errorf("left in the end: %v", left)
				}
			})
		}
	})
}

// TestOrphansAreBuried lets a tool that runs on leave ended orphans, while this
// process has an ended child of its own that nobody waits for yet.
func TestOrphansAreBuried(t *testing.T) {
	if !handlertest.Alone(t) {
		return
	}
	handlertest.EachTree(t, func(t *testing.T, procs *proctree.Processes) {
		foreign := exec.Command("true")
		if err := foreign.Start(); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "an ended child", func() bool { return zombies() == 1 })
		dir := handlertest.PublicDir(t)
		h := handlertest.Shell(t, procs, `for i in 1 2 3 4; do (setsid sh -c 'echo > $$' &) ; done; until [ -e go ]; do sleep 0.02; done; cat`,
			func(cfg *toolexec.Config, _ *tools.Common) { cfg.Dir = dir })
		done := make(chan string, 1)
		go func() {
			text, _ := handlertest.Call(t, h, `{"a":1}`)
			done <- text
		}()
		testkit.Eventually(t, "four orphans", func() bool { return len(pids(dir)) == 4 })
		testkit.Eventually(t, "their burial while the tool runs", func() bool { return len(survivors(dir)) == 0 })
		if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if text := <-done; text != `{"a":1}` {
			t.Errorf("got %q", text)
		}
		if err := foreign.Wait(); err != nil {
			t.Errorf("the exit status of another child was taken: %v", err)
		}
	})
}

// zombies counts the children of this process that have ended.
func zombies() int {
	count := 0
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		var pid, parent int
		var name, state string
		line, _ := os.ReadFile(file)
		if n, _ := fmt.Sscan(string(line), &pid, &name, &state, &parent); n == 4 && state == "Z" && parent == os.Getpid() {
			count++
		}
	}
	return count
}

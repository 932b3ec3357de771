package proctree_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// TestDeadWorkersCgroup kills a worker outright while its tool runs: the next
// worker finds and kills what is left of it, and leaves a live one's alone.
func TestDeadWorkersCgroup(t *testing.T) {
	procs := handlertest.Processes(t)
	if !procs.Grouped() {
		t.Skip("NOT TESTED: no cgroup2 hierarchy can be written here")
	}
	dir := handlertest.PublicDir(t)
	start := func(name string) *exec.Cmd {
		cmd := exec.Command(os.Args[0], handlertest.ChildArg, "parent", filepath.Join(dir, name))
		cmd.Stderr = os.Stderr
		if err := os.Mkdir(filepath.Join(dir, name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		testkit.Eventually(t, "a tool", func() bool { return len(pids(filepath.Join(dir, name))) == 1 })
		return cmd
	}
	dead, alive := start("dead"), start("alive")
	_ = dead.Process.Kill()
	_ = dead.Wait()
	if len(survivors(filepath.Join(dir, "dead"))) != 1 {
		t.Error("the tool ended with its worker, so that this shows nothing")
	}
	_ = handlertest.Processes(t)
	// It has fallen to this process, which buries at the end of each call.
	testkit.Eventually(t, "the dead worker's tool to be killed", func() bool {
		_, _ = handlertest.Call(t, handlertest.Shell(t, procs, `:`), `{}`)
		return len(survivors(filepath.Join(dir, "dead"))) == 0
	})
	if len(survivors(filepath.Join(dir, "alive"))) != 1 {
		t.Error("the live worker's tool is gone")
	}
	_ = alive.Process.Signal(syscall.SIGTERM)
	if err := alive.Wait(); err != nil {
		t.Error(err)
	}
	if left := survivors(filepath.Join(dir, "alive")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestForeignCgroup starts a worker beside a cgroup whose name begins like those of
// workers: it is another's, and stays.
func TestForeignCgroup(t *testing.T) {
	procs := handlertest.Processes(t)
	if !procs.Grouped() {
		t.Skip("NOT TESTED: no cgroup2 hierarchy can be written here")
	}
	own := filepath.Dir(procs.GroupDir())
	for _, name := range []string{"toolhand-notes.service", "toolhand-1-2-3", "toolhand-1"} {
		dir := filepath.Join(own, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
	}
	_ = handlertest.Processes(t)
	for _, name := range []string{"toolhand-notes.service", "toolhand-1-2-3", "toolhand-1"} {
		if _, err := os.Stat(filepath.Join(own, name)); err != nil {
			t.Error(err)
		}
	}
}

// parent plays a worker that runs a tool until it is told to stop.
func parent(dir string) int {
	return parentOf(dir, "env -i daemon", handlertest.NewCall(`{}`), proctree.Options{})
}

// parentOf plays a worker that runs one call until it is told to stop.
func parentOf(dir, shape string, call tools.Call, opts proctree.Options) int {
	procs, err := proctree.New(opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer procs.Close()
	h, err := toolexec.New(toolexec.Config{Command: []string{os.Args[0], handlertest.ChildArg, "family", shape, dir, "stay"}, Env: handlertest.QuickExit()}, tools.Common{Name: "family", Dir: "/"}, procs)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, stop := notifyContext()
	defer stop()
	_, _ = h.Call(ctx, call)
	return 0
}

// TestCgroupsAreUsedAgain makes calls one after another, each of which leaves its
// cgroup in another state: what is not as new is not used again, and what stays
// holds nothing and goes with the worker.
func TestCgroupsAreUsedAgain(t *testing.T) {
	procs, err := proctree.New(proctree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !procs.Grouped() {
		_ = procs.Close()
		t.Skip("NOT TESTED: no cgroup2 hierarchy can be written here")
	}
	dir := procs.GroupDir()
	leaf := func() string {
		text, isError := handlertest.Call(t, handlertest.Shell(t, procs, `cat /proc/self/cgroup`), `{}`)
		_, path, ok := strings.Cut(text, "0::")
		if isError || !ok {
			t.Fatal(text)
		}
		return filepath.Join(dir, filepath.Base(strings.TrimSpace(path)))
	}
	first := leaf()
	if again := leaf(); again != first {
		t.Errorf("a new cgroup %s was made, and %s was there", again, first)
	}
	const killed, frozen = "killed", "frozen"
	spoil := map[string]string{
		"a cgroup below it": `mkdir "$D/inner"`,
		killed:              `trap "" TERM; while :; do sleep 0.1; done`,
		"a child was left":  `setsid sleep 100 >/dev/null 2>&1 &`,
		"killed by itself":  `echo 1 >"$D/cgroup.kill"`,
		frozen:              `echo 1 >"$D/cgroup.freeze"`,
	}
	for what, script := range spoil {
		was := leaf()
		deadline := 5 * time.Second
		if what == killed || what == frozen { // they don't end by themselves
			deadline = 500 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		_, _ = handlertest.Shell(t, procs, `D=`+was+`; `+script).Call(ctx, handlertest.NewCall(`{}`))
		cancel()
		if now := leaf(); now == was {
			t.Errorf("%s: used again", what)
		}
		if _, err := os.Stat(was); err == nil {
			t.Errorf("%s: %s is left", what, was)
		}
	}
	for _, left := range directories(mustGlob(t, filepath.Join(dir, "*/"))) {
		if data, err := os.ReadFile(filepath.Join(left, "cgroup.procs")); err != nil || len(data) > 0 {
			t.Errorf("%s holds %q, %v", left, data, err)
		}
	}
	if err := procs.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("%s is left", dir)
	}
}

func mustGlob(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func directories(names []string) []string {
	var found []string
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			found = append(found, name)
		}
	}
	return found
}

func TestCgroupDir(t *testing.T) {
	const v1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
	for _, c := range []struct{ mounts, path, want string }{
		{v1 + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n", "/", "/sys/fs/cgroup/unified"},
		{"30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n", "/system.slice/toolhand.service", "/sys/fs/cgroup/system.slice/toolhand.service"},
		{"30 23 0:26 /a/b /sys/fs/cg\\040x rw - cgroup2 cgroup2 rw\n", "/a/b/c", "/sys/fs/cg x/c"},
		{"30 23 0:26 /a/b /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "/a", ""},
		{v1, "/", ""},
	} {
		got, err := proctree.CgroupDir(c.mounts, c.path)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s in %q: got %q, %v", c.path, strings.TrimSpace(c.mounts), got, err)
		}
	}
}

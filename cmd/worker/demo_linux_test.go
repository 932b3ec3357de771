package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"toolhand/internal/testkit"
)

// TestDemoLeavesNothing stops a demo at several moments: no process and no file of it
// is left, and each end comes soon.
func TestDemoLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		at   string // stopped when this has been printed
		sigs []os.Signal
		code int
		says string
	}{
		"at the start":          {`toolhand demo`, []os.Signal{syscall.SIGINT}, 1, "worker: the demo was interrupted"},
		"in a call":             {`call    deploy `, []os.Signal{syscall.SIGINT}, 1, "worker: the demo was interrupted"},
		"after the kill":        {`worker  killed`, []os.Signal{syscall.SIGTERM}, 1, "worker: the demo was interrupted"},
		"twice":                 {`worker  killed`, []os.Signal{syscall.SIGINT, syscall.SIGTERM}, 1, "worker: "},
		"when it has come back": {`worker  back`, []os.Signal{syscall.SIGHUP}, 1, "worker: the demo was interrupted"},
		"not":                   {`left +0 `, nil, 0, "nothing ran twice"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "GORACE=atexit_sleep_ms=0"}
			r, err := launch(dir, filepath.Join(t.TempDir(), "log"), env, "demo")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(r.kill)
			if _, err := r.until(regexp.MustCompile(c.at)); err != nil {
				t.Fatal(err)
			}
			for _, sig := range c.sigs {
				_ = r.cmd.Process.Signal(sig) // it may have ended
			}
			if code, err := r.ends(); err != nil || code != c.code || !strings.Contains(r.text(), c.says) {
				t.Errorf("exit code %d, %v:\n%s", code, err, r.text())
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("files are left: %v", left)
			}
			if left := processesOf(dir); len(left) > 0 {
				t.Errorf("processes are left: %q", left)
			}
		})
	}
}

// TestDemoKilled: of a demo that is killed itself no process stays.
func TestDemoKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "GORACE=atexit_sleep_ms=0"}
	r, err := launch(dir, filepath.Join(t.TempDir(), "log"), env, "demo")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.until(regexp.MustCompile(`call    deploy `)); err != nil {
		t.Fatal(err)
	}
	r.kill()
	testkit.Eventually(t, "its worker and its tools end", func() bool { return len(processesOf(dir)) == 0 })
}

// processesOf are the processes that run in a folder or below, or are named it.
func processesOf(dir string) (found []string) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range all {
		cwd, _ := os.Readlink(filepath.Join(proc, "cwd"))
		line, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
		if strings.HasPrefix(cwd, dir+"/") || strings.Contains(string(line), dir+"/") {
			found = append(found, string(line))
		}
	}
	return found
}

package handlertest

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// aloneEnv says to a test binary that it runs one test for [Alone].
const aloneEnv = "HANDLERTEST_ALONE"

// Alone runs the test that calls it in a process of its own, and reports whether the
// caller is that process and is to go on. Where this user may make them, the process
// is in a pid namespace and a cgroup of its own: no worker outside, such as one of
// another package's tests, takes what the test leaves for its own to stop. What is so
// far from everything is a parallel test.
func Alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(aloneEnv) != "" || os.Geteuid() != 0 {
		return true
	}
	t.Parallel()
	names := strings.Split(t.Name(), "/")
	for i, name := range names {
		names[i] = "^" + regexp.QuoteMeta(name) + "$"
	}
	// A shell is process 1, and waits for what is left to it.
	cmd := exec.CommandContext(t.Context(), "unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", `"$0" "$@"; exit $?`,
		os.Args[0], "-test.v", "-test.run="+strings.Join(names, "/"), "-test.timeout="+flag.Lookup("test.timeout").Value.String())
	cmd.Env = append(os.Environ(), aloneEnv+"=1")
	if group := ownGroup(t); group != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("alone: %v\n%s", err, out)
	} else if regexp.MustCompile(`(?m)^--- SKIP`).Match(out) {
		t.Skipf("%s", out)
	} else if bytes.Contains(out, []byte("--- SKIP")) {
		t.Logf("%s", out) // a part of it
	}
	return false
}

// ownGroup makes a cgroup of version 2 until the end of the test; nil where none can be
// made.
func ownGroup(t *testing.T) *os.File {
	t.Helper()
	mounts, _ := os.ReadFile("/proc/mounts")
	groups, _ := os.ReadFile("/proc/self/cgroup")
	mount := regexp.MustCompile(`(?m)^\S+ (\S+) cgroup2 `).FindSubmatch(mounts)
	own := regexp.MustCompile(`(?m)^0::(.*)$`).FindSubmatch(groups)
	if mount == nil || own == nil {
		return nil
	}
	dir, err := os.MkdirTemp(filepath.Join(string(mount[1]), string(own[1])), "handlertest-")
	if err != nil {
		return nil
	}
	t.Cleanup(func() {
		left, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
		mid, _ := filepath.Glob(filepath.Join(dir, "*"))
		for _, d := range append(append(left, mid...), dir) {
			_ = syscall.Rmdir(d) // its files are no files to remove
		}
	})
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

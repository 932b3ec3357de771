package handlertest

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"

	"toolhand/internal/tools/proctree"
)

// Processes are those that a worker would have here, until the end of the test.
func Processes(t testing.TB) *proctree.Processes {
	t.Helper()
	return ProcessesWith(t, proctree.Options{})
}

// ProcessesWith is [Processes] with options.
func ProcessesWith(t testing.TB, opts proctree.Options) *proctree.Processes {
	t.Helper()
	procs, err := proctree.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := procs.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return procs
}

// EachTree runs f with each way of telling process trees that this system has. The
// first needs a cgroup that may be written, which not every place has that tests run
// in.
func EachTree(t *testing.T, f func(*testing.T, *proctree.Processes)) {
	if runtime.GOOS != "linux" {
		f(t, Processes(t))
		return
	}
	t.Run("cgroup", func(t *testing.T) {
		var log bytes.Buffer
		procs := ProcessesWith(t, proctree.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		if strings.Contains(log.String(), "told by marks") {
			t.Skip("NOT TESTED: no cgroup2 hierarchy can be written here")
		}
		f(t, procs)
	})
	t.Run("marks", func(t *testing.T) {
		f(t, ProcessesWith(t, proctree.Options{MarksOnly: true}))
	})
}

// Lives reports whether a process is there and no zombie.
func Lives(pid int) bool {
	if runtime.GOOS != "linux" {
		return false
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(text), ") Z ")
}

package proctree_test

import (
	"bytes"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"toolhand/internal/tools"
	toolexec "toolhand/internal/tools/exec"
	"toolhand/internal/tools/proctree"
)

// BenchmarkCall compares what a call of /bin/true costs with what Go's os/exec
// alone costs, with few other processes on the machine and with many.
func BenchmarkCall(b *testing.B) {
	for _, others := range []int{0, 1000} {
		name := strconv.Itoa(others) + " others/"
		stop := startOthers(b, others)
		b.Run(name+"os_exec", func(b *testing.B) {
			for b.Loop() {
				cmd := exec.Command("/bin/true")
				cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("{}"), &bytes.Buffer{}, &bytes.Buffer{}
				if err := cmd.Run(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"cgroup", func(b *testing.B) {
			benchCall(b, 1, func() (*proctree.Processes, error) { return proctree.New(proctree.Options{}) })
		})
		b.Run(name+"marks", func(b *testing.B) {
			benchCall(b, 1, func() (*proctree.Processes, error) { return proctree.New(proctree.Options{MarksOnly: true}) })
		})
		b.Run(name+"cgroup, 8 at once", func(b *testing.B) {
			benchCall(b, 8, func() (*proctree.Processes, error) { return proctree.New(proctree.Options{}) })
		})
		b.Run(name+"marks, 8 at once", func(b *testing.B) {
			benchCall(b, 8, func() (*proctree.Processes, error) { return proctree.New(proctree.Options{MarksOnly: true}) })
		})
		stop()
	}
}

func startOthers(b *testing.B, n int) (stop func()) {
	b.Helper()
	cmd := exec.Command("sh", "-c", "for i in $(seq "+strconv.Itoa(n)+"); do sleep 600 & done; echo; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
	return func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	}
}

func benchCall(b *testing.B, atOnce int, newProcesses func() (*proctree.Processes, error)) {
	procs, err := newProcesses()
	if err != nil {
		b.Fatal(err)
	}
	defer procs.Close()
	h, err := toolexec.New(toolexec.Config{Command: []string{"/bin/true"}}, tools.Common{Name: "true", Dir: b.TempDir()}, procs)
	if err != nil {
		b.Fatal(err)
	}
	call := tools.Call{ID: "sevt_1", Tool: "true", Session: "sesn_1", Input: []byte(`{}`), Deadline: time.Now().Add(time.Hour)}
	b.SetParallelism(atOnce)
	one := func() {
		if _, err := h.Call(b.Context(), call); err != nil {
			b.Error(err)
		}
	}
	if atOnce == 1 {
		for b.Loop() {
			one()
		}
		return
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			one()
		}
	})
}

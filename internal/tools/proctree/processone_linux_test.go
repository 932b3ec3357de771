package proctree_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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

// processOne plays a worker that is process 1 and has no cgroups. It runs a tool
// that leaves a process in a way, and stops it when a stranger has come to this pid
// namespace and was left there.
func processOne(dir, shape string) int {
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == nil {
		err = unix.Mount("proc", "/proc", "proc", 0, "")
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	procs, err := proctree.New(proctree.Options{MarksOnly: true, Log: slog.New(slog.NewTextHandler(os.Stdout, nil))})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer procs.Close()
	h, err := toolexec.New(toolexec.Config{Command: []string{os.Args[0], handlertest.ChildArg, "family", shape, dir, "stay"}, Env: handlertest.QuickExit()}, tools.Common{Name: "family", Dir: "/"}, procs)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = h.Call(ctx, handlertest.NewCall(`{}`))
	}()
	var came []byte
	for until := time.Now().Add(time.Minute); !bytes.HasSuffix(came, []byte("\n")) && time.Now().Before(until); time.Sleep(time.Millisecond) {
		came, _ = os.ReadFile(filepath.Join(dir, "stranger"))
	}
	stranger, err := strconv.Atoi(strings.TrimSpace(string(came)))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	cancel()
	<-done
	fmt.Printf("of the tool: %d, the stranger lives: %t\n", len(survivors(dir)), handlertest.Lives(stranger))
	_ = syscall.Kill(stranger, syscall.SIGKILL)
	for until := time.Now().Add(10 * time.Second); (syscall.Kill(stranger, 0) == nil || zombies() > 0) && time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Printf("unburied: %d\n", zombies())
	return 0
}

// TestProcessOne runs a worker as process 1, as in a container: what somebody has
// left there who came from outside falls to it as what its tools leave does. It
// buries the one, and kills the other alone.
func TestProcessOne(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root can make a pid namespace")
	}
	t.Parallel()
	for shape, left := range map[string]int{"env -i daemon": 0, "unlimited daemon": 0, "unmarked daemon": 1} {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			dir := handlertest.PublicDir(t)
			var out bytes.Buffer
			cmd := exec.Command(os.Args[0], handlertest.ChildArg, "process 1", dir, shape)
			cmd.Stdout, cmd.Stderr = &out, &out
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
			if err := cmd.Start(); err != nil {
				t.Skipf("NOT TESTED: no pid namespace can be made here: %v", err)
			}
			defer func() { _ = cmd.Process.Kill() }()
			testkit.Eventually(t, "a member", func() bool { return len(pids(dir)) == 1 })
			enter := exec.Command("nsenter", "-t", strconv.Itoa(cmd.Process.Pid), "-p", "-m", "sh", "-c",
				`(setsid sleep 60 >/dev/null 2>&1 & sleep 0.2; echo $! >"$0.new"); mv "$0.new" "$0"`, filepath.Join(dir, "stranger"))
			if text, err := enter.CombinedOutput(); err != nil {
				t.Skipf("NOT TESTED: nsenter: %v: %s", err, text)
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			// One that has shed its marks may live on; on a busy machine it is stopped
			// before it has.
			none, some := "of the tool: 0, the stranger lives: true\n", fmt.Sprintf("of the tool: %d, the stranger lives: true\n", left)
			if !strings.Contains(out.String(), none) && !strings.Contains(out.String(), some) || !strings.Contains(out.String(), "unburied: 0\n") || !strings.Contains(out.String(), "without a mark has fallen to this worker") {
				t.Errorf("want %q in:\n%s", some, out.String())
			}
		})
	}
}

// TestStrangeProc shows a worker the processes of another pid namespace: it does not
// start rather than take them for its tools'.
func TestStrangeProc(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root can make a pid namespace")
	}
	cmd := exec.Command(os.Args[0], handlertest.ChildArg, "marked parent", handlertest.PublicDir(t), "plain", "2030-01-02T03:04:05Z")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "/proc does not show the processes of this pid namespace") {
		t.Errorf("got %v: %s", err, out)
	}
}

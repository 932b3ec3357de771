package proctree_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"toolhand/internal/tools"
	toolexec "toolhand/internal/tools/exec"
	"toolhand/internal/tools/handlertest"
	"toolhand/internal/tools/proctree"
)

const secret = "sk-ant-0123456789"

// worker plays a worker that has a credential in its environment and runs a tool
// that looks for it. args: "hardened" or "open", and this binary's path.
func worker(args []string) int {
	if args[0] == "hardened" {
		if err := proctree.Harden(); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	procs, err := proctree.New(proctree.Options{})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer procs.Close()
	h, err := toolexec.New(toolexec.Config{Command: []string{args[1], handlertest.ChildArg, "spy"}, Env: handlertest.QuickExit()}, tools.Common{Name: "spy", Dir: "/"}, procs)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := h.Call(ctx, tools.Call{ID: "sevt_1", Tool: "spy", Session: "sesn_1", Input: []byte(`{}`), Deadline: time.Now().Add(time.Minute)})
	fmt.Println(string(r.Content), err)
	return 0
}

// spy is a tool that reads what it can of its parent.
func spy() int {
	at := fmt.Sprintf("/proc/%d/", os.Getppid())
	env, err := os.ReadFile(at + "environ")
	fmt.Println("environ:", len(env), err != nil, strings.Contains(string(env), secret))
	_, err = os.Open(at + "mem")
	fmt.Println("mem:", err != nil)
	own := strings.Join(os.Environ(), " ")
	fmt.Println("own:", strings.Contains(own, secret))
	return 0
}

// TestHarden runs a worker that is not root, and a tool of the same user. The
// worker that is not hardened shows that the tool would find what it looks for.
func TestHarden(t *testing.T) {
	self := handlertest.PublicBinary(t)
	for kind, want := range map[string][]string{
		"open":     {"true\\n", "mem: false", "own: false"},
		"hardened": {"environ: 0 true false", "mem: true", "own: false"},
	} {
		t.Run(kind, func(t *testing.T) {
			cmd := exec.Command(self, handlertest.ChildArg, "worker", kind, self)
			cmd.Dir = "/"
			cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/", "ANTHROPIC_API_KEY=" + secret, "GORACE=atexit_sleep_ms=0"}
			if os.Geteuid() == 0 {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for _, w := range want {
				if !strings.Contains(string(out), w) {
					t.Errorf("expected %q in %s", w, out)
				}
			}
		})
	}
}

package mcp_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"toolhand/internal/tools"
	toolexec "toolhand/internal/tools/exec"
	"toolhand/internal/tools/handlertest"
	toolmcp "toolhand/internal/tools/mcp"
	"toolhand/internal/tools/proctree"
)

// serverOwner plays a worker without cgroups that has an MCP server which does not
// end by itself.
func serverOwner(file string) int {
	procs, err := proctree.New(proctree.Options{MarksOnly: true})
	if err != nil {
		return 1
	}
	h, err := toolmcp.New(toolmcp.Config{Command: []string{os.Args[0], handlertest.ChildArg, "raw", "deathless", file}, Tool: "x"},
		tools.Common{Name: "x", Dir: "/"}, toolmcp.NewServers(procs, nil))
	if err != nil {
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := h.Call(ctx, handlertest.NewCall(`{}`)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("ready")
	<-ctx.Done()
	return 0
}

// TestServersLeft kills a worker, and finds the MCP server that it has left; that
// of a worker that lives is left alone.
func TestServersLeft(t *testing.T) {
	if !handlertest.Alone(t) {
		return
	}
	procs := handlertest.ProcessesWith(t, proctree.Options{MarksOnly: true})
	owner := func() (*exec.Cmd, int) {
		file := filepath.Join(t.TempDir(), "wire")
		cmd := exec.Command(os.Args[0], handlertest.ChildArg, "server owner", file)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		if _, err := out.Read(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := strings.Cut(strings.TrimPrefix(string(text), "pid "), "\n")
		pid, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		return cmd, pid
	}
	dead, left := owner()
	alive, kept := owner()
	kill := func(cmd *exec.Cmd) { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	kill(dead)
	if !handlertest.Lives(left) {
		t.Error("the server ended with its worker, so that this shows nothing")
	}
	if _, err := procs.StopLeft([][]string{toolexec.Marks(tools.Call{})}); err != nil {
		t.Error(err)
	}
	if handlertest.Lives(left) {
		t.Error("the server of a dead worker lives")
	}
	if !handlertest.Lives(kept) {
		t.Error("the server of a worker that lives is gone")
	}
	kill(alive)
	if _, err := procs.StopLeft([][]string{toolexec.Marks(tools.Call{})}); err != nil {
		t.Error(err)
	}
	if handlertest.Lives(kept) {
		t.Error("the second server lives")
	}
}

// systemRoles are what this binary plays on this system alone.
func systemRoles() map[string]func([]string) int {
	return map[string]func([]string) int{"server owner": func(args []string) int { return serverOwner(args[0]) }}
}

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"toolhand/internal/testkit"
)

// TestMCPServersKilled kills the worker and the MCP server of its tools at random,
// while agents call tools without end: invariants 1 to 3 hold, and each answer says
// what was so. What a killed worker leaves of its server is stopped by the next one.
func TestMCPServersKilled(t *testing.T) {
	t.Parallel()
	l := newLoad(t, 6, nil)
	handler := fmt.Sprintf("{mcp: {command: [mcpserver, %q], env: {GORACE: atexit_sleep_ms=0}}}", l.dir)
	l.write(t, "tools.d/pay.yaml", killedTool("pay", handler))
	l.write(t, "tools.d/look.yaml", killedTool("look", handler))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	random := rand.New(rand.NewPCG(l.seed, 1<<32))
	worker := l.launch(t, "run")
	l.begin(ctx, l.all, 50*time.Millisecond, "pay", "pay", "look")
	servers, workers := 0, 0
	for range testkit.Number(t, "CRASHES", testkit.Sample(16, 5)) {
		time.Sleep(time.Duration(100+random.IntN(600)) * time.Millisecond) // a random moment
		which := random.IntN(4)
		if which > 0 {
			servers += killServer(t, l.dir)
		}
		if which%2 == 0 {
			workers++
			worker.kill()
			time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond) // how long it is away
			worker = l.launch(t, "run")
		}
	}
	l.seesEnough()
	stop()
	l.agents.Wait()
	l.answered(t, worker, time.Minute)
	t.Logf("%d servers and %d workers were killed", servers, workers)
	if err := worker.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, err := worker.ends(); err != nil || code != 0 {
		t.Errorf("exit code %d, %v", code, err)
	}
	if left := liveServers(t, l.dir); len(left) > 0 {
		t.Errorf("MCP servers are left: %v", left)
	}
	l.judgeRemote(t)
}

// killServer kills the MCP server that runs, if one does.
func killServer(t *testing.T, dir string) (killed int) {
	t.Helper()
	for _, pid := range liveServers(t, dir) {
		if syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	return killed
}

// liveServers are the MCP servers of a test that run.
func liveServers(t *testing.T, dir string) (pids []int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "servers"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for word := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			continue // written in this moment
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.Contains(string(line), dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

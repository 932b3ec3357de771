package mcp_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"toolhand/internal/testkit"
	"toolhand/internal/tools/handlertest"
	toolmcp "toolhand/internal/tools/mcp"
)

// A program that has hung gets no new calls, also where there is always one under way: the
// next call starts another one, and the first ends with the last of its calls.
func TestMCPServerHangsUnderCalls(t *testing.T) {
	servers := newServers(t, handlertest.Processes(t))
	servers.SetBounds(time.Minute, 50*time.Millisecond)
	file := filepath.Join(t.TempDir(), "wire")
	g := wild(t, servers, map[string]string{"DONE": filepath.Join(t.TempDir(), "never")}, "", file)
	first, err := insist(t, g.Handler("x"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(first, " by ")
	pid, _ := strconv.Atoi(text)
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() { _, err := g.Handler("work").Call(ctx, handlertest.NewCall(`{}`)); ended <- err }()
	testkit.Eventually(t, "the call", func() bool { text, _ := os.ReadFile(file); return strings.Contains(string(text), `"work"`) })
	testkit.Eventually(t, "another start", func() bool {
		r, err := callFor(t, g.Handler("x"), 300*time.Millisecond, `{}`)
		return err == nil && handlertest.Text(t, r) != first
	})
	if n := starts(file); n != 2 || !handlertest.Lives(pid) {
		t.Errorf("%d starts, the first lives: %t", n, handlertest.Lives(pid))
	}
	cancel(errors.New("enough"))
	mustLose(t, <-ended, "enough")
	testkit.Eventually(t, "the end of the first", func() bool { return !handlertest.Lives(pid) })
	mustAnswer(t, g.Handler("x"), "x by ")
	if n := starts(file); n != 2 {
		t.Errorf("%d starts", n)
	}
}

// A program that hangs in the handshake is started anew, after its bound or by a reload.
func TestMCPServerHangsInHandshake(t *testing.T) {
	for name, c := range map[string]struct {
		bound  time.Duration
		reload bool
	}{"bound": {300 * time.Millisecond, false}, "reload": {time.Minute, true}} {
		t.Run(name, func(t *testing.T) {
			servers := newServers(t, handlertest.Processes(t))
			servers.SetProgram(c.bound, 200*time.Millisecond)
			file := filepath.Join(t.TempDir(), "wire")
			g := wild(t, servers, nil, "silent", file)
			servers.Keep(nil, []*toolmcp.Group{g})
			testkit.Eventually(t, "the first start", func() bool { return starts(file) == 1 })
			if c.reload {
				<-time.After(300 * time.Millisecond)
				servers.Keep(nil, []*toolmcp.Group{g}) // no manifest was read
				<-time.After(300 * time.Millisecond)
				if n := starts(file); n != 1 {
					t.Fatalf("%d starts", n)
				}
				servers.Keep(nil, []*toolmcp.Group{wild(t, servers, nil, "silent", file)})
			}
			testkit.Eventually(t, "another start", func() bool { return starts(file) == 2 })
			if _, _, err := g.Known(); err == nil || !strings.Contains(err.Error(), "has not answered initialize within") {
				t.Errorf("known: %v", err)
			}
		})
	}
}

package tools_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"toolhand/internal/tools"
	"toolhand/internal/tools/handlertest"
)

// childArg makes this binary play a child process. It is an argument, since some
// of the children have no environment.
const childArg = "play-child"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == childArg {
		os.Exit(child(os.Args[2], os.Args[3:]))
	}
	goleak.VerifyTestMain(m)
}

// child is what this binary does as a tool.
func child(role string, args []string) int {
	switch role {
	case "serve":
		return serve(handlertest.Behaviour(args[0]))
	case "nats-server":
		return serveNATS(args[0])
	case "mcp":
		return serveMCP(handlertest.Behaviour(args[0]))
	case "raw":
		return rawMCP(args[0], strings.Join(args[1:], ""))
	case "proxied":
		return proxied(args[0])
	}
	return systemChild(role, args)
}

func serve(b handlertest.Behaviour) int {
	about := handlertest.About{
		Tool:     os.Getenv("TOOL_NAME"),
		ID:       os.Getenv("TOOL_USE_ID"),
		Session:  os.Getenv("SESSION_ID"),
		Thread:   os.Getenv("SESSION_THREAD_ID"),
		Deadline: os.Getenv("TOOL_DEADLINE"),
	}
	if _, set := os.LookupEnv("SESSION_THREAD_ID"); !set {
		return 98
	}
	// A context that ends keeps the runtime from calling this a deadlock.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	err := handlertest.Serve(ctx, b, about, os.Stdin, os.Stdout, 0)
	if errors.Is(err, handlertest.ErrFailed) {
		return 3
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// publicBinary is a name of this binary that other users can run: go test keeps
// it where only its own user can enter.
func publicBinary(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(publicDir(t), "tools.test")
	if os.Link(self, name) == nil {
		return name
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// publicDir is a directory that everybody can write to.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "toolhand-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// newProcs makes Processes that the test closes.
func newProcs(t *testing.T, make func() (*tools.Processes, error)) *tools.Processes {
	t.Helper()
	procs, err := make()
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

func bestProcs(t *testing.T) *tools.Processes {
	return newProcs(t, func() (*tools.Processes, error) { return tools.NewProcesses(nil) })
}

// sh makes a handler that runs a line of shell.
func sh(t *testing.T, procs *tools.Processes, line string, with ...func(*tools.ExecConfig, *tools.Common)) tools.Handler {
	t.Helper()
	cfg := tools.ExecConfig{Command: []string{"sh", "-c", line}}
	common := tools.Common{Name: "shell", Dir: t.TempDir()}
	for _, f := range with {
		f(&cfg, &common)
	}
	h, err := tools.NewExec(cfg, common, procs)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func newCall(input string) tools.Call {
	return tools.Call{ID: "sevt_1", Tool: "shell", Session: "sesn_1", Input: []byte(input), Deadline: time.Now().Add(time.Minute)}
}

// run makes one call that must have a result, and returns its text.
func run(t *testing.T, h tools.Handler, input string) (text string, isError bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := h.Call(ctx, newCall(input))
	if err != nil {
		t.Fatalf("call: %v", err)
	}
	return text1(t, r), r.IsError
}

// noneOf checks that a text holds none of the words.
func noneOf(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if strings.Contains(text, w) {
			t.Errorf("%q is told in: %s", w, text)
		}
	}
}

// quickExit spares a child of a test the second that the race detector waits at
// its end.
func quickExit() map[string]string { return map[string]string{"GORACE": "atexit_sleep_ms=0"} }

package handlertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// ChildArg is the argument that makes a test binary play a child process; the role
// follows it. It is an argument, since some of the children have no environment.
const ChildArg = "play-child"

// Main runs the tests of a package, or plays the child that the arguments ask for,
// and exits. It is what TestMain does.
func Main(m *testing.M, roles map[string]func(args []string) int) {
	if len(os.Args) > 2 && os.Args[1] == ChildArg {
		play := roles[os.Args[2]]
		if play == nil {
			fmt.Fprintln(os.Stderr, "no such role:", os.Args[2])
			os.Exit(99)
		}
		os.Exit(play(os.Args[3:]))
	}
	goleak.VerifyTestMain(m)
}

// ServeProgram is the role of a program that is a tool with the behaviour of its
// argument.
func ServeProgram(args []string) int {
	about := About{
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
	err := Serve(ctx, Behaviour(args[0]), about, os.Stdin, os.Stdout, 0)
	if errors.Is(err, ErrFailed) {
		return 3
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// QuickExit is what spares a child of a test the second that the race detector
// waits at its end.
func QuickExit() map[string]string { return map[string]string{"GORACE": "atexit_sleep_ms=0"} }

// PublicBinary is a name of this binary that other users can run: go test keeps it
// where only its own user can enter.
func PublicBinary(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(PublicDir(t), filepath.Base(self))
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

// PublicDir is a directory that everybody can write to, until the end of the test.
func PublicDir(t *testing.T) string {
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

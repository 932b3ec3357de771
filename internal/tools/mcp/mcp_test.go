package mcp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"toolhand/internal/testkit"
	"toolhand/internal/tools"
	"toolhand/internal/tools/handlertest"
	toolmcp "toolhand/internal/tools/mcp"
)

// raw makes a handler of a tool of rawMCP.
func raw(t *testing.T, servers *toolmcp.Servers, tool string, args ...string) tools.Handler {
	t.Helper()
	cfg := childServer(t, append([]string{"raw"}, args...)...)
	cfg.Tool = tool
	return newMCP(t, servers, cfg, tools.Common{Name: "t", Dir: "/"})
}

// callFor makes a call with a bound.
func callFor(t *testing.T, h tools.Handler, bound time.Duration, input string) (tools.Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	return h.Call(ctx, handlertest.NewCall(input))
}

// insist makes calls until one is not unavailable for a moment, as the loop does.
func insist(t *testing.T, h tools.Handler) (string, error) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		r, err := callFor(t, h, 10*time.Second, `{}`)
		var away *tools.UnavailableError
		if errors.As(err, &away) && away.Passing && time.Now().Before(until) {
			continue
		}
		if err != nil {
			return "", err
		}
		return handlertest.Text(t, r), nil
	}
}

func mustLose(t *testing.T, err error, want string) {
	t.Helper()
	if l := (*tools.LostError)(nil); !errors.As(err, &l) || !strings.Contains(told(err), want) {
		t.Fatalf("got %v (%T), expected a LostError with %q", told(err), err, want)
	}
}

func mustMiss(t *testing.T, err error, want string) {
	t.Helper()
	if u := (*tools.UnavailableError)(nil); !errors.As(err, &u) || !strings.Contains(told(err), want) {
		t.Fatalf("got %v (%T), expected an UnavailableError with %q", told(err), err, want)
	}
}

// told is what an agent is told of an error: its text, which logs have too, and what
// the server said.
func told(err error) string {
	if err == nil {
		return ""
	}
	return err.Error() + "\n" + tools.Said(err)
}

// All tools of one command share one process, and another command has another.
func TestMCPServerIsShared(t *testing.T) {
	servers := newServers(t, handlertest.Processes(t))
	text := func(h tools.Handler) string {
		s, err := insist(t, h)
		if err != nil {
			t.Fatal(err)
		}
		_, pid, _ := strings.Cut(s, " by ")
		return pid
	}
	dir := t.TempDir()
	cfg := childServer(t, "raw", "")
	of := func(tool, mode string) tools.Handler {
		cfg.Tool = tool
		cfg.Command[len(cfg.Command)-1] = mode
		cfg.Command = append([]string(nil), cfg.Command...)
		return newMCP(t, servers, cfg, tools.Common{Name: "t", Dir: dir})
	}
	a, b, c := text(of("a", "x")), text(of("b", "x")), text(of("a", "y"))
	if a != b || a == c {
		t.Errorf("pids %s, %s and %s: expected the first two to be one", a, b, c)
	}
	cfg.Env = map[string]string{"X": "1", "GORACE": "atexit_sleep_ms=0"}
	if d := text(of("a", "x")); d == a {
		t.Error("another environment has the same server")
	}
}

func TestMCPStrayOutput(t *testing.T) {
	var log syncBuffer
	servers := toolmcp.NewServers(handlertest.Processes(t), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	defer servers.Close()
	if got, err := insist(t, raw(t, servers, "x", "stray")); err != nil || !strings.HasPrefix(got, "x by ") {
		t.Fatalf("%q %v", got, err)
	}
	testkit.Eventually(t, "stderr in the log", func() bool { return strings.Contains(log.String(), "hello on stderr") })
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "level=WARN") && strings.Contains(line, "Listening") || strings.Contains(line, "hello") && !strings.Contains(line, "level=DEBUG") {
			t.Errorf("content above the debug level: %s", line)
		}
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, log.String())
	}
}

// What a server says before it ends may hold anything: it is content too. One that
// is stopped with the worker is not warned of.
func TestMCPLastWords(t *testing.T) {
	var log syncBuffer
	servers := toolmcp.NewServers(handlertest.Processes(t), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	_, err := insist(t, raw(t, servers, "die", "talks"))
	mustLose(t, err, "exit status 7")
	testkit.Eventually(t, "its last words", func() bool { return strings.Contains(log.String(), "hush-hush") })
	_, err = callFor(t, raw(t, servers, "x", "silent"), 200*time.Millisecond, `{}`)
	mustMiss(t, err, "deadline exceeded")
	if err := servers.Close(); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "hush-hush") && !strings.Contains(line, "level=DEBUG") {
			t.Errorf("content above the debug level: %s", line)
		}
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "hush-hush") {
		t.Errorf("%d warnings:\n%s", n, log.String())
	}
}

// A server that says each time that its tools have changed is not listed without a
// pause.
func TestMCPServerIsRestless(t *testing.T) {
	if !handlertest.Alone(t) {
		return
	}
	servers := newServers(t, handlertest.Processes(t))
	file := filepath.Join(t.TempDir(), "wire")
	cfg := childServer(t, "raw", "restless", file)
	cfg.All = true
	g, err := toolmcp.NewGroup(cfg, tools.Common{Name: "g", Dir: "/"}, servers)
	if err != nil {
		t.Fatal(err)
	}
	servers.Keep(nil, []*toolmcp.Group{g})
	listed := func() int { text, _ := os.ReadFile(file); return strings.Count(string(text), `"tools/list"`) }
	testkit.Eventually(t, "a list", func() bool { return listed() > 0 })
	begin := time.Now()
	testkit.Eventually(t, "five lists more", func() bool { return listed() > 5 })
	if took := time.Since(begin); took < time.Second {
		t.Errorf("listed five times more within %v", took)
	}
	// It is never done: after a while it is listened to more seldom.
	testkit.Eventually(t, "the end of the burst", func() bool { return listed() > 20 })
	before := listed()
	<-time.After(2 * time.Second)
	if more := listed() - before; more > 1 {
		t.Errorf("listed %d times in 2 s after the burst, want at most 1", more)
	}
}

// A server whose tools are others in each list is followed as far as a window has room
// for: then what was listed last stays until the next one, and a line of the log says so.
func TestMCPServerChangesTooMuch(t *testing.T) {
	if !handlertest.Alone(t) {
		return
	}
	var log syncBuffer
	servers := toolmcp.NewServers(handlertest.Processes(t), slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(func() { _ = servers.Close() })
	const window, most = 3 * time.Second, 4
	servers.SetFresh(most*3, window) // a list has two values, and one for the tool
	file := filepath.Join(t.TempDir(), "wire")
	cfg := childServer(t, "raw", "changing", file)
	cfg.All = true
	g, err := toolmcp.NewGroup(cfg, tools.Common{Name: "g", Dir: "/"}, servers)
	if err != nil {
		t.Fatal(err)
	}
	servers.Keep(nil, []*toolmcp.Group{g})
	<-servers.Changed()
	taken := 1
	for over := time.After(window - 500*time.Millisecond); over != nil; {
		select {
		case <-servers.Changed():
			taken++
		case <-over:
			over = nil
		}
	}
	text, err := os.ReadFile(file)
	if listed := strings.Count(string(text), `"tools/list"`); err != nil || taken > most || listed <= most {
		t.Errorf("%d lists of %d were taken, want %d at most (%v)", taken, listed, most, err)
	}
	if n := strings.Count(log.String(), "change too much"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
	before, _, _ := g.Known()
	select {
	case <-servers.Changed():
	case <-time.After(10 * time.Second):
		t.Fatal("no change is taken any more")
	}
	if now, _, _ := g.Known(); string(now[0].InputSchema) == string(before[0].InputSchema) {
		t.Error("the change that has waited is not taken")
	}
}

// A server that dies or floods loses what it had of its own calls; it is started again, and calls of another server go on all the while.
func TestMCPServerFails(t *testing.T) {
	servers := newServers(t, handlertest.Processes(t))
	other := raw(t, servers, "hang", "other")
	hanging, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	if _, err := insist(t, raw(t, servers, "x", "other")); err != nil {
		t.Fatal(err)
	}
	go func() { _, err := other.Call(hanging, handlertest.NewCall(`{}`)); ended <- err }()
	t.Run("die", func(t *testing.T) {
		_, err := insist(t, raw(t, servers, "die", "mortal"))
		mustLose(t, err, "the server ended: exit status 7\nthe end of its stderr: the token was hush-hush")
		for range 3 {
			if got, err := insist(t, raw(t, servers, "x", "mortal")); err != nil || !strings.HasPrefix(got, "x by ") {
				t.Fatalf("after that: %q %v", got, err)
			}
		}
	})
	t.Run("flood", func(t *testing.T) {
		_, err := callFor(t, raw(t, servers, "x", "flood"), testkit.Patience, `{}`)
		mustMiss(t, err, "a line of more than 536870912 bytes")
	})
	select {
	case err := <-ended:
		t.Errorf("the call of the other server ended: %v", err)
	default:
	}
	cancel(errors.New("enough"))
	mustLose(t, <-ended, "enough")
}

// A server that knows the stateless protocol only is asked in it.
func TestMCPServerIsModern(t *testing.T) {
	servers := newServers(t, handlertest.Processes(t))
	file := filepath.Join(t.TempDir(), "wire")
	h := raw(t, servers, "x", "modern", file)
	for range 2 {
		if got, err := insist(t, h); err != nil || !strings.HasPrefix(got, "x by ") {
			t.Fatalf("%q %v", got, err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil || strings.Count(string(text), "pid ") != 1 || strings.Count(string(text), `"initialize"`) != 1 || !strings.Contains(string(text), "2026-07-28") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestMCPServerIsDown(t *testing.T) {
	var log syncBuffer
	servers := toolmcp.NewServers(handlertest.Processes(t), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	defer servers.Close()
	h := raw(t, servers, "x", "down")
	_, err := callFor(t, h, 10*time.Second, `{}`)
	mustMiss(t, err, "the server ended: exit status 3\nthe end of its stderr: it is down today")
	_, err = callFor(t, h, 10*time.Second, `{}`)
	mustMiss(t, err, "the server ended: exit status 3")
	if !strings.Contains(log.String(), "it is down today") {
		t.Errorf("its last words are not in the log:\n%s", log.String())
	}
	for range 6 {
		_, err = insist(t, h)
	}
	var away *tools.UnavailableError
	if !errors.As(err, &away) || away.Passing {
		t.Errorf("after many failures: %v, expected one that does not pass", err)
	}
}

// A server that never answers ends no call later than its deadline, and holds up no
// other server.
func TestMCPServerIsSilent(t *testing.T) {
	if !handlertest.Alone(t) {
		return
	}
	servers := newServers(t, handlertest.Processes(t))
	silent := childServer(t, "raw", "silent")
	silent.All = true
	listing, cancel := context.WithCancelCause(t.Context())
	g, err := toolmcp.NewGroup(silent, tools.Common{Name: "g", Dir: "/"}, servers)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- g.List(listing) }()
	begin := time.Now()
	_, err = callFor(t, g.Handler("x"), 200*time.Millisecond, `{}`)
	mustMiss(t, err, "/mcp.test …\" has not answered initialize within ")
	mustMiss(t, err, "deadline exceeded")
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	other := childServer(t, "raw", "other")
	other.All = true
	o, err := toolmcp.NewGroup(other, tools.Common{Name: "o", Dir: "/"}, servers)
	if err != nil {
		t.Fatal(err)
	}
	servers.Keep(nil, []*toolmcp.Group{g, o})
	<-servers.Changed()
	if list, _, err := o.Known(); len(list) != 1 || err != nil {
		t.Errorf("%v %v", list, err)
	}
	if _, err := insist(t, o.Handler("x")); err != nil {
		t.Error(err)
	}
	if _, _, err := g.Known(); err == nil || !strings.Contains(err.Error(), "has not answered initialize within ") {
		t.Errorf("known of the silent one: %v", err)
	}
	cancel(errors.New("enough"))
	mustMiss(t, <-ended, "enough")
}

// A server that never reads holds up neither its own calls beyond their deadline
// nor anybody else's, and is started again.
func TestMCPServerNeverReads(t *testing.T) {
	servers := newServers(t, handlertest.Processes(t))
	servers.SetBounds(10*time.Second, time.Second)
	file := filepath.Join(t.TempDir(), "wire")
	deaf := raw(t, servers, "x", "deaf", file)
	large := `{"x":"` + strings.Repeat("x", 1<<20) + `"}`
	_, err := callFor(t, deaf, time.Second, large)
	mustLose(t, err, "deadline exceeded")
	_, err = callFor(t, deaf, 300*time.Millisecond, `{}`)
	mustMiss(t, err, "deadline exceeded") // it never left the queue
	if _, err := insist(t, raw(t, servers, "x", "hears")); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "another start of the one that never reads", func() bool {
		_, _ = callFor(t, deaf, 100*time.Millisecond, large)
		text, _ := os.ReadFile(file)
		return strings.Count(string(text), "pid ") > 1
	})
}

// The end of a call is told to the server, in the protocol's words, and the
// server's other calls go on.
func TestMCPCancelOnTheWire(t *testing.T) {
	servers := newServers(t, handlertest.Processes(t))
	file := filepath.Join(t.TempDir(), "wire")
	h := raw(t, servers, "hang", "", file)
	if _, err := insist(t, raw(t, servers, "x", "", file)); err != nil {
		t.Fatal(err)
	}
	_, err := callFor(t, h, 200*time.Millisecond, `{}`)
	mustLose(t, err, "deadline exceeded")
	var id string
	testkit.Eventually(t, "notifications/cancelled", func() bool {
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, `"name":"hang"`) {
				_, rest, _ := strings.Cut(line, `"id":`)
				id = strings.FieldsFunc(rest, func(r rune) bool { return r < '0' || r > '9' })[0]
			}
			if strings.Contains(line, "notifications/cancelled") {
				return strings.Contains(line, `"requestId":`+id)
			}
		}
		return false
	})
	text, _ := os.ReadFile(file)
	for _, want := range []string{`"Tool-Use-Id":"sevt_1"`, `"Tool-Name":"shell"`, `"Idempotency-Key":"sevt_1"`, `"progressToken":`, `"protocolVersion":"2025-11-25"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the server was not told %s:\n%s", want, text)
		}
	}
	if n := strings.Count(string(text), "pid "); n != 1 {
		t.Errorf("%d processes", n)
	}
}

func TestMCPAnswers(t *testing.T) {
	t.Setenv("ANTHROPIC_API_KEY", "sk-secret")
	t.Setenv("OTHER", "not-passed")
	var log syncBuffer
	servers := toolmcp.NewServers(handlertest.Processes(t), slog.New(slog.DiscardHandler))
	defer servers.Close()
	of := func(tool string) tools.Handler {
		cfg := childServer(t, "raw", "")
		cfg.Tool, cfg.Env["MINE"] = tool, "1"
		return newMCP(t, servers, cfg, tools.Common{Name: "t", Dir: "/", Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	}
	r, err := callFor(t, of("refuse"), 10*time.Second, `{}`)
	if err != nil || !r.IsError || handlertest.Text(t, r) != "The MCP server refused the call: Unknown tool: refuse (code -32602)\n{\"why\":\"it is not there\"}" {
		t.Errorf("%+v %v", r, err)
	}
	r, err = callFor(t, of("garbage"), 10*time.Second, `{}`)
	if err != nil || !r.IsError || !strings.Contains(handlertest.Text(t, r), "what is no result of a tool") {
		t.Errorf("%+v %v", r, err)
	}
	environ, err := insist(t, of("environ"))
	if err != nil || !strings.Contains(environ, "MINE=1") || !strings.Contains(environ, "PATH=") {
		t.Errorf("%q %v", environ, err)
	}
	handlertest.NoneOf(t, environ, "sk-secret", "ANTHROPIC", "not-passed", "TOOL_USE_ID")
	if _, err := insist(t, of("progress")); err != nil {
		t.Error(err)
	}
	testkit.Eventually(t, "progress in the log", func() bool { return strings.Contains(log.String(), "half-way") })
}

// What no set in force refers to is stopped, but not under a call; a call that
// keeps its tool works on, and so does one that begins with it later.
func TestMCPKeep(t *testing.T) {
	if !handlertest.Alone(t) {
		return
	}
	servers := newServers(t, handlertest.Processes(t))
	file := filepath.Join(t.TempDir(), "wire")
	h, hang := raw(t, servers, "x", "", file), raw(t, servers, "hang", "", file)
	servers.Keep([]tools.Handler{h, hang}, nil)
	first, err := insist(t, h)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() { _, err := hang.Call(ctx, handlertest.NewCall(`{}`)); ended <- err }()
	testkit.Eventually(t, "the call", func() bool { text, _ := os.ReadFile(file); return bytes.Contains(text, []byte(`"hang"`)) })
	servers.Keep(nil, nil)
	if again, err := insist(t, h); err != nil || again != first {
		t.Errorf("during the call: %q %v, expected %q", again, err, first)
	}
	_, pid, _ := strings.Cut(first, " by ")
	n, _ := strconv.Atoi(pid)
	cancel(errors.New("over"))
	mustLose(t, <-ended, "over")
	testkit.Eventually(t, "the server's end", func() bool { return !handlertest.Lives(n) })
	if again, err := insist(t, h); err != nil || again == first {
		t.Errorf("with a tool of an older set: %q %v", again, err)
	}
}

func TestMCPCallsAtOnce(t *testing.T) {
	servers := newServers(t, handlertest.Processes(t))
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			if got, err := insist(t, raw(t, servers, fmt.Sprint("t", i), "")); err != nil || !strings.HasPrefix(got, fmt.Sprintf("t%d by", i)) {
				t.Errorf("%q %v", got, err)
			}
		})
	}
	all.Wait()
}

// What a config can't be.
func TestMCPConfigErrors(t *testing.T) {
	servers := newServers(t, handlertest.Processes(t))
	common := tools.Common{Name: "t", Dir: t.TempDir(), LookupEnv: func(string) (string, bool) { return "", false }}
	for want, cfg := range map[string]toolmcp.Config{
		"expected a command":         {},
		"found both":                 {Command: []string{"sh"}, URL: "http://h/"},
		"belong to a command":        {URL: "http://h/", Dir: "x"},
		"belong to a url":            {Command: []string{"/bin/sh"}, Headers: map[string]string{"A": "b"}},
		"no name may begin with":     {Command: []string{"/bin/sh"}, PassEnv: []string{"ANTHROPIC_API_KEY"}},
		"no such file":               {Command: []string{"./none"}},
		"expected http://HOST":       {URL: "ftp://h/"},
		"Mcp-Session-Id is set by":   {URL: "http://h/", Headers: map[string]string{"mcp-session-id": "x"}},
		"can't be sent to a tool":    {URL: "http://h/", HeaderEnv: map[string]string{"X": "ANTHROPIC_API_KEY"}},
		"the variable X is not set":  {Command: []string{"/bin/sh"}, PassEnv: []string{"X"}},
		"TOOLHAND_SERVER is set by":  {Command: []string{"/bin/sh"}, Env: map[string]string{"TOOLHAND_SERVER": "x"}},
		"no user \"nobody-of-this\"": {Command: []string{"/bin/sh"}, User: "nobody-of-this"},
	} {
		if _, err := toolmcp.New(cfg, common, servers); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, expected %q", err, want)
		}
	}
}

// TestMCPProgramAsFound: a server that the system refuses to start is unavailable, and the
// reason is named.
func TestMCPProgramAsFound(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.sh")
	if err := os.WriteFile(file, []byte("#!/bin/sh\r\nexec server\r\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	h, err := toolmcp.New(toolmcp.Config{Command: []string{file}}, tools.Common{Name: "t", Dir: t.TempDir()}, newServers(t, handlertest.Processes(t)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.Call(t.Context(), handlertest.NewCall(`{}`))
	mustMiss(t, err, "the lines of "+file+" end as on Windows")
}

func TestMCPLive(t *testing.T) {
	servers := newServers(t, handlertest.Processes(t))
	type live interface{ Live(context.Context) error }
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := raw(t, servers, "one", "").(live).Live(ctx); err != nil {
		t.Error(err)
	}
	if err := raw(t, servers, "two", "").(live).Live(ctx); err == nil || err.Error() != `the server has no tool "two"; it has: one` {
		t.Errorf("got %v", err)
	}
	if err := raw(t, servers, "one", "down").(live).Live(ctx); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v", err)
	}
}

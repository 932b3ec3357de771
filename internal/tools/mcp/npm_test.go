package mcp_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
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

// npmServers are the programs of MCP servers that others have written, as
// testdata/npm names them. They are installed once, below the folder of what is
// built. It reports false, and says so where everybody sees it, without node and
// npm, or without the network.
func npmServers(t *testing.T) (dir string, ok bool) {
	t.Helper()
	testkit.OnlyInFull(t)
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			fmt.Fprintf(os.Stderr, "NOT TESTED: %s, since %s is missing\n", t.Name(), program)
			return "", false
		}
	}
	lock, err := os.ReadFile("testdata/npm/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	bin, err := filepath.Abs("../../../bin")
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(bin, fmt.Sprintf("npm-%x", sha256.Sum256(lock))[:16])
	if _, err := os.Stat(dir); err != nil {
		if exec.CommandContext(t.Context(), "npm", "ping").Run() != nil {
			fmt.Fprintf(os.Stderr, "NOT TESTED: %s, since npm can't reach its registry\n", t.Name())
			return "", false
		}
		installNPM(t, bin, dir)
	}
	return filepath.Join(dir, "node_modules", ".bin"), true
}

// installNPM makes dir, whole or not at all: two tests may want it at once.
func installNPM(t *testing.T, bin, dir string) {
	t.Helper()
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	made, err := os.MkdirTemp(bin, "npm-new-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(made)
	for _, name := range []string{"package.json", "package-lock.json"} {
		data, err := os.ReadFile(filepath.Join("testdata/npm", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(made, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund", "--silent")
	cmd.Dir = made
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	if err := os.Rename(made, dir); err != nil {
		if _, there := os.Stat(dir); there != nil {
			t.Fatal(err)
		}
	}
}

// Servers of all sorts list what they have, each tool with a schema. One for a cluster
// starts without it.
func TestMCPFound(t *testing.T) {
	bin, ok := npmServers(t)
	if !ok {
		return
	}
	for program, c := range map[string]struct {
		args  []string
		tools []string
	}{
		"mcp-server-everything":          {tools: []string{"echo", "get-sum"}},
		"mcp-server-filesystem":          {args: []string{t.TempDir()}, tools: []string{"read_text_file", "list_directory"}},
		"mcp-server-memory":              {tools: []string{"create_entities", "read_graph"}},
		"mcp-server-sequential-thinking": {tools: []string{"sequentialthinking"}},
		"context7-mcp":                   {tools: []string{"resolve-library-id"}},
		"mcp-server-kubernetes":          {tools: []string{"kubectl_get", "ping"}},
	} {
		t.Run(program, func(t *testing.T) {
			g := group(t, newServers(t, handlertest.Processes(t)), toolmcp.Config{Command: append([]string{filepath.Join(bin, program)}, c.args...), All: true})
			list, wrong := mustList(t, g), g.Problems()
			names := map[string]bool{}
			for _, tool := range list {
				names[tool.Name] = true
				if tool.Description == "" && tool.Title == "" || !json.Valid(tool.InputSchema) {
					t.Errorf("%+v", tool)
				}
			}
			for _, name := range c.tools {
				if !names[name] {
					t.Errorf("no tool %s among %d", name, len(list))
				}
			}
			if len(wrong) > 0 {
				t.Errorf("%v", wrong)
			}
		})
	}
}

// A step is a call of a server that others have written, and what must be in its
// result.
type step struct {
	tool, input, want string
	isError           bool
}

func everythingSteps() []step {
	return []step{
		{tool: "echo", input: `{"message":"grüezi"}`, want: `[{"text":"Echo: grüezi","type":"text"}]`},
		{tool: "get-sum", input: `{"a":2,"b":40}`, want: "42"},
		{tool: "get-tiny-image", input: `{}`, want: `"media_type":"image/png"`},
		{tool: "get-resource-reference", input: `{"resourceType":"Text","resourceId":1}`, want: `[resource demo://resource/dynamic/text/1]\nResource 1: This is a plaintext`},
		{tool: "get-resource-links", input: `{"count":2}`, want: "[link to demo://resource/dynamic/"},
		{tool: "get-structured-content", input: `{"location":"Chicago"}`, want: "temperature"},
		{tool: "echo", input: `{"x":1}`, want: "Invalid arguments", isError: true},
		{tool: "no-such-tool", input: `{}`, want: "not found", isError: true},
	}
}

func take(t *testing.T, servers *toolmcp.Servers, cfg toolmcp.Config, log *slog.Logger, steps []step) {
	t.Helper()
	for _, s := range steps {
		cfg.Tool = s.tool
		r, err := callFor(t, newMCP(t, servers, cfg, tools.Common{Name: "t", Dir: "/", Log: log}), 20*time.Second, s.input)
		if err != nil || r.IsError != s.isError || !strings.Contains(string(r.Content), s.want) {
			t.Errorf("%s %s: %.1000s, error %t, %v; expected %q", s.tool, s.input, r.Content, r.IsError, err, s.want)
		}
	}
}

func TestMCPEverything(t *testing.T) {
	bin, ok := npmServers(t)
	if !ok {
		return
	}
	var log syncBuffer
	lines := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	servers := newServers(t, handlertest.Processes(t))
	cfg := toolmcp.Config{Command: []string{filepath.Join(bin, "mcp-server-everything")}}
	take(t, servers, cfg, lines, everythingSteps())
	take(t, servers, cfg, lines, []step{{tool: "trigger-long-running-operation", input: `{"duration":0.4,"steps":4}`, want: "completed"}})
	if !strings.Contains(log.String(), "progress of a call") {
		t.Errorf("no progress in the log:\n%s", log.String())
	}
	// One that is given up leaves the server to others.
	cfg.Tool = "trigger-long-running-operation"
	begin := time.Now()
	_, err := callFor(t, newMCP(t, servers, cfg, tools.Common{Name: "t", Dir: "/"}), 300*time.Millisecond, `{"duration":60,"steps":2}`)
	mustLose(t, err, "deadline exceeded")
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	take(t, servers, cfg, lines, everythingSteps()[:1])
	group, err := toolmcp.NewGroup(toolmcp.Config{Command: cfg.Command, All: true}, tools.Common{Dir: "/"}, servers)
	if err != nil {
		t.Fatal(err)
	}
	if err := group.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, _, err := group.Known(); err != nil || len(list) < 10 || !json.Valid(list[0].InputSchema) {
		t.Errorf("%d tools, %v", len(list), err)
	}
}

func TestMCPFilesystem(t *testing.T) {
	bin, ok := npmServers(t)
	if !ok {
		return
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("the text of a"), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg := toolmcp.Config{Command: []string{filepath.Join(bin, "mcp-server-filesystem"), dir}}
	quoted := func(name string) string { return `{"path":` + strconv.Quote(name) + `}` }
	take(t, newServers(t, handlertest.Processes(t)), cfg, nil, []step{
		{tool: "read_text_file", input: quoted(filepath.Join(dir, "a.txt")), want: `"text":"the text of a"`},
		{tool: "list_directory", input: quoted(dir), want: "a.txt"},
		{tool: "write_file", input: `{"path":` + strconv.Quote(filepath.Join(dir, "b.txt")) + `,"content":"b"}`, want: "Success"},
		{tool: "read_text_file", input: quoted("/etc/passwd"), want: "Access denied", isError: true},
	})
	if text, err := os.ReadFile(filepath.Join(dir, "b.txt")); err != nil || string(text) != "b" {
		t.Errorf("b.txt: %q %v", text, err)
	}
}

func TestMCPEverythingOverHTTP(t *testing.T) {
	bin, ok := npmServers(t)
	if !ok {
		return
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	free.Close()
	start := func() (stop func()) {
		cmd := exec.Command(filepath.Join(bin, "mcp-server-everything"), "streamableHttp")
		cmd.Env = append(os.Environ(), "PORT="+port)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stop = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		t.Cleanup(stop)
		testkit.Eventually(t, "the server's port", func() bool {
			c, err := net.Dial("tcp", "127.0.0.1:"+port)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
		return stop
	}
	stop := start()
	servers, cfg := newServers(t, handlertest.Processes(t)), toolmcp.Config{URL: "http://127.0.0.1:" + port + "/mcp"}
	take(t, servers, cfg, nil, everythingSteps())
	// One that is killed in a call, and back before the stream is asked for again:
	// the call may have run, and the new one wants a new session.
	var log syncBuffer
	long := cfg
	long.Tool = "trigger-long-running-operation"
	h := newMCP(t, servers, long, tools.Common{Name: "t", Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := h.Call(ctx, handlertest.NewCall(`{"duration":60,"steps":600}`))
		ended <- err
	}()
	testkit.Eventually(t, "progress", func() bool { return strings.Contains(log.String(), "progress of a call") })
	stop()
	start()
	mustLose(t, <-ended, "")
	cfg.Tool = "echo"
	testkit.Eventually(t, "an answer of the new one", func() bool {
		r, err := callFor(t, newMCP(t, servers, cfg, tools.Common{Name: "t"}), 10*time.Second, `{"message":"again"}`)
		return err == nil && !r.IsError && handlertest.Text(t, r) == "Echo: again"
	})
}

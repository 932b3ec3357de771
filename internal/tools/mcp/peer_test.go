package mcp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"toolhand/internal/tools"
	"toolhand/internal/tools/handlertest"
	toolmcp "toolhand/internal/tools/mcp"
	"toolhand/internal/tools/proctree"
)

// mcpAnswer bounds what the other end of mcp handlers answers with: a message of
// theirs has at most 16 MiB.
const mcpAnswer = 10 << 20

func TestMCPConforms(t *testing.T) {
	procs := handlertest.Processes(t)
	handlertest.Run(t, tools.Common{Name: "mcp_tool", Dir: t.TempDir()}, handlertest.Peer{
		New: func(t *testing.T, common tools.Common, b handlertest.Behaviour) tools.Handler {
			return newMCP(t, newServers(t, procs), childServer(t, "mcp", string(b)), common)
		},
		Unreachable: func(t *testing.T, common tools.Common) tools.Handler {
			program := filepath.Join(t.TempDir(), "program")
			if err := os.WriteFile(program, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			return newMCP(t, newServers(t, procs), toolmcp.Config{Command: []string{program}}, common)
		},
		Whole: true, JSON: true, Loses: true, MaxAnswer: mcpAnswer,
	})
}

func TestMCPOverHTTPConforms(t *testing.T) {
	handlertest.Run(t, tools.Common{Name: "mcp_tool"}, handlertest.Peer{
		New: func(t *testing.T, common tools.Common, b handlertest.Behaviour) tools.Handler {
			server := httptest.NewServer(losing(b == handlertest.Lose, overHTTP(mcpPeer(b))))
			t.Cleanup(server.Close)
			return newMCP(t, newServers(t, handlertest.Processes(t)), toolmcp.Config{URL: server.URL}, common)
		},
		Unreachable: func(t *testing.T, common tools.Common) tools.Handler {
			server := httptest.NewServer(nil)
			server.Close()
			return newMCP(t, newServers(t, handlertest.Processes(t)), toolmcp.Config{URL: server.URL}, common)
		},
		Whole: true, JSON: true, Loses: true, MaxAnswer: mcpAnswer,
	})
}

// losing breaks each call off where it is told to.
func losing(calls bool, inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || calls && bytes.Contains(body, []byte(`"tools/call"`)) {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		inner.ServeHTTP(w, r)
	})
}

// overHTTP offers a server as streamable HTTP.
func overHTTP(s *mcp.Server) http.Handler {
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, &mcp.StreamableHTTPOptions{MaxRequestBodyBytes: -1})
}

func newServers(t *testing.T, procs *proctree.Processes) *toolmcp.Servers {
	t.Helper()
	s := toolmcp.NewServers(procs, nil)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the servers: %v", err)
		}
	})
	return s
}

// childServer is a server that this binary plays.
func childServer(t *testing.T, args ...string) toolmcp.Config {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return toolmcp.Config{Command: append([]string{self, handlertest.ChildArg}, args...), Env: handlertest.QuickExit()}
}

func newMCP(t *testing.T, servers *toolmcp.Servers, cfg toolmcp.Config, common tools.Common) tools.Handler {
	t.Helper()
	h, err := toolmcp.New(cfg, common, servers)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// mcpPeer is the other end of mcp handlers: a server of the SDK's.
func mcpPeer(b handlertest.Behaviour) *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "peer", Version: "1"}, nil)
	server.AddTool(&mcp.Tool{Name: "mcp_tool", InputSchema: json.RawMessage(`{"type":"object"}`)}, func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if b == handlertest.Lose {
			os.Exit(7)
		}
		meta := func(name string) string { s, _ := r.Params.Meta[name].(string); return s }
		about := handlertest.About{
			Tool: meta("Tool-Name"), ID: meta("Tool-Use-Id"), Session: meta("Session-Id"),
			Thread: meta("Session-Thread-Id"), Deadline: meta("Tool-Deadline"),
		}
		var text bytes.Buffer
		err := handlertest.Serve(ctx, b, about, bytes.NewReader(r.Params.Arguments), &text, mcpAnswer)
		if err != nil && !errors.Is(err, handlertest.ErrFailed) {
			return nil, err
		}
		if b == handlertest.Blocks {
			return &mcp.CallToolResult{IsError: true, Content: []mcp.Content{
				&mcp.TextContent{Text: "a <b> & c"},
				&mcp.ImageContent{MIMEType: "image/png", Data: []byte("\x89PNG\r")},
			}}, nil
		}
		if text.Len() == 0 {
			return &mcp.CallToolResult{}, nil
		}
		return &mcp.CallToolResult{IsError: err != nil, Content: []mcp.Content{&mcp.TextContent{Text: text.String()}}}, nil
	})
	return server
}

// serveMCP is the main of a child that plays mcpPeer.
func serveMCP(b handlertest.Behaviour) int {
	if err := mcpPeer(b).Run(context.Background(), &mcp.StdioTransport{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// mcpRoles are what this binary plays in tests of MCP servers.
func mcpRoles() map[string]func([]string) int {
	roles := systemRoles()
	roles["mcp"] = func(args []string) int { return serveMCP(handlertest.Behaviour(args[0])) }
	roles["raw"] = func(args []string) int { return rawMCP(args[0], strings.Join(args[1:], "")) }
	return roles
}

// syncBuffer is a buffer that many may write to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

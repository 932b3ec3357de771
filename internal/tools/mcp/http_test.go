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
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"toolhand/internal/testkit"
	"toolhand/internal/tools"
	"toolhand/internal/tools/handlertest"
	toolmcp "toolhand/internal/tools/mcp"
)

// A door stands before a server at a URL: it counts calls, and may answer them
// itself.
type door struct {
	inner http.Handler
	calls atomic.Int32 // POSTs of tools/call
	// answer is asked for each call; it reports whether it has answered.
	answer atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
	mu     sync.Mutex
	seen   []http.Header // of calls; guarded by mu
	bodies []string      // guarded by mu
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	d.mu.Lock()
	d.bodies = append(d.bodies, string(body))
	d.mu.Unlock()
	if bytes.Contains(body, []byte(`"tools/call"`)) {
		d.calls.Add(1)
		d.mu.Lock()
		d.seen = append(d.seen, r.Header.Clone())
		d.mu.Unlock()
		if answer := d.answer.Load(); answer != nil && (*answer)(w, r) {
			return
		}
	}
	d.inner.ServeHTTP(w, r)
}

func (d *door) with(answer func(http.ResponseWriter, *http.Request) bool) { d.answer.Store(&answer) }

func newDoor(t *testing.T) (*door, *httptest.Server) {
	peer := mcpPeer(handlertest.Echo)
	d := &door{inner: overHTTP(peer)}
	server := httptest.NewServer(d)
	t.Cleanup(func() {
		server.Close()
		// Those of a session that it was only said to have forgotten.
		for session := range peer.Sessions() {
			_ = session.Close()
		}
	})
	return d, server
}

func TestMCPOverHTTPAnswers(t *testing.T) {
	d, web := newDoor(t)
	servers := newServers(t, handlertest.Processes(t))
	h := newMCP(t, servers, toolmcp.Config{
		URL:     strings.Replace(web.URL, "http://", "http://ada:pass-word@", 1) + "/mcp?key=hidden",
		Headers: map[string]string{"X-Team": "ci"}, HeaderEnv: map[string]string{"X-Token": "TOK"},
	}, tools.Common{Name: "mcp_tool", LookupEnv: func(string) (string, bool) { return "tok", true }})
	ok := func() {
		t.Helper()
		if got, err := insist(t, h); err != nil || got != "{}" {
			t.Fatalf("%q %v", got, err)
		}
	}
	ok()
	got := d.seen[0]
	if got.Get("X-Team") != "ci" || got.Get("X-Token") != "tok" || !strings.HasPrefix(got.Get("Authorization"), "Basic ") || got.Get("Mcp-Protocol-Version") != "2025-11-25" || got.Get("Mcp-Session-Id") == "" {
		t.Errorf("headers %v", got)
	}
	for status, want := range map[int]string{302: "HTTP 302 Found (redirects are not followed)", 401: "HTTP 401 Unauthorized", 500: "HTTP 500 Internal Server Error"} {
		d.calls.Store(0)
		d.with(func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			return true
		})
		r, err := callFor(t, h, 10*time.Second, `{}`)
		if err != nil || !r.IsError || handlertest.Text(t, r) != want {
			t.Errorf("%d: %+v %v, expected %q", status, r, err, want)
		}
		if n := d.calls.Load(); n != 1 {
			t.Errorf("%d: sent %d times", status, n)
		}
		d.with(func(http.ResponseWriter, *http.Request) bool { return false })
		ok()
	}
}

// A session that is gone, an answer that breaks off and one that is too large cost
// one call each, which is sent once.
func TestMCPOverHTTPLosses(t *testing.T) {
	d, web := newDoor(t)
	h := newMCP(t, newServers(t, handlertest.Processes(t)), toolmcp.Config{URL: web.URL}, tools.Common{Name: "mcp_tool"})
	pass := func(http.ResponseWriter, *http.Request) bool { return false }
	each := map[string]struct {
		answer func(http.ResponseWriter, *http.Request) bool
		check  func(*testing.T, error)
	}{
		"session gone": {func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(404); return true }, func(t *testing.T, err error) {
			mustMiss(t, err, "no longer knows our session")
			var away *tools.UnavailableError
			if errors.As(err, &away); !away.Passing {
				t.Error("it does not pass")
			}
		}},
		"reset": {func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, func(t *testing.T, err error) { mustLose(t, err, "connection to the server ended") }},
		"stream breaks off": {func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "event: message\ndata: {\"jsonrpc\"")
			return true
		}, func(t *testing.T, err error) { mustLose(t, err, "") }},
		"too large": {func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.CopyN(w, endless{}, 20<<20)
			return true
		}, nil},
		"too large an event": {func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: ")
			_, _ = io.CopyN(w, endless{}, 20<<20)
			return true
		}, func(t *testing.T, err error) { mustLose(t, err, "") }},
	}
	for name, c := range each {
		t.Run(name, func(t *testing.T) {
			d.with(pass)
			if _, err := insist(t, h); err != nil {
				t.Fatal(err)
			}
			d.calls.Store(0)
			d.with(c.answer)
			r, err := callFor(t, h, 10*time.Second, `{}`)
			if c.check != nil {
				c.check(t, err)
			} else if err != nil || !r.IsError || !strings.Contains(handlertest.Text(t, r), "more than 16777216 bytes") {
				t.Errorf("%+v %v", r, err)
			}
			if n := d.calls.Load(); n != 1 {
				t.Errorf("sent %d times", n)
			}
		})
	}
	d.with(pass)
	if _, err := insist(t, h); err != nil {
		t.Fatal(err)
	}
}

// endless reads as the letter x.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestMCPOverHTTPCancel(t *testing.T) {
	d := &door{inner: overHTTP(mcpPeer(handlertest.Silent))}
	web := httptest.NewServer(d)
	t.Cleanup(web.Close)
	h := newMCP(t, newServers(t, handlertest.Processes(t)), toolmcp.Config{URL: web.URL}, tools.Common{Name: "mcp_tool"})
	_, err := callFor(t, h, 300*time.Millisecond, `{}`)
	mustLose(t, err, "deadline exceeded")
	testkit.Eventually(t, "notifications/cancelled", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return strings.Contains(strings.Join(d.bodies, "\n"), "notifications/cancelled")
	})
}

// A group knows the tools of its server, as they were written, and of their change.
func TestMCPGroup(t *testing.T) {
	schema := `{"type":"object","properties":{"z":{"const":12345678901234567890},"a":{}}}`
	server := mcp.NewServer(&mcp.Implementation{Name: "s", Version: "1"}, &mcp.ServerOptions{PageSize: 2})
	add := func(name string) {
		server.AddTool(&mcp.Tool{Name: name, Description: "The tool " + name, InputSchema: json.RawMessage(schema)}, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: name}}}, nil
		})
	}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		add(name)
	}
	web := httptest.NewServer(overHTTP(server))
	t.Cleanup(web.Close)
	servers := newServers(t, handlertest.Processes(t))
	of := func(cfg toolmcp.Config) *toolmcp.Group {
		cfg.URL = web.URL
		g, err := toolmcp.NewGroup(cfg, tools.Common{Name: "g"}, servers)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	all, some := of(toolmcp.Config{All: true}), of(toolmcp.Config{Names: []string{"d", "zz"}})
	if _, _, err := all.Known(); err == nil {
		t.Error("something is known before it is asked for")
	}
	servers.Keep(nil, []*toolmcp.Group{all, some})
	<-servers.Changed()
	list, _, err := all.Known()
	if err != nil || len(list) != 5 || list[4].Name != "e" || list[4].Description != "The tool e" || string(list[4].InputSchema) != schema {
		t.Fatalf("%+v %v", list, err)
	}
	list, missing, err := some.Known()
	if err != nil || len(list) != 1 || list[0].Name != "d" || fmt.Sprint(missing) != "[zz]" {
		t.Errorf("%+v %v %v", list, missing, err)
	}
	if got, err := insist(t, all.Handler("d")); err != nil || got != "d" {
		t.Errorf("%q %v", got, err)
	}
	add("zz")
	if err := some.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-servers.Changed()
	if list, missing, _ = some.Known(); len(list) != 2 || missing != nil {
		t.Errorf("%+v %v", list, missing)
	}
}

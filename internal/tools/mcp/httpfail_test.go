package mcp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
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

// A stream that breaks off is asked for again by GET. Whatever that is answered
// with, the call has been taken by then: it is lost, and not sent again.
func TestMCPOverHTTPResumes(t *testing.T) {
	for _, status := range []int{302, 400, 404, 405, 500} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			d, _ := newDoor(t)
			var gets atomic.Int32
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					gets.Add(1)
					w.WriteHeader(status)
					return
				}
				d.ServeHTTP(w, r)
			}))
			t.Cleanup(web.Close)
			d.with(func(w http.ResponseWriter, r *http.Request) bool {
				w.Header().Set("Content-Type", "text/event-stream")
				fmt.Fprint(w, "id: 1_0\nretry: 1\ndata:\n\n")
				return true
			})
			h := newMCP(t, newServers(t, handlertest.Processes(t)), toolmcp.Config{URL: web.URL}, tools.Common{Name: "mcp_tool"})
			_, err := callFor(t, h, 10*time.Second, `{}`)
			mustLose(t, err, "")
			handlertest.NoneOf(t, err.Error(), d.seen[0].Get("Mcp-Session-Id"))
			if d.calls.Load() != 1 || gets.Load() != 1 {
				t.Errorf("sent %d times, asked for again %d times", d.calls.Load(), gets.Load())
			}
		})
	}
}

// A stream that can't be asked for again breaks the connection; its error names the
// server, and neither the query of its url nor the session.
func TestMCPOverHTTPHidesQuery(t *testing.T) {
	if !handlertest.Alone(t) {
		return
	}
	d, _ := newDoor(t)
	var queries atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "key=hidden" {
			queries.Add(1)
		}
		if r.Method == http.MethodGet {
			panic(http.ErrAbortHandler)
		}
		d.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	d.with(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "id: 1_0\nretry: 1\ndata:\n\n")
		return true
	})
	h := newMCP(t, newServers(t, handlertest.Processes(t)), toolmcp.Config{URL: web.URL + "/mcp?key=hidden"}, tools.Common{Name: "mcp_tool"})
	_, err := callFor(t, h, 20*time.Second, `{}`)
	mustLose(t, err, web.URL+"/mcp")
	handlertest.NoneOf(t, err.Error(), "hidden", d.seen[0].Get("Mcp-Session-Id"))
	if n := queries.Load(); n < 4 {
		t.Errorf("%d requests had the query, want the handshake, the call and each GET", n)
	}
}

// A server that has forgotten the session, as after a restart, gets a new one,
// however it says so. Only of a 404 the protocol says that the call has not run.
func TestMCPOverHTTPForgets(t *testing.T) {
	for name, said := range map[string]struct {
		status int
		body   string
		answer string // of the call; empty: it is unavailable
	}{
		"404 without an id": {404, `{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}`, ""},
		"404 with an id":    {404, `{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Session not found"}}`, ""},
		"400": {400, `{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":3}`,
			"HTTP 400 Bad Request: Bad Request: No valid session ID provided"},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := newDoor(t)
			var forgotten atomic.Pointer[string]
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if id := forgotten.Load(); id != nil && r.Header.Get("Mcp-Session-Id") == *id {
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(said.status)
					_, _ = io.WriteString(w, said.body)
					return
				}
				d.ServeHTTP(w, r)
			}))
			t.Cleanup(web.Close)
			h := newMCP(t, newServers(t, handlertest.Processes(t)), toolmcp.Config{URL: web.URL}, tools.Common{Name: "mcp_tool"})
			if _, err := insist(t, h); err != nil {
				t.Fatal(err)
			}
			id := d.seen[0].Get("Mcp-Session-Id")
			forgotten.Store(&id)
			r, err := callFor(t, h, 10*time.Second, `{}`)
			if said.answer == "" {
				mustMiss(t, err, "no longer knows our session")
			} else if err != nil || !r.IsError || handlertest.Text(t, r) != said.answer {
				t.Errorf("%s %v, expected %q", r.Content, err, said.answer)
			}
			if got, err := insist(t, h); err != nil || got != "{}" || d.calls.Load() != 2 {
				t.Errorf("%q %v, run %d times", got, err, d.calls.Load())
			}
			// Who lists need not know.
			forgotten.Store(new(d.seen[1].Get("Mcp-Session-Id")))
			if err := h.(interface{ Live(context.Context) error }).Live(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A server whose tools fail with a 4xx is called once a call, also where a ping gets the
// same status, and the calls that are under way are not harmed.
func TestMCPOverHTTPRefusesPings(t *testing.T) {
	for ping, sessions := range map[string]int32{
		`{"code":-32601,"message":"method not found"}`: 1,
		`{"code":-32000,"message":"what is that?"}`:    2, // it may have forgotten the session
	} {
		t.Run(ping, func(t *testing.T) {
			hold := make(chan struct{})
			var begun, ran, held atomic.Int32
			web := plainHTTP(t, writeJSON, func(w http.ResponseWriter, _ *http.Request, method, tool string) bool {
				refusal := ping
				switch {
				case method == "initialize":
					begun.Add(1)
					return false
				case tool == "hold":
					held.Add(1)
					<-hold
					return false
				case tool == "pay":
					ran.Add(1)
					refusal = `{"code":-32000,"message":"paid, but there is no receipt"}`
				case method != "ping":
					return false
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprintf(w, `{"jsonrpc":"2.0","id":7,"error":%s}`, refusal)
				return true
			})
			servers := newServers(t, handlertest.Processes(t))
			of := func(tool string) tools.Handler {
				return newMCP(t, servers, toolmcp.Config{URL: web.URL}, tools.Common{Name: tool})
			}
			var other sync.WaitGroup
			other.Go(func() { mustAnswer(t, of("hold"), "answered") })
			testkit.Eventually(t, "the other call", func() bool { return held.Load() == 1 })
			mustAnswer(t, of("pay"), "HTTP 400 Bad Request: paid, but there is no receipt")
			mustAnswer(t, of("x"), "answered")
			close(hold)
			other.Wait()
			if ran.Load() != 1 || held.Load() != 1 || begun.Load() != sessions {
				t.Errorf("run %d times, the other one %d times, %d sessions", ran.Load(), held.Load(), begun.Load())
			}
		})
	}
}

// Who has the url wrong is told what is wrong with it, and no secret.
func TestMCPOverHTTPTrouble(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/page" {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			return
		}
		w.Header().Set("Location", "/page?key=hidden")
		w.WriteHeader(map[string]int{"/none": 404, "/moved": 302, "/login": 401}[r.URL.Path])
	}))
	t.Cleanup(web.Close)
	secure := httptest.NewUnstartedServer(nil)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	closed := httptest.NewServer(nil)
	closed.Close()
	for url, want := range map[string]string{
		web.URL + "/none":  "HTTP 404 Not Found",
		web.URL + "/moved": "HTTP 302 Found (redirects are not followed)",
		web.URL + "/login": "HTTP 401 Unauthorized",
		web.URL + "/page":  "it answers with text/html, which is no MCP: is the path of the url right?",
		closed.URL:         "connection refused",
		secure.URL:         "certificate",
	} {
		h := newMCP(t, newServers(t, handlertest.Processes(t)), toolmcp.Config{URL: strings.Replace(url, "://", "://ada:pass-word@", 1) + "?key=hidden"}, tools.Common{Name: "t"})
		_, err := callFor(t, h, 10*time.Second, `{}`)
		mustMiss(t, err, want)
		handlertest.NoneOf(t, err.Error(), "hidden", "pass-word")
	}
}

// However often a server is looked for, the reason says once when it is tried again.
func TestMCPReasonDoesNotGrow(t *testing.T) {
	if !handlertest.Alone(t) {
		return
	}
	servers := newServers(t, handlertest.Processes(t))
	cfg := childServer(t, "raw", "down")
	cfg.All = true
	g, err := toolmcp.NewGroup(cfg, tools.Common{Name: "g", Dir: "/"}, servers)
	if err != nil {
		t.Fatal(err)
	}
	servers.Keep(nil, []*toolmcp.Group{g})
	for until := time.Now().Add(time.Second); time.Now().Before(until); {
		_, err := callFor(t, g.Handler("x"), 10*time.Second, `{}`)
		mustMiss(t, err, "")
		_, _, why := g.Known()
		if strings.Count(err.Error(), "tried again") > 1 || why == nil || strings.Contains(why.Error(), "tried again") {
			t.Fatalf("%v, known: %v", err, why)
		}
	}
}

// What is read of what a server lists is bounded over all of its pages.
func TestMCPGroupIsTooLarge(t *testing.T) {
	server := mcp.NewServer(&mcp.Implementation{Name: "s", Version: "1"}, &mcp.ServerOptions{PageSize: 1})
	for i := range 8 {
		server.AddTool(&mcp.Tool{Name: fmt.Sprint("t", i), Description: strings.Repeat("x", 4<<20), InputSchema: json.RawMessage(`{"type":"object"}`)},
			func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) { return nil, errors.New("no") })
	}
	web := httptest.NewServer(overHTTP(server))
	t.Cleanup(web.Close)
	g, err := toolmcp.NewGroup(toolmcp.Config{URL: web.URL, All: true}, tools.Common{Name: "g"}, newServers(t, handlertest.Processes(t)))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, _, err := g.Known()
	if wrong := g.Problems(); err != nil || len(list) != 4 || len(wrong) != 1 || !strings.Contains(wrong[0].Text, "16777216 bytes: the first 4 tools are used") {
		t.Errorf("%d tools, %v, %v", len(list), wrong, err)
	}
}

// Entries that are no tools count like tools, and few of them are told.
func TestMCPGroupListsJunk(t *testing.T) {
	var pages atomic.Int32
	web := plainHTTP(t, writeJSON, func(w http.ResponseWriter, _ *http.Request, method, _ string) bool {
		if method != "tools/list" {
			return false
		}
		n := pages.Add(1)
		page := fmt.Sprintf(`{"name":"t%d","inputSchema":{"type":"object"}}`, n) + strings.Repeat(",0", 900)
		writeJSON(w, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{"tools":[%s],"nextCursor":"%d"}}`, n+1, page, n))
		return true
	})
	g := group(t, newServers(t, handlertest.Processes(t)), toolmcp.Config{URL: web.URL, All: true})
	list, wrong := mustList(t, g), g.Problems()
	if len(list) != 3 || pages.Load() != 3 || len(wrong) != 22 {
		t.Fatalf("%d tools of %d pages, %d problems", len(list), pages.Load(), len(wrong))
	}
	for i, want := range map[int]string{
		19: "expected an object, found 0",
		20: "1977 more entries can't be used",
		21: "more than 2000 entries, 200 pages or 16777216 bytes: the first 3 tools are used",
	} {
		if !strings.Contains(wrong[i].Text, want) {
			t.Errorf("problem %d: %v, expected %q", i, wrong[i], want)
		}
	}
}

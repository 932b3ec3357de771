package mcp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"toolhand/internal/testkit"
	"toolhand/internal/tools"
	"toolhand/internal/tools/handlertest"
	toolmcp "toolhand/internal/tools/mcp"
)

// Servers as they are found in the wild: what they do that the protocol does not have.

// wild makes a group of all tools of rawMCP, with more variables in its environment.
func wild(t *testing.T, servers *toolmcp.Servers, env map[string]string, args ...string) *toolmcp.Group {
	t.Helper()
	cfg := childServer(t, append([]string{"raw"}, args...)...)
	maps.Copy(cfg.Env, env)
	cfg.All, cfg.Names = true, []string{}
	return group(t, servers, cfg)
}

func group(t *testing.T, servers *toolmcp.Servers, cfg toolmcp.Config) *toolmcp.Group {
	t.Helper()
	g, err := toolmcp.NewGroup(cfg, tools.Common{Name: "g", Dir: "/"}, servers)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// mustList lists with patience.
func mustList(t *testing.T, g *toolmcp.Group) []toolmcp.ServerTool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	if err := g.List(ctx); err != nil {
		t.Fatal(err)
	}
	list, _, err := g.Known()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func mustAnswer(t *testing.T, h tools.Handler, want string) {
	t.Helper()
	if got, err := insist(t, h); err != nil || !strings.HasPrefix(got, want) {
		t.Errorf("%q %v, expected %q", got, err, want)
	}
}

// starts is how often a program was started that notes it in a file.
func starts(file string) int {
	text, _ := os.ReadFile(file)
	return strings.Count(string(text), "pid ")
}

// A server that reads nothing while it works on a call keeps another one waiting, until
// that one's deadline; the first is not harmed, and nothing ends the server.
func TestMCPServerIsBusy(t *testing.T) {
	servers := newServers(t, handlertest.Processes(t))
	servers.SetBounds(time.Minute, 50*time.Millisecond)
	file := filepath.Join(t.TempDir(), "wire")
	done := filepath.Join(t.TempDir(), "done")
	g := wild(t, servers, map[string]string{"DONE": done}, "", file)
	mustAnswer(t, g.Handler("x"), "x by ")
	var calls sync.WaitGroup
	patient := func(tool, input string) {
		calls.Go(func() {
			r, err := callFor(t, g.Handler(tool), testkit.Patience, input)
			if err != nil || !strings.HasPrefix(handlertest.Text(t, r), tool+" by ") {
				t.Errorf("%s: %+v %v", tool, r, err)
			}
		})
	}
	patient("work", `{}`)
	testkit.Eventually(t, "the first call", func() bool {
		text, _ := os.ReadFile(file)
		return strings.Contains(string(text), `"work"`)
	})
	large := `{"x":"` + strings.Repeat("x", 200<<10) + `"}` // a pipe holds less
	patient("waits", large)
	_, err := callFor(t, g.Handler("hasty"), 300*time.Millisecond, large)
	if err == nil || !strings.Contains(err.Error(), "deadline exceeded") {
		t.Errorf("the one that does not wait: %v", err)
	}
	<-time.After(300 * time.Millisecond) // some pings later
	if err := os.WriteFile(done, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	calls.Wait()
	if n := starts(file); n != 1 {
		t.Errorf("%d starts", n)
	}
}

// A line that is too long ends the call whose answer it is, wherever its id is, and is
// skipped; all else goes on.
func TestMCPServerWritesALongLine(t *testing.T) {
	servers := newServers(t, handlertest.Processes(t))
	file := filepath.Join(t.TempDir(), "wire")
	g := wild(t, servers, nil, "", file)
	mustAnswer(t, g.Handler("x"), "x by ")
	var other sync.WaitGroup
	other.Go(func() {
		r, err := callFor(t, g.Handler("later"), testkit.Patience, `{}`)
		if err != nil || handlertest.Text(t, r) != "later" {
			t.Errorf("%+v %v", r, err)
		}
	})
	for _, tool := range []string{"huge", "huge last"} {
		mustAnswer(t, g.Handler(tool), "the server answered with a message of more than 16777216 bytes")
	}
	mustAnswer(t, g.Handler("huge note"), "huge note by ") // that line answers no call
	other.Wait()
	if n := starts(file); n != 1 {
		t.Errorf("%d starts", n)
	}
}

// A program that takes long to start is waited for by each call until its deadline, and
// by a list as long as its context says; none of them ends it.
func TestMCPServerStartsSlowly(t *testing.T) {
	servers := newServers(t, handlertest.Processes(t))
	servers.SetBounds(50*time.Millisecond, 50*time.Millisecond)
	file := filepath.Join(t.TempDir(), "wire")
	g := wild(t, servers, map[string]string{"MINE": "the-secret"}, "slow start", file)
	_, err := callFor(t, g.Handler("x"), 600*time.Millisecond, `{}`)
	mustMiss(t, err, `mcp.test …" has not answered initialize within `)
	mustMiss(t, err, ": context deadline exceeded\nthe end of its stderr: downloading [redacted]")
	if _, _, err := g.Known(); err == nil || !strings.Contains(err.Error(), "has not answered initialize within") {
		t.Errorf("known: %v", err)
	}
	if list := mustList(t, g); len(list) != 1 {
		t.Errorf("%v", list)
	}
	mustAnswer(t, g.Handler("x"), "x by ")
	if n := starts(file); n != 1 {
		t.Errorf("%d starts", n)
	}
}

// What a server says of itself and its tools is taken as far as it is needed.
func TestMCPServerSaysOddThings(t *testing.T) {
	const schema = `{"type":"object"}`
	long := strings.Repeat("long ", 10_000)
	for name, c := range map[string]struct {
		initialize, tools string
		want              []toolmcp.ServerTool
		wrong             []toolmcp.Problem
		fails             string
	}{
		"descriptions": {
			tools: `[{"name":"a","description":"` + long + `","inputSchema":{"type":"object"}},
				{"name":"b","title":"The B","inputSchema":{"type":"object"}},
				{"name":"c","description":"","annotations":{"title":"The C"},"inputSchema":{"type":"object"}},
				{"name":"d","description":null,"title":7,"inputSchema":null}]`,
			want: []toolmcp.ServerTool{
				{Name: "a", Description: long, InputSchema: json.RawMessage(schema)}, {Name: "b", Title: "The B", InputSchema: json.RawMessage(schema)},
				{Name: "c", Title: "The C", InputSchema: json.RawMessage(schema)}, {Name: "d"},
			},
		},
		"malformed tools": {
			tools: `["x",{"name":"a","inputSchema":"{}"},{"name":5,"inputSchema":{}},{"name":"good","inputSchema":{"type":"object"}},{"inputSchema":{}}]`,
			want:  []toolmcp.ServerTool{{Name: "good", InputSchema: json.RawMessage(schema)}},
			wrong: []toolmcp.Problem{
				{Tool: `"x"`, Text: `expected an object, found "x"`}, {Tool: "a", Text: `inputSchema: expected an object, found "{}"`},
				{Tool: "5", Text: "name: expected a string that is not empty, found 5"}, {Tool: `{"inputSchema":{}}`, Text: "name: expected a string that is not empty, found nothing"},
			},
		},
		"no list": {tools: `{"a":1}`, fails: `its tools can't be listed: the server answers tools/list without an array "tools"`},
		"odd types": {
			initialize: `{"protocolVersion":"2025-03-26","capabilities":["tools"],"serverInfo":"me","instructions":7}`,
			tools:      `[]`,
		},
		"an old version":     {initialize: `{"protocolVersion":"2024-11-05"}`, tools: `[]`},
		"an unknown version": {initialize: `{"protocolVersion":"2023-01-01"}`, fails: `the server speaks version "2023-01-01" of the protocol, which is not supported: expected one of 2026-07-28, 2025-11-25`},
		"no version":         {initialize: `{"serverInfo":{}}`, fails: `the server names no version of the protocol in its answer to initialize`},
	} {
		t.Run(name, func(t *testing.T) {
			g := wild(t, newServers(t, handlertest.Processes(t)), map[string]string{
				"INITIALIZE": c.initialize, "PAGES": strings.ReplaceAll(`{"":{"tools":`+c.tools+`}}`, "\n", " "),
			}, "")
			if err := g.List(t.Context()); err != nil || c.fails != "" {
				if err == nil || c.fails == "" || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("%v, expected %q", err, c.fails)
				}
				return
			}
			list, _, err := g.Known()
			if fmt.Sprintf("%q", list) != fmt.Sprintf("%q", c.want) || err != nil {
				t.Errorf("got %q %v\nexpected %q", list, err, c.want)
			}
			if wrong := g.Problems(); fmt.Sprint(wrong) != fmt.Sprint(c.wrong) {
				t.Errorf("wrong %v\nexpected %v", wrong, c.wrong)
			}
		})
	}
}

// Pages that do not end are read as far as there is a use in it.
func TestMCPServerPagesWithoutEnd(t *testing.T) {
	for name, c := range map[string]struct {
		pages string
		tools int
	}{
		"the same cursor": {`{"":{"tools":[{"name":"a"}],"nextCursor":"b"},"b":{"tools":[{"name":"b"}],"nextCursor":"b"}}`, 2},
		"a circle":        {`{"":{"tools":[{"name":"a"}],"nextCursor":"b"},"b":{"tools":[{"name":"b"}],"nextCursor":"c"},"c":{"tools":[{"name":"c"}],"nextCursor":"b"}}`, 3},
		"the same page":   {`{"":{"tools":[{"name":"a"}],"nextCursor":"b"},"*":{"tools":[{"name":"a"}],"nextCursor":"N"}}`, 1},
		"empty pages":     {`{"":{"tools":[{"name":"a"}],"nextCursor":"b"},"*":{"tools":[],"nextCursor":"N"}}`, 1},
		"new pages":       {`{"":{"tools":[{"name":"a"}],"nextCursor":"b"},"*":{"tools":[{"name":"N"}],"nextCursor":"N"}}`, 200},
	} {
		t.Run(name, func(t *testing.T) {
			g := wild(t, newServers(t, handlertest.Processes(t)), map[string]string{"PAGES": c.pages}, "")
			list, wrong := mustList(t, g), g.Problems()
			if len(list) != c.tools || len(wrong) != 1 || wrong[0].Tool != "" || !strings.Contains(wrong[0].Text, fmt.Sprintf("the first %d tools are used", c.tools)) {
				t.Errorf("%d tools, problems %v", len(list), wrong)
			}
		})
	}
}

// One tool of a server can be asked for without knowing anything of it but its name.
func TestMCPGroupOfOne(t *testing.T) {
	cfg := childServer(t, "raw", "")
	cfg.Tool, cfg.Env["PAGES"] = "two", `{"":{"tools":[{"name":"one"},{"name":7},{"name":"two","description":"The second.","inputSchema":{"type":"object"}},{"name":"three","inputSchema":3}]}}`
	servers := newServers(t, handlertest.Processes(t))
	g := group(t, servers, cfg)
	if list := mustList(t, g); len(list) != 1 || list[0].Description != "The second." || string(list[0].InputSchema) != `{"type":"object"}` || len(g.Problems()) != 0 {
		t.Errorf("%+v %v", list, g.Problems())
	}
	mustAnswer(t, g.Handler("two"), "two by ")
	cfg.Tool = "three"
	g = group(t, servers, cfg)
	list := mustList(t, g)
	if _, missing, err := g.Known(); len(list) != 0 || fmt.Sprint(missing) != "[three]" || err != nil || fmt.Sprint(g.Problems()) != "[{three inputSchema: expected an object, found 3}]" {
		t.Errorf("%v %v %v, problems %v", list, missing, err, g.Problems())
	}
}

// Ids that come back as strings, and a mark of the byte order before all.
func TestMCPServerSpellsOddly(t *testing.T) {
	servers := newServers(t, handlertest.Processes(t))
	for _, mode := range []string{"strings", "bom"} {
		g := wild(t, servers, nil, mode)
		mustAnswer(t, g.Handler("progress"), "progress by ")
		if list := mustList(t, g); len(list) != 1 {
			t.Errorf("%s: %v", mode, list)
		}
	}
	for name, spell := range map[string]func(http.ResponseWriter, string){
		"BOM before JSON": func(w http.ResponseWriter, m string) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, "\ufeff"+m)
		},
		"BOM before events": func(w http.ResponseWriter, m string) {
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			fmt.Fprintf(w, "\ufeffdata: %s\n\n", m)
		},
		"ids as strings": func(w http.ResponseWriter, m string) {
			w.Header().Set("Content-Type", "application/json")
			id, rest, _ := strings.Cut(strings.TrimPrefix(m, `{"jsonrpc":"2.0","id":`), ",")
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":"%s",%s`, id, rest)
		},
		"ids as strings in events": func(w http.ResponseWriter, m string) {
			w.Header().Set("Content-Type", "text/event-stream")
			id, rest, _ := strings.Cut(strings.TrimPrefix(m, `{"jsonrpc":"2.0","id":`), ",")
			fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":\"%s\",%s\n\n", id, rest)
		},
	} {
		t.Run(name, func(t *testing.T) {
			web := plainHTTP(t, spell, nil)
			mustAnswer(t, newMCP(t, servers, toolmcp.Config{URL: web.URL}, tools.Common{Name: "x"}), "answered")
		})
	}
}

// plainHTTP is a server at a URL without the SDK. before may answer a request itself.
func plainHTTP(t *testing.T, write func(http.ResponseWriter, string), before func(w http.ResponseWriter, r *http.Request, method, tool string) bool) *httptest.Server {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m struct {
			ID     json.RawMessage
			Method string
			Params struct{ Name string }
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_ = json.Unmarshal(body, &m) // DELETE has none
		if before != nil && before(w, r, m.Method, m.Params.Name) {
			return
		}
		if m.ID == nil {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		result := `{"content":[{"type":"text","text":"answered"}]}`
		if m.Method == "initialize" {
			result = `{"protocolVersion":"2025-06-18"}`
			w.Header().Set("Mcp-Session-Id", "the-session")
		}
		write(w, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result))
	}))
	t.Cleanup(web.Close)
	return web
}

func writeJSON(w http.ResponseWriter, m string) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, m)
}

// Whatever one call is answered with over HTTP, it is told as what it is, with the
// server's own words and without our secrets; the other calls and the session live on.
// So they do where the server takes no notifications.
func TestMCPOverHTTPOddAnswers(t *testing.T) {
	type answer struct {
		status       int
		kind, body   string
		result, lost string
	}
	all := map[string]answer{
		"page":    {200, "text/html", "<html><style>x{}</style><body>\n <h1>Please  sign in</h1></body></html>", "", "it answers with text/html, which is no MCP: is the path of the url right?\nit says: Please sign in"},
		"nothing": {202, "", "", "", "it answers with no content type, which is no MCP: is the path of the url right?"},
		"garbage": {200, "application/json", `{"ok":true}`, "", "it answers with what is no message of MCP\nit says: {\"ok\":true}"},
		"no id":   {200, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}`, "", "it answers with what is no message of MCP\nit says: Parse error"},
		"refused": {403, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"No such tenant"}}`, "HTTP 403 Forbidden: No such tenant", ""},
		"oauth":   {401, "application/json", `{"error":"invalid_token"}`, `HTTP 401 Unauthorized: {"error":"invalid_token"}`, ""},
		"large":   {413, "text/html", "<title>Request Entity Too Large</title>", "HTTP 413 Request Entity Too Large: Request Entity Too Large", ""},
		"busy":    {503, "text/plain", "try later", "HTTP 503 Service Unavailable: try later", ""},
		"blurt":   {401, "text/plain", "bad key sk-of-header for key=sk%2Bof%2Bquery, sk+of+query or pass-word", "HTTP 401 Unauthorized: bad key [redacted] for [redacted], [redacted] or [redacted]", ""},
	}
	hold := make(chan struct{})
	var sessions, gone atomic.Int32
	web := plainHTTP(t, writeJSON, func(w http.ResponseWriter, r *http.Request, method, tool string) bool {
		a, odd := all[tool]
		switch {
		case r.Method == http.MethodDelete:
			gone.Add(1)
			w.WriteHeader(http.StatusMethodNotAllowed)
			return true
		case strings.HasPrefix(method, "notifications/"):
			w.WriteHeader(http.StatusBadRequest)
			return true
		case method == "initialize":
			sessions.Add(1)
		case tool == "hold":
			<-hold
		case odd:
			w.Header().Set("Content-Type", a.kind)
			w.WriteHeader(a.status)
			_, _ = io.WriteString(w, a.body)
			return true
		}
		return false
	})
	var log syncBuffer
	servers := toolmcp.NewServers(handlertest.Processes(t), slog.New(slog.NewTextHandler(&log, nil)))
	cfg := toolmcp.Config{URL: strings.Replace(web.URL, "://", "://ada:pass-word@", 1) + "?key=sk%2Bof%2Bquery", Headers: map[string]string{"X-Key": "Bearer sk-of-header"}}
	of := func(tool string) tools.Handler { return newMCP(t, servers, cfg, tools.Common{Name: tool}) }
	mustAnswer(t, of("x"), "answered")
	var held sync.WaitGroup
	held.Go(func() { mustAnswer(t, of("hold"), "answered") })
	for name, a := range all {
		r, err := callFor(t, of(name), 10*time.Second, `{}`)
		if a.lost != "" {
			mustLose(t, err, a.lost)
		} else if err != nil || !r.IsError || handlertest.Text(t, r) != a.result {
			t.Errorf("%s: %s %v, expected %q", name, r.Content, err, a.result)
		}
	}
	close(hold)
	held.Wait()
	if err := servers.Close(); err != nil || sessions.Load() != 1 || gone.Load() != 1 || log.String() != "" {
		t.Errorf("%v, %d sessions, ended %d times:\n%s", err, sessions.Load(), gone.Load(), log.String())
	}
}

// A server at a URL that takes long for the handshake is asked once, whoever gives up.
func TestMCPOverHTTPStartsSlowly(t *testing.T) {
	var asked atomic.Int32
	web := plainHTTP(t, writeJSON, func(_ http.ResponseWriter, _ *http.Request, method, _ string) bool {
		if method == "initialize" {
			asked.Add(1)
			<-time.After(time.Second)
		}
		return false
	})
	h := newMCP(t, newServers(t, handlertest.Processes(t)), toolmcp.Config{URL: web.URL}, tools.Common{Name: "x"})
	_, err := callFor(t, h, 300*time.Millisecond, `{}`)
	mustMiss(t, err, fmt.Sprintf("the MCP server %q has not answered initialize within 3", web.URL))
	mustAnswer(t, h, "answered")
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	// One whose answer is lost is asked again.
	lost := plainHTTP(t, writeJSON, func(_ http.ResponseWriter, r *http.Request, method, _ string) bool {
		if method == "initialize" && asked.Add(1) == 2 {
			<-r.Context().Done()
		}
		return false
	})
	servers := newServers(t, handlertest.Processes(t))
	servers.SetBounds(600*time.Millisecond, time.Minute)
	h = newMCP(t, servers, toolmcp.Config{URL: lost.URL}, tools.Common{Name: "x"})
	_, err = callFor(t, h, 100*time.Millisecond, `{}`)
	mustMiss(t, err, "deadline exceeded")
	mustAnswer(t, h, "answered")
}

// A refusal of the handshake in JSON-RPC is one under an HTTP status too.
func TestMCPOverHTTPIsModern(t *testing.T) {
	web := plainHTTP(t, writeJSON, func(w http.ResponseWriter, _ *http.Request, method, _ string) bool {
		switch method {
		case "initialize":
			w.WriteHeader(http.StatusBadRequest)
			writeJSON(w, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no such method"}}`)
		case "server/discover":
			writeJSON(w, `{"jsonrpc":"2.0","id":2,"result":{"supportedVersions":["2026-07-28"]}}`)
		default:
			return false
		}
		return true
	})
	mustAnswer(t, newMCP(t, newServers(t, handlertest.Processes(t)), toolmcp.Config{URL: web.URL}, tools.Common{Name: "x"}), "answered")
}

// What the manifest gives a server that may be a secret is in no answer and no line of
// the log, though the server says it.
func TestMCPServerBlurtsSecrets(t *testing.T) {
	var log syncBuffer
	servers := toolmcp.NewServers(handlertest.Processes(t), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	g := wild(t, servers, map[string]string{"KEY": "sk-of-env"}, "")
	mustAnswer(t, g.Handler("blurt"), "The MCP server refused the call: bad key: [redacted] (code -32000)")
	_, err := insist(t, g.Handler("blurt and die"))
	mustLose(t, err, "the server ended: exit status 4\nthe end of its stderr: starting with the key [redacted] | bad key")
	if err := servers.Close(); err != nil {
		t.Error(err)
	}
	handlertest.NoneOf(t, log.String(), "sk-of-env")
	if !strings.Contains(log.String(), "starting with the key [redacted]") {
		t.Errorf("the log:\n%s", log.String())
	}
}

// What a server says, on its stderr or in a refusal, is no part of an error's text, which
// logs have.
func TestMCPServerWordsAreNoReason(t *testing.T) {
	const words = "customer 4711"
	web := plainHTTP(t, writeJSON, func(w http.ResponseWriter, r *http.Request, method, tool string) bool {
		switch {
		case r.URL.Path == "/page" || tool == "page":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, words)
		case r.URL.Path == "/login":
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, words)
		case r.URL.Path == "/refuse" && method == "initialize", method == "tools/list":
			writeJSON(w, `{"jsonrpc":"2.0","id":`+map[string]string{"initialize": "1", "tools/list": "2"}[method]+`,"error":{"code":-32001,"message":"`+words+`"}}`)
		default:
			return false
		}
		return true
	})
	var log syncBuffer
	servers := toolmcp.NewServers(handlertest.Processes(t), slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(func() { _ = servers.Close() })
	check := func(name string, err error) {
		t.Helper()
		if err == nil || strings.Contains(err.Error(), words) || !strings.Contains(tools.Said(err), words) {
			t.Errorf("%s: %v, said: %q", name, err, tools.Said(err))
		}
	}
	for _, path := range []string{"/page", "/login", "/refuse"} {
		_, err := insist(t, newMCP(t, servers, toolmcp.Config{URL: web.URL + path}, tools.Common{Name: "x"}))
		check(path, err)
		_, _, err = group(t, servers, toolmcp.Config{URL: web.URL + path, All: true}).Known()
		check(path+", known", err)
	}
	_, err := insist(t, newMCP(t, servers, toolmcp.Config{URL: web.URL}, tools.Common{Name: "page"}))
	check("an answer", err)
	check("a list", group(t, servers, toolmcp.Config{URL: web.URL + "/list", All: true}).List(t.Context()))
	_, err = insist(t, wild(t, servers, nil, "").Handler("blurt and die"))
	if err == nil || strings.Contains(err.Error(), "bad key") || !strings.Contains(tools.Said(err), "bad key") {
		t.Errorf("stderr: %v, said: %q", err, tools.Said(err))
	}
	handlertest.NoneOf(t, log.String(), words, "bad key")
}

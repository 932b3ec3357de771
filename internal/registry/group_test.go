package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"toolhand/internal/schema"
	"toolhand/internal/testkit"
	"toolhand/internal/tools"
	toolmcp "toolhand/internal/tools/mcp"
	"toolhand/internal/tools/proctree"
)

const mcpSchema = `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"z":{"type":"string"},"a":{"maximum":12345678901234567890}},"required":["z"]}`

// A far is an MCP server on loopback that can be away.
type far struct {
	*mcp.Server
	url  string
	mu   sync.Mutex
	away bool // guarded by mu
	// starts is closed once the server has started; nil: it has.
	starts chan struct{}
}

func newFar(t *testing.T, names ...string) *far {
	t.Helper()
	f := &far{Server: mcp.NewServer(&mcp.Implementation{Name: "far", Version: "1"}, nil)}
	inner := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return f.Server }, nil)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		away := f.away
		f.mu.Unlock()
		if away {
			panic(http.ErrAbortHandler)
		}
		if f.starts != nil {
			<-f.starts
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		web.Close()
		for s := range f.Sessions() {
			_ = s.Close()
		}
	})
	f.url = web.URL
	for _, name := range names {
		f.offer(name, mcpSchema)
	}
	return f
}

func (f *far) offer(name, schema string) {
	f.AddTool(&mcp.Tool{Name: name, Description: "The tool " + name + ".", InputSchema: json.RawMessage(schema)}, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "by " + name}}}, nil
	})
}

func (f *far) be(away bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = away
}

// logged is a log that many may write to.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// groupOptions are those of a registry with MCP servers.
func groupOptions(t *testing.T, dir string) (Options, *logged) {
	t.Helper()
	procs, err := proctree.New(proctree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log := &logged{}
	lines := slog.New(slog.NewTextHandler(log, nil))
	servers := toolmcp.NewServers(procs, lines)
	t.Cleanup(func() {
		if err := errors.Join(servers.Close(), procs.Close()); err != nil {
			t.Error(err)
		}
	})
	return Options{Dir: dir, Dependencies: Dependencies{Servers: servers}, Wait: 5 * time.Second, Log: lines, format: recorded()}, log
}

func groupOf(name, url, rest string) string {
	return fmt.Sprintf("name: %s\nconcurrency: 3\ndeadline: 7s\nidempotent: true\nhandler: { mcp: { url: %q, %s } }\n", name, url, rest)
}

func namesOf(s *Set) string {
	var all []string
	for _, t := range s.Tools() {
		all = append(all, t.Name)
	}
	return strings.Join(all, " ")
}

// callOf runs a tool once.
func callOf(t *testing.T, tool *Tool) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := tool.Handler.Call(ctx, tools.Call{ID: "sevt_1", Tool: tool.Name, Input: json.RawMessage(`{"z":"x"}`)})
	return string(r.Content), err
}

// A group's tools are like any other, as the manifest and the server say.
func TestGroup(t *testing.T) {
	f := newFar(t, "one", "two")
	f.offer("bad.name", mcpSchema)
	f.offer("bad_schema", `{"type":"object","properties":{"x":{"$ref":"#/$defs/none"}}}`)
	dir := write(t, map[string]string{
		"own.yaml":  manifestOf("own"),
		"gh.yaml":   groupOf("gh", f.url, `tools: "*", prefix: gh_`),
		"some.yaml": groupOf("some", f.url, `tools: [two]`),
	})
	opts, _ := groupOptions(t, dir)
	set, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	if got := namesOf(set); got != "gh_one gh_two own two" || set.Groups() != 2 || len(set.Missing()) != 0 {
		t.Fatalf("tools %q, %d groups, missing %v", got, set.Groups(), set.Missing())
	}
	one, _ := set.Lookup("gh_one")
	if one.Group != "gh" || one.LimitName() != "gh" || one.Concurrency != 3 || one.Deadline != 7*time.Second || !one.Idempotent ||
		one.Description != "The tool one." || string(one.InputSchema) != mcpSchema || one.Kind != "mcp" {
		t.Errorf("%+v", one)
	}
	var invalid *schema.InvalidError
	if err := one.Validate(t.Context(), json.RawMessage(`{}`)); !errors.As(err, &invalid) || !strings.Contains(err.Error(), `Invalid input for tool "gh_one":`) {
		t.Errorf("validate: %v", err)
	}
	if got, err := callOf(t, one); err != nil || !strings.Contains(got, "by one") {
		t.Errorf("%s %v", got, err)
	}
	w := strings.Join(set.Warnings(), "\n")
	for _, want := range []string{`"bad.name" of its MCP server is unavailable: name: expected 1 to 128`, `"bad_schema" of its MCP server is unavailable: input_schema:`} {
		if !strings.Contains(w, want) {
			t.Errorf("no warning %q in\n%s", want, w)
		}
	}
	if out, err := set.Export(); err != nil || !bytes.Contains(out, []byte(`"gh_two"`)) || !bytes.Contains(out, []byte("12345678901234567890")) {
		t.Errorf("export: %s %v", out, err)
	}
}

// What can't be had of a server is a warning and unavailable, and harms nothing else.
func TestGroupProblems(t *testing.T) {
	f := newFar(t, "one", "own")
	f.offer("bad", `{"type":"object","properties":5}`)
	for want, c := range map[string]struct{ text, tools, unavailable string }{
		`the tool "none" of its MCP server is unavailable: its MCP server has no such tool`: {`tools: [one, none]`, "one own", "none"},
		`the tool "bad" of its MCP server is unavailable: input_schema.properties:`:         {`tools: [one, bad]`, "one own", "bad"},
		`the name "own" of a tool of its MCP server is taken by`:                            {`tools: "*"`, "one own", "bad"},
	} {
		dir := write(t, map[string]string{"own.yaml": manifestOf("own"), "g.yaml": groupOf("g", f.url, c.text)})
		opts, _ := groupOptions(t, dir)
		set, err := Load(opts)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if w := strings.Join(set.Warnings(), "\n"); namesOf(set) != c.tools || !strings.Contains(w, "g.yaml:1:7: ") || !strings.Contains(w, want) {
			t.Errorf("%s: got %s, %s, expected %q", c.text, namesOf(set), w, want)
		}
		if own, _ := set.Lookup("own"); own.Group != "" {
			t.Errorf("%s: the folder's own tool is not the one in force", c.text)
		}
		tool, ok := set.Lookup(c.unavailable)
		if !ok {
			t.Errorf("%s: %s is not known", c.text, c.unavailable)
			continue
		}
		var away *tools.UnavailableError
		if _, err := callOf(t, tool); !errors.As(err, &away) {
			t.Errorf("%s: %v", c.text, err)
		}
	}
	dir := write(t, map[string]string{"a.yaml": groupOf("a", f.url, `tools: [one]`), "b.yaml": groupOf("b", f.url, `tools: [one]`), "a2.yaml": groupOf("a", f.url, `tools: [one], prefix: x`)})
	opts, _ := groupOptions(t, dir)
	if _, err := Load(opts); err == nil || !strings.Contains(err.Error(), `name: expected each name once, found "a" in `) {
		t.Errorf("two groups of one name: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "a2.yaml")); err != nil {
		t.Fatal(err)
	}
	set, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	if one, _ := set.Lookup("one"); one.Group != "a" || !strings.Contains(strings.Join(set.Warnings(), "\n"), `the name "one" of a tool of its MCP server is taken by `+filepath.Join(dir, "a.yaml")) {
		t.Errorf("two tools of one name: %s, %v", one.Group, set.Warnings())
	}
}

// A call of a tool whose server still starts waits for it within its deadline, whether it
// is one of many tools or the only one.
func TestCallWaitsForTheServersStart(t *testing.T) {
	f := newFar(t, "one", "two")
	f.starts = make(chan struct{})
	dir := write(t, map[string]string{"gh.yaml": groupOf("gh", f.url, `tools: "*", prefix: gh_`), "some.yaml": groupOf("some", f.url, `tools: [two]`), "alone.yaml": groupOf("alone", f.url, `tool: one`)})
	opts, _ := groupOptions(t, dir)
	opts.Wait = 100 * time.Millisecond
	set, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	if got := namesOf(set); got != "" || len(set.Missing()) != 3 {
		t.Fatalf("tools %q, missing %v", got, set.Missing())
	}
	time.AfterFunc(300*time.Millisecond, func() { close(f.starts) })
	var calls sync.WaitGroup
	for name, want := range map[string]string{"gh_one": "by one", "two": "by two", "alone": "by one"} {
		calls.Go(func() {
			tool, ok := set.Lookup(name)
			if !ok {
				t.Errorf("%s is not known", name)
			} else if got, err := callOf(t, tool); err != nil || !strings.Contains(got, want) {
				t.Errorf("%s: %s %v", name, got, err)
			}
		})
	}
	calls.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for name, input := range map[string]string{"gh_none": `{"z":"x"}`, "gh_two": `{}`} {
		tool, _ := set.Lookup(name)
		r, err := tool.Handler.Call(ctx, tools.Call{ID: "sevt_1", Tool: name, Input: json.RawMessage(input)})
		var away *tools.UnavailableError
		if name == "gh_none" && !errors.As(err, &away) || name == "gh_two" && (err != nil || !r.IsError || !strings.Contains(string(r.Content), "Invalid input for tool")) {
			t.Errorf("%s: %s %v", name, r.Content, err)
		}
	}
}

// A tool that a server lists and that can't be read is told by name, and harms no other.
func TestMalformedToolOfAServer(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			ID     json.RawMessage
			Method string
		}
		_ = json.NewDecoder(r.Body).Decode(&asked) // a DELETE has none
		result := ""
		switch asked.Method {
		case "initialize":
			result = `{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"x","version":"1"}}`
		case "tools/list":
			result = `{"tools":[{"name":"good","title":"A good one.","inputSchema":{"type":"object"}},{"name":"bad","inputSchema":"none"},{"name":7,"inputSchema":{"type":"object"}}]}`
		}
		if result == "" {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, asked.ID, result)
	}))
	defer web.Close()
	opts, _ := groupOptions(t, write(t, map[string]string{"gh.yaml": groupOf("gh", web.URL, `tools: "*", prefix: gh_`)}))
	set, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	good, ok := set.Lookup("gh_good")
	if !ok || good.Description != "A good one." || namesOf(set) != "gh_good" {
		t.Fatalf("tools %q: %+v, %v", namesOf(set), good, set.Missing())
	}
	if w := strings.Join(set.Warnings(), "\n"); !strings.Contains(w, `gh.yaml:1:7: the tool "bad" of its MCP server is unavailable: `) {
		t.Error(w)
	}
	if bad, ok := set.Lookup("gh_bad"); !ok || bad.Handler.(unreachable).why == nil {
		t.Error("the malformed tool is not known")
	}
}

// TestNamesBelongToTheirManifests: no server takes a name that a manifest says, whether the
// manifest's own server is there or not, and whatever it lists under it.
func TestNamesBelongToTheirManifests(t *testing.T) {
	good, rogue := newFar(t, "deploy"), newFar(t, "deploy", "other")
	rogue.offer("pay", `{"type":"object","properties":5}`)
	for _, name := range []string{"aaa", "zzz"} {
		for _, away := range []bool{false, true} {
			good.be(away)
			dir := write(t, map[string]string{name + ".yaml": groupOf(name, rogue.url, `tools: "*"`),
				"deploy.yaml": groupOf("deploy", good.url, ""), "pay.yaml": groupOf("paying", good.url, `tools: [pay]`)})
			opts, _ := groupOptions(t, dir)
			opts.Wait = 2 * time.Second
			set, err := Load(opts)
			if err != nil {
				t.Fatal(err)
			}
			for _, own := range []string{"deploy", "pay"} {
				tool, ok := set.Lookup(own)
				if !ok || filepath.Base(tool.File) != own+".yaml" {
					t.Errorf("%s, away %v: %s is of %+v", name, away, own, tool)
				}
			}
			if w := strings.Join(set.Warnings(), "\n"); !strings.Contains(w, `the name "deploy" of a tool of its MCP server is taken by `) {
				t.Errorf("%s, away %v: %s", name, away, w)
			}
			if other, ok := set.Lookup("other"); !ok || other.Group != name {
				t.Errorf("%s, away %v: the rogue's own tool is gone", name, away)
			}
		}
	}
}

// TestMuchIsListed: a server that lists more than an agent may have pushes out none that a
// manifest names.
func TestMuchIsListed(t *testing.T) {
	f := newFar(t)
	for i := range MaxTools + 40 {
		f.offer(fmt.Sprintf("a%03d", i), `{"type":"object"}`)
	}
	dir := write(t, map[string]string{"all.yaml": groupOf("all", f.url, `tools: "*"`), "own.yaml": manifestOf("own"), "some.yaml": groupOf("some", f.url, `tools: [a290], prefix: z_`)})
	opts, _ := groupOptions(t, dir)
	set, err := Load(opts)
	if err != nil || len(set.Tools()) != MaxTools {
		t.Fatal(err, len(set.Tools()))
	}
	for name, there := range map[string]bool{"own": true, "z_a290": true, "a000": true, "a295": false} {
		tool, ok := set.Lookup(name)
		if !ok {
			t.Fatalf("%s is not known", name)
		}
		if _, away := tool.Handler.(unreachable); away == there {
			t.Errorf("%s: unavailable %v", name, away)
		}
	}
}

// TestGuessedNames: what only a group of all tools may have, whose server is away, is marked.
func TestGuessedNames(t *testing.T) {
	f := newFar(t, "one")
	f.be(true)
	opts, _ := groupOptions(t, write(t, map[string]string{"all.yaml": groupOf("all", f.url, `tools: "*"`), "some.yaml": groupOf("some", f.url, `tools: "*", prefix: x_`)}))
	opts.Wait = 200 * time.Millisecond
	set, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	for name, guessed := range map[string]bool{"anything": true, "x_one": false} {
		if tool, ok := set.Lookup(name); !ok || tool.Guessed() != guessed {
			t.Errorf("%s: %+v", name, tool)
		}
	}
}

// The one tool of a manifest may leave its description and schema to the server.
func TestToolOfAServer(t *testing.T) {
	f := newFar(t, "one", "two", "three")
	dir := write(t, map[string]string{
		"first.yaml": groupOf("first", f.url, `tool: one`), "two.yaml": groupOf("two", f.url, ""), "own.yaml": "description: Mine.\n" + groupOf("own", f.url, `tool: three`),
		"none.yaml": groupOf("none", f.url, ""),
	})
	opts, _ := groupOptions(t, dir)
	set, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"first": "The tool one.", "two": "The tool two.", "own": "Mine."} {
		tool, ok := set.Lookup(name)
		if !ok || tool.Description != want || string(tool.InputSchema) != mcpSchema || tool.Group != "" || tool.LimitName() != name {
			t.Errorf("%s: %+v", name, tool)
		}
	}
	if got := namesOf(set); got != "first own two" {
		t.Errorf("tools %q", got)
	}
	if none, ok := set.Lookup("none"); !ok {
		t.Error("none is not known")
	} else if _, err := callOf(t, none); err == nil || !strings.Contains(err.Error(), "has no such tool") {
		t.Errorf("none: %v", err)
	}
}

// A server that is away harms its own tools only, and is taken when it is there.
func TestGroupIsAway(t *testing.T) {
	f := newFar(t, "one")
	f.be(true)
	dir := write(t, map[string]string{"own.yaml": manifestOf("own"), "gh.yaml": groupOf("gh", f.url, `tools: "*", prefix: gh_`), "some.yaml": groupOf("some", f.url, `tools: [one, none]`)})
	opts, log := groupOptions(t, dir)
	opts.Wait = 200 * time.Millisecond
	r, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	swapped := make(chan struct{}, 100)
	var following sync.WaitGroup
	following.Go(func() { r.Follow(ctx, func() { swapped <- struct{}{} }) })
	defer following.Wait()
	defer cancel()
	if got := namesOf(r.Set()); got != "own" || len(r.Set().Missing()) != 2 {
		t.Errorf("tools %q, missing %v", got, r.Set().Missing())
	}
	for _, name := range []string{"gh_anything", "one"} {
		tool, ok := r.Set().Lookup(name)
		if !ok {
			t.Fatalf("%s is not known", name)
		}
		var away *tools.UnavailableError
		if _, err := callOf(t, tool); !errors.As(err, &away) || tool.LimitName() == name {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, ok := r.Set().Lookup("else"); ok {
		t.Error("a name of no group is known")
	}
	kept, _ := r.Set().Lookup("own")
	f.be(false)
	testkit.Eventually(t, "the tools", func() bool { return namesOf(r.Set()) == "gh_one one own" })
	<-swapped
	if now, _ := r.Set().Lookup("own"); now != kept {
		t.Error("another tool was made anew")
	}
	if !strings.Contains(log.String(), `the tool \"none\" of its MCP server is unavailable`) {
		t.Errorf("log:\n%s", log.String())
	}
	if tool, ok := r.Set().Lookup("none"); !ok {
		t.Error("a name that is asked for is unknown")
	} else if _, err := callOf(t, tool); err == nil || !strings.Contains(err.Error(), "no such tool") {
		t.Errorf("none: %v", err)
	}
	// A reload while it is away keeps the list that it had.
	f.be(true)
	if err := os.Remove(filepath.Join(dir, "some.yaml")); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := namesOf(r.Set()); got != "gh_one own" || time.Since(begin) > 2*time.Second {
		t.Errorf("after a reload of %v: %q", time.Since(begin), got)
	}
}

// A change that the server tells of is taken; what clashes with something in force
// is not.
func TestGroupChanges(t *testing.T) {
	f := newFar(t, "one")
	dir := write(t, map[string]string{"own.yaml": manifestOf("own"), "gh.yaml": groupOf("gh", f.url, `tools: "*"`)})
	opts, log := groupOptions(t, dir)
	r, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() { r.Follow(ctx, func() {}) })
	defer following.Wait()
	defer cancel()
	f.offer("two", mcpSchema)
	f.offer("own", mcpSchema)
	f.RemoveTools("one")
	// A server at a URL is asked each minute, and after a reload.
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	own, _ := r.Set().Lookup("own")
	testkit.Eventually(t, "the change", func() bool { return namesOf(r.Set()) == "own two" })
	if now, _ := r.Set().Lookup("own"); now != own {
		t.Error("what was in force is not")
	}
	// That is no reason to refuse a folder in which nothing is wrong; a new manifest has
	// its name before a server has it.
	if err := r.Reload(t.Context()); err != nil {
		t.Errorf("a reload: %v", err)
	}
	put(t, dir, "two.yaml", manifestOf("two"))
	if err := r.Reload(t.Context()); err != nil || namesOf(r.Set()) != "own two" {
		t.Errorf("a reload with a clash: %v", err)
	}
	if two, _ := r.Set().Lookup("two"); two.Group != "" {
		t.Error("a server's tool has the name of a manifest")
	}
	if !strings.Contains(log.String(), "is taken by") {
		t.Errorf("log:\n%s", log.String())
	}
}

// A server that lists new bad names at each turn fills neither the log nor memory.
func TestGroupIsHostile(t *testing.T) {
	f := newFar(t, "one")
	dir := write(t, map[string]string{"gh.yaml": groupOf("gh", f.url, `tools: "*"`)})
	opts, log := groupOptions(t, dir)
	r, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	const rounds, each = 3, 100
	var names []string
	for round := range rounds {
		f.RemoveTools(names...)
		names = nil
		for i := range each {
			names = append(names, fmt.Sprintf("bad.%d.%d", round, i))
			f.offer(names[i], mcpSchema)
		}
		if err := r.Set().groups[0].source.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 { // what holds is told once
			if !r.regroup(t.Context()) {
				t.Fatal("the list was not taken")
			}
		}
		if kept := len(r.warned[slog.LevelWarn]); kept != each {
			t.Fatalf("round %d: %d lines are kept, want those of the round, %d", round, kept, each)
		}
	}
	if got := strings.Count(log.String(), "of its MCP server is unavailable"); got != rounds*maxTellings {
		t.Errorf("%d lines in the log, want %d", got, rounds*maxTellings)
	}
	if got := strings.Count(log.String(), fmt.Sprintf("lines=%d", each-maxTellings)); got != rounds {
		t.Errorf("%d lines count what is left out, want %d", got, rounds)
	}
}

// What the schemas of one server cost is bounded in all: what is beyond is left out,
// and the log says why.
func TestSchemasOfAGroupAreBounded(t *testing.T) {
	wide := func(values int) string {
		return `{"type":"object","enum":[{}` + strings.Repeat(",{}", values/2) + `]}`
	}
	f := newFar(t, "small")
	f.offer("vast", wide(2*maxSchemaValues))
	const many = maxGroupValues/4000 + 5
	for i := range many {
		f.offer(fmt.Sprintf("wide%02d", i), wide(3990))
	}
	dir := write(t, map[string]string{"gh.yaml": groupOf("gh", f.url, `tools: "*"`)})
	opts, log := groupOptions(t, dir)
	r, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, t := range r.Set().Tools() {
		got = append(got, t.Name)
	}
	if n := len(got); n < maxGroupValues/4000-1 || n > maxGroupValues/4000+2 || !slices.Contains(got, "small") || slices.Contains(got, "vast") {
		t.Errorf("%d tools: %v", n, got)
	}
	for _, want := range []string{"at most about 5000 values", "at most about 100000 values"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

// Names that were announced once are not kept for ever.
func TestAnnouncedNamesAreForgotten(t *testing.T) {
	f := newFinder(t, Discover{All: true}, map[string]string{"own.yaml": manifestOf("own")})
	f.Announce(Round{Announcements: []Announcement{says("s", "once")}})
	for range silentRounds + goneRounds - 1 {
		f.Announce(Round{})
	}
	if _, ok := f.Set().Lookup("once"); !ok || len(f.book.names) != 1 {
		t.Error("the name is not known before its time is over")
	}
	if !f.Announce(Round{}) {
		t.Error("the set was not swapped")
	}
	if _, ok := f.Set().Lookup("once"); ok || len(f.book.names) != 0 {
		t.Error("the name is still known")
	}
}

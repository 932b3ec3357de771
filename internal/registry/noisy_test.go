package registry

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"toolhand/internal/schema"
	"toolhand/internal/testkit"
)

// noisyEnv says that the test binary plays an MCP server.
const noisyEnv = "REGISTRY_TEST_NOISY"

// noisyTools is how many tools that server has.
const noisyTools = 20

// noisy is an MCP server that says 10 times a second that its tools have changed. In
// each list the schema of its first tool is another one, and so is the name of a tool
// that can't be used.
func noisy() {
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	lists := 0
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var m struct {
			ID     json.RawMessage
			Method string
		}
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			return
		}
		switch m.Method {
		case "initialize":
			say(`{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"noisy","version":"1"}}}`, m.ID)
		case "notifications/initialized":
			go func() {
				for range time.Tick(100 * time.Millisecond) {
					say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
				}
			}()
		case "tools/list":
			lists++
			all := []string{fmt.Sprintf(`{"name":"the bad tool of list %d","description":"d","inputSchema":{"type":"object"}}`, lists)}
			for i := range noisyTools {
				title := 0
				if i == 0 {
					title = lists
				}
				all = append(all, fmt.Sprintf(`{"name":"t%02d","description":"d","inputSchema":{"type":"object","title":"%d"}}`, i, title))
			}
			say(`{"jsonrpc":"2.0","id":%s,"result":{"tools":[%s]}}`, m.ID, strings.Join(all, ","))
		}
	}
}

// TestGroupIsNoisy: of tools that a server never stops changing those are compiled that
// have changed, and what is known of them does not grow.
func TestGroupIsNoisy(t *testing.T) {
	dir := write(t, map[string]string{"gh.yaml": fmt.Sprintf("name: gh\nhandler: { mcp: { command: [%q], env: { %s: x }, tools: \"*\" } }\n", os.Args[0], noisyEnv)})
	opts, log := groupOptions(t, dir)
	r, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	swaps, compiled := 0, map[*schema.Schema]bool{}
	enough := make(chan struct{})
	look := func() {
		for _, tool := range r.Set().Tools() {
			compiled[tool.schema] = true
		}
	}
	look()
	var following sync.WaitGroup
	following.Go(func() {
		r.Follow(ctx, func() {
			look()
			if swaps++; swaps == 8 {
				close(enough)
			}
		})
	})
	select {
	case <-enough:
	case <-time.After(time.Minute):
		t.Error("the changes are not taken")
	}
	cancel()
	following.Wait()
	if most := noisyTools + swaps; len(compiled) > most || len(compiled) < noisyTools+5 {
		t.Errorf("%d schemas were compiled in %d changes of one tool, want %d at most", len(compiled), swaps, most)
	}
	if n := len(r.schemas); n != noisyTools {
		t.Errorf("%d schemas are kept of %d tools", n, noisyTools)
	}
	if n, told := len(r.warned[slog.LevelWarn]), strings.Count(log.String(), "is unavailable: name: expected"); n > 1 || told > swaps+1 || told < 2 {
		t.Errorf("%d lines are kept and %d logged after %d changes", n, told, swaps)
	}
}

// TestGroupIsTooLarge: what a server lists beyond what can be in force is not compiled
// again and again either.
func TestGroupIsTooLarge(t *testing.T) {
	f := newFar(t, "one")
	opts, _ := groupOptions(t, write(t, map[string]string{"gh.yaml": groupOf("gh", f.url, `tools: "*"`)}))
	r, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	for i := range MaxTools {
		f.offer(fmt.Sprintf("t%03d", i), mcpSchema)
	}
	list := func() {
		t.Helper()
		if err := r.Set().groups[0].source.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !r.regroup(t.Context()) || len(r.Set().Tools()) != MaxTools {
			t.Fatalf("%d tools are in force", len(r.Set().Tools()))
		}
	}
	list()
	compiled := map[*schema.Schema]bool{}
	for _, c := range r.schemas {
		compiled[c.schema] = true
	}
	f.offer("t000", `{"type":"object"}`)
	list()
	for _, c := range r.schemas {
		compiled[c.schema] = true
	}
	if n := len(compiled); n != MaxTools+2 {
		t.Errorf("%d schemas were compiled, want %d of the first list and the one that has changed", n, MaxTools+1)
	}
}

// TestReloadIsStopped: a reload that waits for a server ends with its context, and
// changes nothing.
func TestReloadIsStopped(t *testing.T) {
	asked, over := make(chan struct{}, 10), make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-over
	}))
	defer web.Close()
	defer close(over)
	dir := write(t, map[string]string{"own.yaml": manifestOf("own")})
	opts, log := groupOptions(t, dir)
	r, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	before := r.Set()
	put(t, dir, "gh.yaml", groupOf("gh", web.URL, `tools: "*"`))
	ctx, stop := context.WithCancelCause(t.Context())
	cause := errors.New("stopped")
	ended := make(chan error, 1)
	begin := time.Now()
	go func() { ended <- r.Reload(ctx) }()
	<-asked
	stop(cause)
	if err := <-ended; !errors.Is(err, cause) || time.Since(begin) > 2*time.Second {
		t.Errorf("the reload ended after %v with %v", time.Since(begin), err)
	}
	if err := r.Reload(ctx); !errors.Is(err, cause) {
		t.Errorf("a reload after the stop: %v", err)
	}
	if r.Set() != before || strings.Contains(log.String(), "found errors") {
		t.Errorf("something was changed or told:\n%s", log.String())
	}
}

// TestAnnouncedToolsChangeTooMuch: services that announce other tools in each round are
// read as much as is bounded; what is in force stays meanwhile, and comes in the end.
func TestAnnouncedToolsChangeTooMuch(t *testing.T) {
	f := newFinder(t, Discover{All: true}, nil)
	enum := `{"type":"object","enum":[` + strings.Repeat("{},", 200) + "{}]}"
	one := countValues(enum)
	good := says("x", "zz")
	f.round(true, []Announcement{good}, "came=[zz]")
	const rounds = 30
	for i := range rounds {
		var list []Announcement
		for j := range maxRoundValues / one {
			list = append(list, says("noisy", fmt.Sprintf("t%d", j), metaDescription, fmt.Sprint(i), metaSchema, enum))
		}
		if i > 20 {
			good = says("x", "zz", metaDescription, "another", metaSchema, enum)
		}
		f.Announce(Round{Announcements: append(list, good)})
		if _, there := f.Set().byName["zz"]; !there {
			t.Fatalf("round %d: a tool is gone that is announced", i)
		}
	}
	if most := (maxValues + (rounds+1)*moreValues) / one; f.made > most+1+rounds {
		t.Errorf("%d announcements were read, want %d at most", f.made, most)
	}
	testkit.Eventually(t, "the change of the other tool", func() bool {
		f.Announce(Round{Announcements: []Announcement{good}})
		return f.Set().byName["zz"].Description == "another"
	})
	if n := strings.Count(f.log.String(), "announced tools change too much"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

package sim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"toolhand/internal/sim"
	"toolhand/internal/testkit"
)

// work answers calls as a worker would: it follows the session's stream and
// answers what each idle event waits for, in one send. It opens the stream anew
// when it is cut, and ends with the test.
func (b *bed) work(sess *sim.Session, handle func(name, id string) (text string, isError bool)) {
	ctx, cancel := context.WithCancel(b.ctx)
	var done sync.WaitGroup
	b.t.Cleanup(done.Wait)
	b.t.Cleanup(cancel)
	done.Go(func() {
		for ctx.Err() == nil {
			res, err := b.hc.Do(b.request("GET", eventsPath(sess)+"/stream", "").WithContext(ctx))
			if err != nil {
				return
			}
			b.follow(sess, &stream{b: b, res: res, read: newReader(res.Body)}, handle)
			res.Body.Close()
		}
	})
}

// follow answers calls until the stream ends.
func (b *bed) follow(sess *sim.Session, st *stream, handle func(name, id string) (string, bool)) {
	names := map[string]string{}
	for {
		g, err := st.tryNext()
		if err != nil {
			return
		}
		if g.Type == "agent.custom_tool_use" {
			var call struct{ Name string }
			_ = json.Unmarshal([]byte(g.raw), &call) // tryNext has decoded it already
			names[g.ID] = call.Name
		}
		var events []map[string]any
		for _, id := range g.StopReason.EventIDs {
			text, isError := handle(names[id], id)
			events = append(events, map[string]any{
				"type": "user.custom_tool_result", "custom_tool_use_id": id, "is_error": isError,
				"content": []any{map[string]any{"type": "text", "text": text}},
			})
		}
		if events == nil {
			continue
		}
		body, _ := json.Marshal(map[string]any{"events": events})
		for range 5 {
			if a := b.do("POST", eventsPath(sess), string(body)); a.status == http.StatusOK || a.status == http.StatusBadRequest {
				break
			}
		}
	}
}

// demoAnswers are what the example tools and the worker answer to the demo.
func demoAnswers(name, id string) (string, bool) {
	switch {
	case name == "deploy_to_mars":
		return "Unknown tool: deploy_to_mars", true
	case id == "sevt_wrong":
		return `Invalid input for tool "run_tests": …`, true
	case name == "deploy":
		return `Tool "deploy" was interrupted by a worker restart: its outcome is unknown`, true
	case name == "tag_release":
		return "v1.4.0 is tagged", false
	case name == "slow_build":
		return `Tool "slow_build" did not finish within its deadline of 1s`, true
	}
	return "fine", false
}

func TestDemoScript(t *testing.T) {
	script, err := sim.DemoScript()
	if err != nil {
		t.Fatal(err)
	}
	b := newBed(t, sim.Options{})
	b.srv.Prepare(script)
	sess := b.srv.Session("sesn_demo")
	b.work(sess, demoAnswers)
	if err := b.srv.Play(b.ctx, script); err != nil {
		t.Fatal(err)
	}
	if n := b.srv.Count("sesn_demo", sim.Send); n != 7 {
		t.Errorf("%d sends for 7 turns", n)
	}
	var shown struct {
		Agent struct{ Tools []struct{ Name string } }
	}
	b.must("GET", "/v1/sessions/sesn_demo", "", &shown)
	if len(shown.Agent.Tools) != 7 {
		t.Errorf("tools: %+v", shown)
	}
	b.must("GET", eventsPath(sess), "", nil)
}

func TestScriptNoticesAWrongResult(t *testing.T) {
	script, err := sim.DemoScript()
	if err != nil {
		t.Fatal(err)
	}
	b := newBed(t, sim.Options{})
	b.srv.Prepare(script)
	b.work(b.srv.Session("sesn_demo"), func(name, id string) (string, bool) { return "fine", false })
	err = b.srv.Play(b.ctx, script)
	if err == nil || !strings.Contains(err.Error(), "sevt_wrong: is_error is false, expected true: fine") || !strings.HasPrefix(err.Error(), "demo.yaml:") {
		t.Errorf("error %v", err)
	}
}

func TestScriptKeepsNumbers(t *testing.T) {
	const text = `
steps:
  - call:
      name: x
      input: { big: 9007199254740993, huge: 1180591620717411303424, neg: -9007199254740993, f: 0.10, e: 1e400, hex: 0x1f, s: "007", t: 'yes', n: null, b: true, "k\"": [1, {}, []], lit: "a\nb" }
  - call: { name: y, input_json: '{"n": 1.000}' }
`
	script, err := sim.ParseScript("x.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	script.Attach = false
	b := newBed(t, sim.Options{})
	if err := b.srv.Play(b.ctx, script); err != nil {
		t.Fatal(err)
	}
	history := b.srv.Session("sesn_sim").History()
	want := `"input":{"big":9007199254740993,"huge":1180591620717411303424,"neg":-9007199254740993,"f":0.10,"e":1e400,"hex":31,"s":"007","t":"yes","n":null,"b":true,"k\"":[1,{},[]],"lit":"a\nb"}`
	if got := string(history[1].Data); !strings.Contains(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := string(history[2].Data); !strings.Contains(got, `"input":{"n": 1.000}`) {
		t.Errorf("got  %s", got)
	}
}

func TestScriptErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                                        "x.yaml: the file is empty",
		"steps: []\nstepz: 1":                     "x.yaml:2:1: stepz: unknown key (did you mean steps?), expected one of agent,",
		"session: a":                              "x.yaml:1:1: expected the key steps (a list of steps), found none",
		"steps:\n  - jump":                        `x.yaml:2:5: steps[0]: expected one of "expect", "end_turn",`,
		"steps:\n  - expct":                       `found string "expct" (did you mean expect?)`,
		"steps:\n  - 7":                           "x.yaml:2:5: steps[0]: expected one step, ",
		"steps:\n  - {}":                          "steps[0]: expected one step, ",
		"steps:\n  - jump: high":                  "x.yaml:2:5: steps[0].jump: unknown key, expected one of message, user,",
		"steps:\n  - sleep: 5":                    "x.yaml:2:12: steps[0].sleep: expected a duration such as 500ms or 2s, found integer 5: write 5s",
		"steps:\n  - sleep: -5s":                  "steps[0].sleep: expected a duration such as",
		"steps:\n  - sleep: 9999999h":             "x.yaml:2:12: steps[0].sleep: ",
		"steps:\n  - interrupt:":                  "steps[0].interrupt: expected a text, found nothing",
		"steps:\n  - user: 7":                     `steps[0].user: expected a text, found integer 7: write "7"`,
		"steps:\n  - message: a\n    user: b":     `x.yaml:2:5: steps[0]: expected one step, with - in front of it, such as end_turn or message: TEXT, found the keys "message", "user"`,
		"steps:\n  - message: { thread: a }":      "steps[0].message: expected the key text (a text), found none",
		"steps:\n  - message: ''":                 "steps[0].message: expected a text, or the keys text and thread, found",
		"steps:\n  - call: { input: {} }":         "steps[0].call: expected the key name (a text), found none",
		"steps:\n  - call: { name: a, input: 7 }": "steps[0].call.input: expected a mapping of names and values, found integer 7",
		"steps:\n  - calls: [{ name: a, input_json: '[]' }]":                                         `x.yaml:2:36: steps[0].calls[0].input_json: expected a JSON object as text, found string "[]"`,
		"steps:\n  - call: { name: a, input_json: '{}', input: {} }":                                 "steps[0].call: expected one of input and input_json",
		"steps:\n  - call: { name: a, permission: ask, evaluated_permission: ask }":                  "steps[0].call: expected one of permission and evaluated_permission: the first",
		"steps:\n  - confirm: { result: allow }":                                                     "steps[0].confirm: expected the key call (a text), found none",
		"steps:\n  - confirm: { call: a, result: later }":                                            `steps[0].confirm.result: expected one of "allow", "deny", found string "later"`,
		"steps:\n  - confirm: { call: a, deny_message: no }":                                         "steps[0].confirm: expected the key result (deny, which deny_message goes with), found none",
		"steps:\n  - confirm: { call: a, deny_message: no, result: allow }":                          "steps[0].confirm.result: expected deny, which deny_message goes with, found",
		"steps:\n  - call: { name: a, mood: 1 }":                                                     "x.yaml:2:22: steps[0].call.mood: unknown key, expected one of name,",
		"steps: 7":                                                                                   "x.yaml:1:8: steps: expected a list of steps, found integer 7",
		"steps: []\n---\nsteps: []":                                                                  "a second YAML document",
		"steps: []\nsteps: []":                                                                       "x.yaml:2:1:",
		"steps: [":                                                                                   "x.yaml:2:1: expected valid YAML",
		"sessions: 0\nsteps: []":                                                                     "x.yaml:1:11: sessions: expected a whole number from 1 to",
		"repeat: often\nsteps: []":                                                                   "x.yaml:1:9: repeat: expected a whole number from 1 to 1000000, or forever",
		"repeat: 0\nsteps: []":                                                                       "x.yaml:1:9: repeat: expected a whole number from 1 to 1000000, or forever",
		"steps:\n  - fail: { endpoint: send }":                                                       "steps[0].fail: expected one of status and do",
		"steps:\n  - fail: { endpoint: send, status: 500, do: html }":                                "steps[0].fail: expected one of status and do",
		"steps:\n  - fail: { endpoint: send, status: 200 }":                                          "steps[0].fail.status: expected a whole number from 400 to 599",
		"steps:\n  - fail: { endpoint: nowhere, status: 500 }":                                       `steps[0].fail.endpoint: expected one of "stream",`,
		"steps:\n  - fail: { endpoint: send, do: stall }":                                            "stall, heartbeats_only and duplicate are for the endpoint stream",
		"steps:\n  - fail: { endpoint: stream, do: reset_after }":                                    "cut_stream: reset",
		"steps:\n  - cut_stream: softly":                                                             `steps[0].cut_stream: expected one of "clean", "reset", found string "softly"`,
		"steps:\n  - expect: money":                                                                  "steps[0].expect: expected results, or the keys within and results",
		"agent: { tools: [{ name: a }] }\nsteps: []":                                                 "agent.tools[0]: expected the key description (a text), found none",
		"agent: { tools: [{ name: a, description: b, input_schema: 7 }] }\nsteps: []":                "agent.tools[0].input_schema: expected a JSON Schema whose top is an object",
		"agent: { tools: [{ name: a, description: b, input_schema: { type: string } }] }\nsteps: []": `agent.tools[0].input_schema.type: expected "object" at the top of a schema`,
		"attach: maybe\nsteps: []":                                                                   "attach: expected true or false",
		"sessions: 0\nsteps:\n  - jump: high\n  - user: ''":                                          "\nx.yaml:4:11: steps[1].user: expected a text", // all of it at once
	} {
		_, err := sim.ParseScript("x.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "x.yaml:") {
			t.Errorf("%q\ngives %v\nwant  %s", text, err, want)
		}
	}
	if _, err := sim.LoadScript(filepath.Join(t.TempDir(), "none.yaml")); err == nil {
		t.Error("a missing file was loaded")
	}
}

// TestScriptWithAliases: YAML of any style is read as in the other files.
func TestScriptWithAliases(t *testing.T) {
	script, err := sim.ParseScript("x.yaml", []byte("%YAML 1.2\n---\nattach: false\nsteps:\n  - call: &c {\"name\":a, input: { n: &n 1.0, m: *n }}\n  - call: *c\n"))
	if err != nil {
		t.Fatal(err)
	}
	srv := sim.New(sim.Options{})
	if err := srv.Play(t.Context(), script); err != nil {
		t.Fatal(err)
	}
	if got := string(srv.Session("sesn_sim").History()[2].Data); !strings.Contains(got, `"input":{"n":1.0,"m":1.0}`) {
		t.Error(got)
	}
}

// TestDocumentedScript loads and plays the example of docs/sim.md.
func TestDocumentedScript(t *testing.T) {
	doc, err := os.ReadFile("../../docs/sim.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(doc), "```yaml\n")
	example, _, closed := strings.Cut(rest, "```\n")
	if !found || !closed {
		t.Fatal("docs/sim.md has no example")
	}
	file := filepath.Join(t.TempDir(), "example.yaml")
	if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	script, err := sim.LoadScript(file)
	if err != nil {
		t.Fatal(err)
	}
	script.Pace = 0
	b := newBed(t, sim.Options{})
	b.srv.Prepare(script)
	sess := b.srv.Session(script.Places()[0])
	b.work(sess, func(name, id string) (string, bool) { return "hello world", false })
	if err := b.srv.Play(b.ctx, script); err != nil {
		t.Fatal(err)
	}
	var refused int
	for _, q := range b.srv.Requests(sess.ID(), sim.Send) {
		if q.Status == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("%d sends were refused, want 1", refused)
	}
}

func TestSeveralSessionsAndRounds(t *testing.T) {
	script, err := sim.ParseScript("x.yaml", []byte("session: sesn_n\nsessions: 3\nrepeat: 2\nsteps:\n  - call: { name: a, id: sevt_a }\n  - expect\n  - terminate\n"))
	if err != nil {
		t.Fatal(err)
	}
	script.Attach = false
	srv := sim.New(sim.Options{OnEvent: nil})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var played sync.WaitGroup
	played.Go(func() {
		if err := srv.Play(ctx, script); err != nil {
			t.Error(err)
		}
	})
	for round := 1; round <= 2; round++ {
		for i := 1; i <= 3; i++ {
			id := fmt.Sprintf("sevt_a_%d_r%d", i, round)
			testkit.Eventually(t, id+" comes", func() bool { return srv.Session(fmt.Sprintf("sesn_n_%d", i)).Answer(id, "x") == nil })
		}
	}
	played.Wait()
}

func TestServe(t *testing.T) {
	script, err := sim.CallsScript("echo={\"n\":1}", "bare")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	var mu sync.Mutex
	served := make(chan error, 1)
	go func() {
		served <- sim.Serve(t.Context(), ln, script, sim.ServeOptions{
			Log: slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil)), Exit: true,
		})
	}()
	b := &bed{t: t, ctx: t.Context(), hc: &http.Client{Transport: &http.Transport{}}}
	defer b.hc.CloseIdleConnections()
	res, err := b.hc.Do(b.requestTo("http://"+ln.Addr().String(), "GET", "/v1/sessions/sesn_sim/events/stream", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	st := &stream{b: b, res: res, read: newReader(res.Body)}
	for {
		g, err := st.tryNext()
		if err != nil {
			t.Fatal(err)
		}
		if g.StopReason.Type == "end_turn" {
			break
		}
		if ids := g.StopReason.EventIDs; ids != nil {
			r, err := b.hc.Do(b.requestTo("http://"+ln.Addr().String(), "POST", "/v1/sessions/sesn_sim/events", result(ids...)))
			if err != nil || r.StatusCode != http.StatusOK {
				t.Fatal(r, err)
			}
			_, _ = io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{"listens", "agent.custom_tool_use", "user.custom_tool_result", `{\"n\":1}`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, &log)
		}
	}
	if _, err := sim.CallsScript("echo=7"); err == nil {
		t.Error("an input that is no object was taken")
	}
}

// TestCloseTellsTheLastEvents: what happened before the end of the server reaches
// the streams that are open.
func TestCloseTellsTheLastEvents(t *testing.T) {
	for range 50 {
		srv := sim.New(sim.Options{})
		web := httptest.NewServer(srv)
		b := &bed{t: t, srv: srv, web: web, ctx: t.Context(), hc: &http.Client{Transport: &http.Transport{}}}
		srv.Agent(sim.AgentSpec{ID: "agent_x"})
		sess := srv.NewSession(sim.SessionSpec{ID: "sesn_x", Agent: "agent_x"})
		st := b.open(sess)
		sess.Run()
		if _, err := st.tryNext(); err != nil { // the server writes from now on
			t.Fatal(err)
		}
		for range 10 {
			if err := sess.User("hello"); err != nil {
				t.Fatal(err)
			}
			runtime.Gosched()
		}
		sess.EndTurn()
		srv.Close()
		var last string
		for {
			g, err := st.tryNext()
			if err != nil {
				break
			}
			last = g.StopReason.Type
		}
		b.hc.CloseIdleConnections()
		web.Close()
		if last != "end_turn" {
			t.Fatalf("the stream ended before the turn did (%q)", last)
		}
	}
}

func TestServeEndsWithTheContext(t *testing.T) {
	script, err := sim.CallsScript()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- sim.Serve(ctx, ln, script, sim.ServeOptions{}) }()
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}

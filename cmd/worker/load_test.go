package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"toolhand/internal/sim"
)

// load is agents that call tools turn by turn, each in a session of its own, and
// the folder of the worker that serves them. Tools note each run in a file.
type load struct {
	dir  string
	env  []string
	api  *sim.Server
	all  []*sim.Session
	seed uint64

	// expires says that a call may come to its deadline: who runs it is killed,
	// and nobody can tell.
	expires bool
	// silent says that those who take jobs are killed.
	silent bool

	agents sync.WaitGroup
	mu     sync.Mutex
	calls  []made // guarded by mu
	onSend func() // guarded by mu; called when results arrive, before they count
}

// made is a call that an agent made.
type made struct {
	id, tool string
	session  *sim.Session
}

// noteTool notes that it runs, and takes a moment.
const noteTool = "#!/bin/sh\necho $TOOL_USE_ID >> ran.$TOOL_NAME\nsleep 0.0$(($$ % 10))\necho done\n"

// manifestOf is the manifest of a tool that runs a script beside it.
func manifestOf(name, script, deadline string, idempotent bool) string {
	return fmt.Sprintf("name: %s\ndescription: Note that it runs.\ninput_schema: {type: object}\nidempotent: %t\ndeadline: %s\nhandler: {exec: {command: [./%s]}}\n",
		name, idempotent, deadline, script)
}

// newLoad makes sessions, and the folder of a worker with files besides the tools
// pay, which may not run twice, and look.
func newLoad(t *testing.T, sessions int, files map[string]string) *load {
	t.Helper()
	l := &load{dir: t.TempDir(), seed: uint64(time.Now().UnixNano())}
	l.api = sim.New(sim.Options{KeepRequests: 1, OnRequest: l.request})
	t.Logf("seed %d", l.seed)
	web := httptest.NewServer(l.api)
	t.Cleanup(web.Close)
	t.Cleanup(l.api.Close)
	ids := make([]string, sessions)
	for i := range sessions {
		ids[i] = fmt.Sprintf("sesn_%d", i)
		l.all = append(l.all, l.api.NewSession(sim.SessionSpec{ID: ids[i]}))
	}
	for name, text := range map[string]string{
		"tools.d/note.sh":  noteTool,
		"tools.d/pay.yaml": manifestOf("pay", "note.sh", "60s", false), "tools.d/look.yaml": manifestOf("look", "note.sh", "60s", true),
		"worker.yaml": "admin: {listen: '127.0.0.1:0'}\nupstream: {requests_per_minute: 0}\nsessions: {ids: [" + strings.Join(ids, ", ") + "]}\n",
	} {
		l.write(t, name, text)
	}
	for name, text := range files {
		l.write(t, name, text)
	}
	l.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.dir, "GORACE=atexit_sleep_ms=0", "ANTHROPIC_API_KEY=any", "ANTHROPIC_BASE_URL=" + web.URL}
	return l
}

// request sees each request to the API.
func (l *load) request(q sim.Request) {
	l.mu.Lock()
	onSend := l.onSend
	l.mu.Unlock()
	if q.Endpoint == sim.Send && onSend != nil {
		onSend()
	}
}

// write writes a file of the worker's folder; text after a + is added to what is
// there.
func (l *load) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if more, ok := strings.CutPrefix(text, "+"); ok {
		old, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text = string(old) + more
	}
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

// launch starts the worker.
func (l *load) launch(t *testing.T, name string) *running {
	t.Helper()
	return startIn(t, l.dir, name, l.env, "worker", "run")
}

// startIn starts a program whose output is added to NAME.log in dir, until the end
// of the test.
func startIn(t *testing.T, dir, name string, env []string, args ...string) *running {
	t.Helper()
	out, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r := &running{cmd: exec.Command(args[0], args[1:]...), log: out.Name(), done: make(chan struct{})}
	r.cmd.Dir, r.cmd.Env, r.cmd.Stdout, r.cmd.Stderr = dir, env, out, out
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(r.done); _ = r.cmd.Wait() }()
	t.Cleanup(r.kill)
	return r
}

// begin lets the agents of sessions call tools until ctx ends; wait for them with
// l.agents.
func (l *load) begin(ctx context.Context, sessions []*sim.Session, pause time.Duration, tools ...string) {
	for i, s := range sessions {
		random := rand.New(rand.NewPCG(l.seed, uint64(i)))
		l.agents.Go(func() {
			for ctx.Err() == nil {
				for range 1 + random.IntN(3) {
					l.call(s, tools[random.IntN(len(tools))])
				}
				s.RequireAction()
				_ = s.WaitAnswered(ctx) // the end of ctx ends the loop
				select {
				case <-time.After(time.Duration(random.Int64N(int64(pause)))):
				case <-ctx.Done():
				}
			}
		})
	}
}

// call makes a call.
func (l *load) call(s *sim.Session, tool string) (id string) {
	id = s.CallTool(tool, `{}`)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, made{id, tool, s})
	return id
}

// made is all calls so far.
func (l *load) made() []made {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.calls)
}

// answered waits until every call of every session has its answer.
func (l *load) answered(t *testing.T, r *running, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for _, s := range l.all {
		if err := s.WaitAnswered(ctx); err != nil {
			t.Fatalf("calls are left without an answer: %v\n%s", err, tail(r.text()))
		}
	}
}

// verdict is what became of the calls of a load.
type verdict struct{ calls, done, unknown, lost, notStarted, again, expired int }

// judge looks at what ran, and at what was answered: a tool that may not run twice
// ran at most once, each call has one accepted result, and each result is true.
func (l *load) judge(t *testing.T) verdict {
	t.Helper()
	ran := l.ran(t)
	accepted := map[string]int{}
	for _, s := range l.all {
		for _, e := range s.History() {
			var v struct {
				Call string `json:"custom_tool_use_id"`
			}
			if json.Unmarshal(e.Data, &v) == nil && e.Type == "user.custom_tool_result" {
				accepted[v.Call]++
			}
		}
	}
	var v verdict
	for _, c := range l.made() {
		v.calls++
		if accepted[c.id] != 1 {
			t.Errorf("invariant 2: %s has %d accepted results", c.id, accepted[c.id])
			continue
		}
		if c.tool != "look" && ran[c.id] > 1 {
			t.Errorf("invariant 1: %s ran %d times", c.id, ran[c.id])
		}
		r, _ := c.session.Result(c.id)
		switch text := r.Text(); {
		case strings.HasPrefix(text, "done") && ran[c.id] > 0:
			v.done++
			v.again += ran[c.id] - 1
		case strings.Contains(text, "was interrupted by a worker restart: its outcome is unknown") && c.tool != "look":
			v.unknown++
		case strings.Contains(text, "it was not started, because the worker's journal can't be written") && ran[c.id] == 0:
			v.notStarted++
		case l.silent && strings.Contains(text, "its outcome is unknown: who took its job from the queue was silent about it") && c.tool != "look":
			v.lost++
		case l.silent && strings.HasSuffix(text, "who took its job from the queue is gone, and had not begun") && ran[c.id] == 0:
			v.notStarted++
		case l.expires && strings.Contains(text, "did not finish within its deadline"):
			v.expired++
		default:
			t.Errorf("%s of %s ran %d times and is answered %q", c.id, c.tool, ran[c.id], text)
		}
	}
	t.Logf("%d calls: %d done, %d with an unknown outcome, %d whose taker was silent, %d never started, %d expired, %d idempotent ones run again; 0 lost, 0 doubled unless told above",
		v.calls, v.done, v.unknown, v.lost, v.notStarted, v.expired, v.again)
	return v
}

// ran is how often each call ran.
func (l *load) ran(t *testing.T) map[string]int {
	t.Helper()
	ran := map[string]int{}
	notes, err := filepath.Glob(filepath.Join(l.dir, "tools.d", "ran.*"))
	if err != nil || len(notes) == 0 {
		t.Fatalf("nothing ran: %v", err)
	}
	for _, note := range notes {
		text, err := os.ReadFile(note)
		if err != nil {
			t.Fatal(err)
		}
		for id := range strings.FieldsSeq(string(text)) {
			ran[id]++
		}
	}
	return ran
}

// ask asks a worker's admin address.
func ask(t *testing.T, r *running, path string) (status int, body string) {
	t.Helper()
	m, err := r.until(regexp.MustCompile(`"admin address","listen":"([^"]+)"`))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	status, data, err := get(client, "http://"+m[1]+path, "")
	if err != nil {
		t.Fatalf("%s: %v\n%s", path, err, tail(r.text()))
	}
	return status, string(data)
}

// isReady waits until /readyz answers so, and returns what it says.
func isReady(t *testing.T, r *running, want int) string {
	t.Helper()
	for bound := time.Now().Add(2 * patience); ; time.Sleep(20 * time.Millisecond) {
		status, body := ask(t, r, "/readyz")
		if status == want {
			return body
		}
		if time.Now().After(bound) {
			t.Fatalf("/readyz is %d, want %d: %s\n%s", status, want, body, tail(r.text()))
		}
	}
}

// entries waits until the journal of a worker has so many entries.
func entries(t *testing.T, r *running, want int) {
	t.Helper()
	for bound := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		var st struct{ Journal struct{ Entries int } }
		_, body := ask(t, r, "/api/v1/status")
		if err := json.Unmarshal([]byte(body), &st); err != nil {
			t.Fatal(err)
		}
		if st.Journal.Entries == want {
			return
		}
		if time.Now().After(bound) {
			t.Fatalf("the journal has %d entries, want %d", st.Journal.Entries, want)
		}
	}
}

// tail is the end of a long log.
func tail(text string) string {
	const most = 8 << 10
	if len(text) > most {
		return "…" + text[len(text)-most:]
	}
	return text
}

// until is a pattern of a log line, for running.until.
func until(re string) *regexp.Regexp { return regexp.MustCompile(re) }

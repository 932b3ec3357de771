package main

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"toolhand/internal/sim"
	"toolhand/internal/testkit"
)

// discovering is a worker with tools.discover and a tools serve beside it.
type discovering struct {
	dir   string
	serve *running
}

func (d *discovering) serveTools(t *testing.T) {
	t.Helper()
	r, err := launch(filepath.Join(d.dir, "serve"), filepath.Join(d.dir, "serve.log"), workerEnv(d.dir), "tools", "serve")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.kill)
	if _, err := r.until(regexp.MustCompile("serving tools")); err != nil {
		t.Fatal(err)
	}
	d.serve = r
}

// TestAnnouncedTools: a worker takes the tools of a tools serve beside it, which has
// no manifest here; they are listed, exported and called. When it is killed their
// calls are answered as unavailable, and when it is back it is found again, even by
// a worker that was killed in the meantime.
func TestAnnouncedTools(t *testing.T) {
	t.Parallel()
	d, listen, page := &discovering{dir: t.TempDir()}, freeAddress(t), freeAddress(t)
	lay(t, d.dir, map[string]string{
		"tools.d/own.yaml":         "name: own\ndescription: The worker's own.\ninput_schema: {type: object}\nhandler: {exec: {command: [echo, mine]}}\n",
		"worker.yaml":              "admin: {listen: '" + page + "'}\nnats: {listen: '" + listen + "'}\ntools: {discover: true}\n",
		"serve/worker.yaml":        "admin: {listen: ''}\nnats: {url: 'nats://" + listen + "'}\n",
		"serve/tools.d/far.yaml":   "name: far\ndescription: Done elsewhere.\ninput_schema: {type: object, required: [n]}\ndeadline: 9s\nhandler: {exec: {command: [cat]}}\n",
		"serve/tools.d/own.yaml":   "name: own\ndescription: Another's.\ninput_schema: {type: object}\nhandler: {exec: {command: [echo, theirs]}}\n",
		"listed/worker.yaml":       "nats: {listen: '" + listen + "'}\ntools: {dir: ../tools.d, discover: [far, nowhere]}\n",
		"unlisted/worker.yaml":     "nats: {listen: '" + listen + "'}\ntools: {dir: ../tools.d, discover: [nowhere]}\n",
		"without/worker.yaml":      "nats: {listen: ''}\ntools: {dir: ../tools.d, discover: true}\n",
		"discover-off/worker.yaml": "nats: {listen: '" + listen + "'}\ntools: {dir: ../tools.d}\n",
	})
	session, url := simulated(t, "sesn_found")
	env := workerEnv(d.dir, "ANTHROPIC_API_KEY=any", "ANTHROPIC_BASE_URL="+url)
	start := func() *running {
		r, err := launch(d.dir, filepath.Join(d.dir, "run.log"), env, "run", "--session", "sesn_found")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.kill)
		isReady(t, r, 200)
		return r
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(tail((&running{log: filepath.Join(d.dir, "run.log")}).text()))
		}
	})
	r := start()
	if got := answered(t, session, "far", `{"n":1}`); got != "Unknown tool: far" {
		t.Errorf("before it is announced: %q", got)
	}
	d.serveTools(t)
	if _, err := r.until(regexp.MustCompile(`announced tools have changed`)); err != nil {
		t.Fatal(err)
	}
	if got := answered(t, session, "far", `{"n":1}`); got != `{"n":1}` {
		t.Errorf("announced: %q", got)
	}
	if got := answered(t, session, "own", `{"n":1}`); got != "mine\n" {
		t.Errorf("a manifest's tool: %q", got)
	}
	if _, err := r.until(regexp.MustCompile(`a manifest has the name of an announced tool.*own`)); err != nil {
		t.Error(err)
	}
	d.commands(t)
	d.inStatus(t, page, 1)

	d.serve.kill()
	if testkit.Full() {
		d.isGone(t, r, session, page) // it is missed for some rounds
	}
	d.serveTools(t)
	r.kill()
	start() // the call comes with the history, before anybody was asked by another
	if got := answered(t, session, "far", `{"n":1}`); got != `{"n":1}` {
		t.Errorf("after a restart: %q", got)
	}
}

// isGone waits until the worker has noticed that nobody announces the tool any more.
func (d *discovering) isGone(t *testing.T, r *running, session *sim.Session, page string) {
	t.Helper()
	killed := time.Now()
	if _, err := r.until(regexp.MustCompile(`announced tools have changed.*went.*far`)); err != nil {
		t.Fatal(err)
	}
	t.Logf("gone after %s", time.Since(killed))
	if got := answered(t, session, "far", `{"n":1}`); got != `Tool "far" is unavailable: no service announces it any more` {
		t.Errorf("gone: %q", got)
	}
	d.inStatus(t, page, 0)
	if out, code := shell(t, d.dir, "tools", "list"); code != 0 || strings.Contains(out, "far") {
		t.Errorf("tools list: exit code %d\n%s", code, out)
	}
}

// commands holds what the commands show of the announced tool.
func (d *discovering) commands(t *testing.T) {
	t.Helper()
	var all sync.WaitGroup
	for _, c := range []struct {
		dir, want string
		args      []string
		code      int
	}{
		{".", `(?m)^far +nats, announced by toolhand +9s +- +false +Done elsewhere\.$`, []string{"tools", "list"}, 0},
		{"listed", `(?m)^far +nats, announced by toolhand`, []string{"tools", "list"}, 0},
		{"unlisted", `^NAME.*\nown .*\n$`, []string{"tools", "list"}, 0},
		{"without", `^NAME.*\nown .*\n$`, []string{"tools", "list"}, 0},
		{"discover-off", `^NAME.*\nown .*\n$`, []string{"tools", "list"}, 0},
		{".", `(?s)"name": "far",\s+"handler": "nats".*"file": "",\s+"announced_by": \[\s+\{\s+"service": "toolhand",\s+"id": "\w+"`, []string{"tools", "list", "--json"}, 0},
		{".", `(?s)"name": "far",\s+"description": "Done elsewhere.",\s+"input_schema": \{\s*"type": "object",\s*"required"`, []string{"tools", "export"}, 0},
		{".", `^\{"n":3\}\nok in`, []string{"tools", "call", "far", `{"n":3}`}, 0},
		{".", `Invalid input for tool "far":`, []string{"tools", "call", "far", `{}`}, 1},
		{"listed", `Tool "nowhere" is unavailable: no service announces it`, []string{"tools", "call", "nowhere"}, 1},
		{"discover-off", `unknown tool "far"`, []string{"tools", "call", "far"}, 2},
	} {
		all.Go(func() { // each asks for a second
			out, code := shell(t, filepath.Join(d.dir, c.dir), c.args...)
			if code != c.code || !regexp.MustCompile(c.want).MatchString(out) {
				t.Errorf("%s: %v: exit code %d, expected %s\n%s", c.dir, c.args, code, c.want, out)
			}
		})
	}
	all.Wait()
}

// inStatus checks how many announce far, by the admin address.
func (d *discovering) inStatus(t *testing.T, page string, want int) {
	t.Helper()
	out, code := shell(t, d.dir, "status", "--json", "--admin", page)
	var status struct {
		Tools []struct {
			Name, Handler, File string
			Announcers          int
		}
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil || code != 0 {
		t.Fatalf("status: exit code %d, %v\n%s", code, err, out)
	}
	found := 0
	for _, tool := range status.Tools {
		if tool.Name == "far" && tool.Handler == "nats" && tool.File == "" {
			found += tool.Announcers
		}
	}
	if found != want {
		t.Errorf("%d announce far by the status, expected %d\n%s", found, want, out)
	}
}

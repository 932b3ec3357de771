package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"toolhand/internal/testkit"
)

// remoteDeadline is that of the tools whose handler is a process that is killed:
// nobody can tell a call that its handler has died.
const remoteDeadline = "1s"

// The following is for handlers of any kind that are processes of their own.

// killedTool is a manifest of pay or look whose handler is elsewhere.
func killedTool(name, handler string) string {
	return fmt.Sprintf("name: %s\ndescription: Note that it runs.\ninput_schema: {type: object}\nidempotent: %t\ndeadline: %s\nhandler: %s\n",
		name, name == "look", remoteDeadline, handler)
}

// note is what a handler does with a call: it appends the call's id to the record
// of its tool in dir, in one write, and takes a moment.
func note(dir, tool, id string) error {
	f, err := os.OpenFile(filepath.Join(dir, "tools.d", "ran."+tool), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(id + "\n"); err != nil {
		return err
	}
	time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond) // the tool's work
	return nil
}

// victim is a process that is killed and started again.
type victim struct {
	start func() *running
	now   *running
}

// killAtRandom kills one of the victims after the other at random moments, now and
// then the next one with it, and starts them again after another moment. At the
// end all of them run.
func killAtRandom(t *testing.T, random *rand.Rand, victims ...*victim) {
	t.Helper()
	n := testkit.Number(t, "CRASHES", testkit.Sample(7, 2)*len(victims))
	t.Logf("%d kills", n)
	for _, v := range victims {
		v.now = v.start()
	}
	for range n {
		time.Sleep(time.Duration(50+random.IntN(600)) * time.Millisecond) // a random moment
		first := random.IntN(len(victims))
		down := []*victim{victims[first]}
		if random.IntN(4) == 0 && len(victims) > 1 {
			down = append(down, victims[(first+1)%len(victims)])
		}
		for _, v := range down {
			v.now.kill()
		}
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond) // how long it is away
		for _, v := range down {
			v.now = v.start()
		}
	}
}

// enoughDone is how many calls must be done for a test to show something.
const enoughDone = 20

// seesEnough waits until so many calls are done: on a busy machine the processes are
// killed before they have started.
func (l *load) seesEnough() {
	testkit.Within(time.Minute, func() bool {
		done := 0
		for _, c := range l.made() {
			if r, ok := c.session.Result(c.id); ok && strings.Contains(r.Text(), "done") {
				done++
			}
		}
		return done >= enoughDone
	})
}

// judgeRemote looks at what ran, and at what was answered, where handlers were
// killed too: invariants 1 to 3, and that each answer says what was so. It comes last.
func (l *load) judgeRemote(t *testing.T) {
	t.Helper()
	ran, accepted, count := l.ran(t), l.accepted(), map[string]int{}
	for _, c := range l.made() {
		pay := c.tool == "pay"
		if accepted[c.id] != 1 {
			t.Errorf("invariant 2: %s has %d accepted results", c.id, accepted[c.id])
			continue
		}
		if pay && ran[c.id] > 1 {
			t.Errorf("invariant 1: %s ran %d times", c.id, ran[c.id])
		}
		r, _ := c.session.Result(c.id)
		text, is := r.Text(), ""
		for name, what := range map[string]struct {
			part string
			true bool
		}{
			"done":         {"done", ran[c.id] > 0},
			"restarted":    {"was interrupted by a worker restart: its outcome is unknown", pay},
			"lost":         {"was interrupted: its outcome is unknown: ", pay},
			"expired":      {"did not finish within its deadline of " + remoteDeadline, true},
			"unavailable":  {"is unavailable: ", !pay || ran[c.id] == 0},
			"unjournalled": {"it was not started, because the worker's journal can't be written", ran[c.id] == 0},
		} {
			if strings.Contains(text, what.part) && what.true && (is == "" || name == "unjournalled") {
				is = name
			}
		}
		if is == "" {
			t.Errorf("%s of %s ran %d times and is answered %q", c.id, c.tool, ran[c.id], text)
		}
		count[is]++
	}
	t.Logf("%d calls: %v", len(l.made()), count)
	if count["done"] == 0 {
		logs, _ := filepath.Glob(filepath.Join(l.dir, "*.log")) // the pattern is a good one
		for _, log := range logs {
			text, err := os.ReadFile(log)
			t.Logf("%s, %v:\n%s", filepath.Base(log), err, tail(string(text)))
		}
	}
	testkit.Enough(t, count["done"], enoughDone, "calls done")
}

// accepted is how many results of each call the API took.
func (l *load) accepted() map[string]int {
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
	return accepted
}

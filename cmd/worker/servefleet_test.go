package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"toolhand/internal/testkit"
)

// countTool notes who ran it, beside the note of the call.
const countTool = "#!/bin/sh\necho $TOOL_USE_ID >> $RAN/ran.$TOOL_NAME.$WHO\nsleep 0.0$(($$ % 10))\necho done\n"

// remoteTool is the manifest of a tool that somebody else runs.
func remoteTool(name, deadline string, idempotent bool) string {
	return fmt.Sprintf("name: %s\ndescription: Note that it runs.\ninput_schema: {type: object}\nidempotent: %t\ndeadline: %s\nhandler: {nats: {}}\n",
		name, idempotent, deadline)
}

// offerer is a process that serves tools to a worker.
type offerer struct {
	dir, name string
	flags     []string
	launched  int
	*running
}

// newOfferer makes the folder of a process that serves pay and look on the server
// at url, and notes in ran who ran what.
func newOfferer(t *testing.T, name, ran, url string, flags ...string) *offerer {
	t.Helper()
	o := &offerer{dir: t.TempDir(), name: name, flags: flags}
	files := map[string]string{
		"worker.yaml":     "admin: {listen: '127.0.0.1:0'}\nnats: {url: '" + url + "'}\nshutdown: {grace: 20s}\n",
		"tools.d/note.sh": countTool,
	}
	for _, tool := range []string{"pay", "look"} {
		files["tools.d/"+tool+".yaml"] = fmt.Sprintf("name: %s\ndescription: Note that it runs.\ninput_schema: {type: object}\nidempotent: %t\nhandler: {exec: {command: [./note.sh], env: {RAN: %q, WHO: %q}}}\n",
			tool, tool == "look", ran, name)
	}
	l := &load{dir: o.dir}
	for file, text := range files {
		l.write(t, file, text)
	}
	return o
}

// launch starts it, and waits until it serves.
func (o *offerer) launch(t *testing.T) {
	t.Helper()
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + o.dir, "GORACE=atexit_sleep_ms=0"}
	o.launched++
	o.running = startIn(t, o.dir, fmt.Sprint(o.name, o.launched), env, append([]string{"worker", "tools", "serve"}, o.flags...)...)
	if _, err := o.until(until(`"serving tools"`)); err != nil {
		t.Fatal(err)
	}
	isReady(t, o.running, 200)
}

// counts is how many calls each of those who serve has run.
func counts(t *testing.T, ran string) map[string]int {
	t.Helper()
	notes, err := filepath.Glob(filepath.Join(ran, "ran.*"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int{}
	for _, note := range notes {
		text, err := os.ReadFile(note)
		if err != nil {
			t.Fatal(err)
		}
		all[note[strings.LastIndex(note, ".")+1:]] += strings.Count(string(text), "\n")
	}
	return all
}

// sharedEvenly checks that each has its part, give or take a fifth.
func sharedEvenly(t *testing.T, before, after map[string]int) {
	t.Helper()
	total, each := 0, map[string]int{}
	for who, n := range after {
		each[who] = n - before[who]
		total += each[who]
	}
	t.Logf("shared: %v", each)
	for who, n := range each {
		if mean := float64(total) / float64(len(each)); float64(n) < 0.8*mean || float64(n) > 1.2*mean {
			t.Errorf("%s ran %d of %d calls, of %d that serve", who, n, total, len(each))
		}
	}
}

// One worker has fifty sessions, and three processes serve its tools: they share
// the load, and each process is killed in turn, the worker too. Invariants 1, 2
// and 3: no call runs twice that may not, none is lost, and each has one result.
func TestServedToolsKilledInTurn(t *testing.T) {
	testkit.OnlyInFull(t)
	t.Parallel()
	address := freeAddress(t)
	l := newLoad(t, 50, map[string]string{
		"worker.yaml":       "+nats: {listen: '" + address + "'}\n",
		"tools.d/pay.yaml":  remoteTool("pay", "6s", false),
		"tools.d/look.yaml": remoteTool("look", "6s", true),
	})
	l.expires = true
	ran := filepath.Join(l.dir, "tools.d")
	w := l.launch(t, "worker")
	var all []*offerer
	for _, name := range []string{"one", "two", "three"} {
		o := newOfferer(t, name, ran, "nats://"+address)
		o.launch(t)
		all = append(all, o)
	}
	isReady(t, w, 200)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l.begin(ctx, l.all, 100*time.Millisecond, "pay", "look")
	enough := func(n int) func() bool { return func() bool { return len(l.made()) > n } }
	testkit.Eventually(t, "600 calls", enough(600))
	first := counts(t, ran)
	testkit.Eventually(t, "600 more", enough(1500))
	sharedEvenly(t, first, counts(t, ran))
	random := rand.New(rand.NewPCG(l.seed, 1))
	for round := range 4 {
		time.Sleep(time.Duration(random.Int64N(int64(500 * time.Millisecond))))
		if round == 3 {
			w.kill()
			w = l.launch(t, "worker2")
			continue
		}
		all[round].kill()
		time.Sleep(time.Duration(random.Int64N(int64(500 * time.Millisecond))))
		all[round].launch(t)
	}
	// A drain in the middle of the load turns nobody away.
	if err := all[0].cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, err := all[0].ends(); code != 0 || err != nil {
		t.Errorf("the drain ended with exit code %d, %v\n%s", code, err, tail(all[0].text()))
	}
	stop()
	l.agents.Wait()
	l.answered(t, w, time.Minute)
	l.judge(t)
}

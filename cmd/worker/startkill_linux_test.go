package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/journal"
	"toolhand/internal/testkit"
)

// TestStartsAreKilled kills a worker with entries in its journal while it starts,
// again and again, with other settings for the journal each time: no start takes that
// for damage, no entry is lost, and no call is run that was started before (invariants 1
// and 3). CRASHES says how often.
func TestStartsAreKilled(t *testing.T) {
	t.Parallel()
	n := testkit.Number(t, "CRASHES", testkit.Sample(20, 8))
	l := newLoad(t, 4, nil)
	writeEntries(t, l, 10)
	env := append(slices.Clone(l.env), "ANTHROPIC_BASE_URL=http://127.0.0.1:1") // nothing is sent
	config, err := os.ReadFile(filepath.Join(l.dir, "worker.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	first := startIn(t, l.dir, "first", env, "worker", "run")
	if _, err := first.until(until(`"msg":"worker started"`)); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(begun)
	first.kill()
	cut := 0
	for i := range n {
		l.write(t, "bounds.yaml", fmt.Sprintf("%sjournal: {max_bytes: %d}\n", config, 1<<30+i))
		r := startIn(t, l.dir, fmt.Sprintf("start%d", i), env, "worker", "run", "--config", "bounds.yaml")
		after := rand.N(whole)
		time.Sleep(after)
		r.kill()
		switch {
		case !strings.Contains(r.text(), "worker started"):
			cut++
		case cut == 0:
			whole = after // the first start was slower than these are
		}
	}
	t.Logf("%d of %d starts, of %s, were killed before their end", cut, n, whole.Round(time.Millisecond))
	if cut == 0 {
		t.Error("that shows nothing")
	}
	last := l.launch(t, "last")
	l.answered(t, last, time.Minute)
	for i, c := range l.made() {
		got, _ := c.session.Result(c.id)
		if i%2 == 0 && got.Text() != "done" || i%2 == 1 && !strings.Contains(got.Text(), "was interrupted by a worker restart: its outcome is unknown") {
			t.Errorf("%s is answered %q", c.id, got.Text())
		}
	}
	if _, err := os.Stat(filepath.Join(l.dir, "tools.d/ran.pay")); err == nil {
		t.Error("invariant 1: calls were run again")
	}
	logs, err := filepath.Glob(filepath.Join(l.dir, "*.log"))
	if err != nil || len(logs) != n+2 {
		t.Fatal(logs, err)
	}
	for _, name := range logs {
		if text, _ := os.ReadFile(name); strings.Contains(string(text), "damaged") {
			t.Errorf("%s tells of damage:\n%s", filepath.Base(name), text)
		}
	}
}

// writeEntries makes calls in each session of a load, and the entries of them all that a
// worker leaves: every other call is finished.
func writeEntries(t *testing.T, l *load, each int) {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{StoreDir: filepath.Join(l.dir, "data")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	j, err := journal.Open(t.Context(), b.JetStream(), journal.Options{Sole: true, Witness: b.Witness("KV_" + journal.Bucket)})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range l.all {
		for k := range each {
			e := journal.Entry{Session: fmt.Sprintf("sesn_%d", i), Call: l.call(s, "pay"), Owner: "another", Tool: "pay", Deadline: time.Now().Add(time.Hour)}
			if e.Revision, err = j.Start(t.Context(), e); err == nil && k%2 == 0 {
				e.Content, e.Outcome = []byte(`[{"type":"text","text":"done"}]`), "ok"
				_, err = j.Finish(t.Context(), e)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		s.RequireAction()
	}
}

package main

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDoubtedByTheAPIsTime serves a session for the first time while the store is
// marked: its open call is run only where the API has processed it after the damage.
func TestDoubtedByTheAPIsTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		until time.Duration // from now
		runs  bool
	}{{"younger", -time.Hour, true}, {"older", time.Hour, false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLoad(t, 1, map[string]string{
				"data/toolhand.damaged": "2026-11-01T12:00:00Z\n23h0m0s\n" + time.Now().Add(c.until).UTC().Format(time.RFC3339Nano) + "\n",
			})
			id := l.call(l.all[0], "pay")
			l.all[0].RequireAction()
			l.answered(t, l.launch(t, "run"), time.Minute)
			got, _ := l.all[0].Result(id)
			if ran := got.Text() == "done\n"; ran != c.runs || !ran && !strings.Contains(got.Text(), "its outcome is unknown") {
				t.Errorf("the answer is %q", got.Text())
			}
		})
	}
}

// TestDoubtLearnsTheAPIsTime: what comes live after the damage tells the next session
// from when on its calls are not doubted.
func TestDoubtLearnsTheAPIsTime(t *testing.T) {
	t.Parallel()
	l := newLoad(t, 1, map[string]string{"data/toolhand.damaged": "2026-11-01T12:00:00Z\n23h0m0s\n"})
	s := l.all[0]
	paid := func(serve func() *running) string {
		id := l.call(s, "pay")
		s.RequireAction()
		l.answered(t, serve(), time.Minute)
		got, _ := s.Result(id)
		return got.Text()
	}
	first := l.launch(t, "run1")
	isReady(t, first, 200)
	if got := paid(func() *running { return first }); got != "done\n" {
		t.Errorf("a live call is answered %q", got)
	}
	if err := first.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, err := first.ends(); err != nil || code != 0 {
		t.Fatal(code, err)
	}
	if got := paid(func() *running { return l.launch(t, "run2") }); got != "done\n" {
		t.Errorf("a call from after the damage is answered %q", got)
	}
}

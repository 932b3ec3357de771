package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"toolhand/internal/sim"
	"toolhand/internal/testkit"
)

// TestKilledAtRandomMoments kills a worker with SIGKILL, again and again, while an
// agent calls tools without end. A tool that may not run twice notes that it
// runs: each of its calls does so at most once, and each call has exactly one
// result (invariants 1, 2 and 3). CRASHES says how often.
func TestKilledAtRandomMoments(t *testing.T) {
	n := testkit.Number(t, "CRASHES", testkit.Sample(25, 6))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d crashes", seed, n)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	script := "#!/bin/sh\necho $TOOL_USE_ID >> ran.$TOOL_NAME\nsleep 0.0$(($$ % 10))\necho done\n"
	manifest := "name: %s\ndescription: Note that it runs.\ninput_schema: {type: object}\nidempotent: %t\ndeadline: 60s\nhandler: {exec: {command: [./note.sh]}}\n"
	for name, text := range map[string]string{
		"tools.d/note.sh":   script,
		"tools.d/pay.yaml":  fmt.Sprintf(manifest, "pay", false),
		"tools.d/look.yaml": fmt.Sprintf(manifest, "look", true),
		"worker.yaml":       "admin: {listen: ''}\nupstream: {requests_per_minute: 0}\nshutdown: {grace: 20s}\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	api := sim.New(sim.Options{})
	web := httptest.NewServer(api)
	t.Cleanup(web.Close)
	t.Cleanup(api.Close)
	session := api.NewSession(sim.SessionSpec{ID: "sesn_crash"})

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	agent := make(chan []string, 1)
	go func() { agent <- callWithoutEnd(ctx, session, rand.New(rand.NewPCG(seed, 1))) }()
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GORACE=atexit_sleep_ms=0", "ANTHROPIC_API_KEY=any", "ANTHROPIC_BASE_URL=" + web.URL}
	start := func(i int) *running {
		r, err := launch(dir, filepath.Join(dir, fmt.Sprintf("run%d.log", i)), env, "run", "--session", "sesn_crash")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.kill)
		return r
	}
	for i := range n {
		r := start(i)
		time.Sleep(time.Duration(50+random.IntN(700)) * time.Millisecond)
		r.kill()
	}
	last := start(n)
	cancel()
	ids := <-agent
	bound, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := session.WaitAnswered(bound); err != nil {
		t.Fatalf("calls are left without an answer: %v\n%s", err, last.text())
	}
	judgeCrashes(t, dir, session, ids)
}

// callWithoutEnd is an agent that calls tools turn by turn until ctx ends. It
// returns the ids of its calls.
func callWithoutEnd(ctx context.Context, s *sim.Session, random *rand.Rand) []string {
	var ids []string
	for ctx.Err() == nil {
		for range 1 + random.IntN(3) {
			ids = append(ids, s.CallTool([]string{"pay", "pay", "look"}[random.IntN(3)], `{}`))
		}
		s.RequireAction()
		_ = s.WaitAnswered(ctx) // the end of ctx ends the loop
	}
	return ids
}

// judgeCrashes looks at what ran, and at what was answered.
func judgeCrashes(t *testing.T, dir string, s *sim.Session, ids []string) {
	t.Helper()
	ran := map[string]int{}
	for _, tool := range []string{"pay", "look"} {
		text, err := os.ReadFile(filepath.Join(dir, "tools.d", "ran."+tool))
		if err != nil {
			t.Fatal(err)
		}
		for id := range strings.FieldsSeq(string(text)) {
			if ran[id]++; tool == "pay" && ran[id] > 1 {
				t.Errorf("invariant 1: %s ran %d times", id, ran[id])
			}
		}
	}
	unknown, again := 0, 0
	for _, id := range ids {
		r, ok := s.Result(id)
		switch {
		case !ok:
			t.Errorf("invariant 2: %s has no result", id)
		case strings.Contains(r.Text(), "its outcome is unknown"):
			unknown++
		case ran[id] == 0:
			t.Errorf("%s is answered %q and never ran", id, r.Text())
		case ran[id] > 1:
			again++
		}
	}
	t.Logf("%d calls, %d of them with an unknown outcome, %d idempotent ones run again", len(ids), unknown, again)
	testkit.Enough(t, len(ids), 20, "calls")
}

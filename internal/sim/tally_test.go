package sim_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"toolhand/internal/sim"
)

// TestTally: calls are counted by what became of them.
func TestTally(t *testing.T) {
	script, err := sim.ParseScript("x.yaml", []byte(`
session: sesn_tally
attach: false
steps:
  - thread: { id: sthr_x }
  - call: { name: pointless, id: sevt_pointless, thread: sthr_x }
  - interrupt: sthr_x
  - calls:
      - { name: good, id: sevt_good }
      - { name: asks, id: sevt_asks, evaluated_permission: ask }
      - { name: late, id: sevt_late }
  - call: { name: own, id: sevt_own, permission: allow }
  - expect
`))
	if err != nil {
		t.Fatal(err)
	}
	b := newBed(t, sim.Options{})
	b.srv.Prepare(script)
	sess := b.srv.Session("sesn_tally")
	ctx, stop := context.WithCancel(b.ctx)
	played := make(chan error, 1)
	go func() { played <- b.srv.Play(ctx, script) }()
	for len(sess.Open()) < 3 {
		time.Sleep(time.Millisecond)
	}
	b.must("POST", eventsPath(sess), result("sevt_good"), nil)
	stop()
	<-played
	got := b.srv.Tally(script)
	if got.Calls != 4 || got.Answered != 1 || got.Pointless != 1 || len(got.Open) != 2 || got.Opened != 0 || got.Streams != 0 {
		t.Errorf("%+v", got)
	}
	if o := got.Open; o[0].ID != "sevt_asks" || !o[0].Asks || o[1].Tool != "late" || o[1].Asks {
		t.Errorf("%+v", o)
	}
}

// TestFreshIDs: two servers that play one script have no id of an event in common, and
// a script finds its calls by the ids that it gives them.
func TestFreshIDs(t *testing.T) {
	script, err := sim.ParseScript("x.yaml", []byte(`
steps:
  - thread: { id: sthr_x }
  - call: { name: a, id: sevt_a }
  - call: { name: b }
  - expect: { within: 10s, results: [{ call: sevt_a, contains: fine }] }
  - end_turn
`))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 2 {
		var ids []string
		b := newBed(t, sim.Options{FreshIDs: true, OnEvent: func(e sim.Event) {
			if !e.ProcessedAt.IsZero() { // a queued one comes again
				ids = append(ids, e.ID)
			}
		}})
		b.srv.Prepare(script)
		b.work(b.srv.Session("sesn_sim"), func(name, id string) (string, bool) { return "fine", false })
		if err := b.srv.Play(b.ctx, script); err != nil {
			t.Fatal(err)
		}
		var named int
		for _, id := range ids {
			if seen[id] {
				t.Errorf("%s comes twice", id)
			}
			seen[id] = true
			if strings.HasPrefix(id, "sevt_a_") {
				named++
			}
		}
		if len(ids) < 6 || named != 1 {
			t.Errorf("ids %v", ids)
		}
	}
}

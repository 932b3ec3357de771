package loop

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/run"
	"toolhand/internal/sim"
	"toolhand/internal/sim/faults"
	"toolhand/internal/upstream"
)

// The first read of the history fails, again and again: the stream stays open,
// its calls run meanwhile, and what the history holds is not forgotten.
func TestFailedFirstReadIsRetriedWhileTheStreamStaysOpen(t *testing.T) {
	var old string
	before := func(o *options) {
		o.lateStart = true
		o.before = func(r *rig) {
			old = r.session.CallTool("a", `{"from":"history"}`)
			r.sim.Arm(sim.Fault{Endpoint: sim.List, Times: 5, Do: sim.Refuse(503)})
		}
	}
	scenario(t, before, func(t *testing.T, r *rig) {
		n := r.counted("a")
		r.start()
		after(0)
		r.ran(n, 0)
		live := r.session.CallTool("a", `{"from":"stream"}`)
		r.answered(live)
		r.ran(n, 1)
		st, _ := r.served.Status(t.Context())
		if st.Attached {
			t.Error("it says that the first attach has ended")
		}
		r.answered(old)
		after(time.Minute)
		r.ran(n, 2)
		r.requests(sim.Stream, 1)
	})
}

// A page that takes too long is asked for smaller.
func TestSlowPageIsAskedForSmaller(t *testing.T) {
	before := func(o *options) {
		o.lateStart = true
		o.before = func(r *rig) {
			for range 60 {
				r.session.CallTool("a", `{}`)
			}
			r.sim.Arm(sim.Fault{Endpoint: sim.List, Times: -1, When: faults.LimitAbove(20), Do: faults.Delay(time.Hour)})
		}
	}
	scenario(t, before, func(t *testing.T, r *rig) {
		n := r.counted("a")
		r.start()
		after(10 * time.Minute)
		r.ran(n, 60)
		if got := len(r.session.Open()); got != 0 {
			t.Errorf("%d calls are open", got)
		}
	})
}

// Attaching and reconnecting cost two requests, however old the session is
// (invariant 10).
func TestAttachDoesNotGrowWithTheSessionsAge(t *testing.T) {
	before := func(o *options) {
		o.before = func(r *rig) {
			for range 1000 {
				id := r.session.CallTool("a", `{}`)
				r.session.RequireAction()
				if err := r.session.Answer(id, "done"); err != nil {
					r.t.Fatal(err)
				}
				r.session.EndTurn()
			}
		}
	}
	scenario(t, before, func(t *testing.T, r *rig) {
		n := r.counted("a")
		r.requests(sim.List, 1)
		r.requests(sim.Stream, 1)
		r.session.CutStreams(false)
		after(time.Minute)
		r.requests(sim.List, 2)
		id := r.session.CallTool("a", `{}`)
		r.session.RequireAction()
		r.answered(id)
		r.ran(n, 1)
		r.requests(sim.List, 2)
	})
}

// A call that lies pages deep in a turn is found, and run once, also where the
// stream breaks again and again.
func TestOpenCallIsFoundDeepInATurn(t *testing.T) {
	var deep string
	before := func(o *options) {
		o.lateStart = true
		o.before = func(r *rig) {
			r.session.EndTurn()
			deep = r.session.CallTool("a", `{}`)
			for range 350 {
				id := r.session.CallTool("a", `{}`)
				if err := r.session.Answer(id, "done"); err != nil {
					r.t.Fatal(err)
				}
			}
		}
	}
	scenario(t, before, func(t *testing.T, r *rig) {
		n := r.counted("a")
		r.start()
		r.answered(deep)
		for range 3 {
			r.session.CutStreams(true)
			after(time.Minute)
		}
		r.ran(n, 1)
	})
}

// What an ended turn has left open is not run.
func TestCallsOfAnEndedTurnAreNotRun(t *testing.T) {
	before := func(o *options) {
		o.before = func(r *rig) {
			r.session.CallTool("a", `{}`)
			r.session.EndTurn()
			r.session.Run()
		}
	}
	scenario(t, before, func(t *testing.T, r *rig) {
		n := r.counted("a")
		after(time.Hour)
		r.ran(n, 0)
		r.requests(sim.Send, 0)
	})
}

// Where the budget is short, reads wait and sends do not.
func TestSmallBudgetHoldsUpReadsOnly(t *testing.T) {
	before := func(o *options) { o.client = upstream.Options{RequestsPerMinute: 4} }
	scenario(t, before, func(t *testing.T, r *rig) {
		n := r.counted("a")
		begun := time.Now()
		for range 20 {
			id := r.session.CallTool("a", `{}`)
			r.session.RequireAction()
			r.answered(id)
		}
		if d := time.Since(begun); d > time.Second {
			t.Errorf("twenty turns took %s: a finished result waited for the budget", d)
		}
		r.ran(n, 20)
		r.session.CutStreams(false)
		begun = time.Now()
		if err := r.session.WaitStreams(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if err := r.session.WaitStreams(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begun); d < time.Minute || d > 10*time.Minute {
			t.Errorf("the stream was open again after %s, want it to wait for the budget", d)
		}
	})
}

// The API asks for a longer wait than a read may take: it gets it, and the page
// is not asked for smaller.
func TestReadWaitsAsLongAsTheAPIAsks(t *testing.T) {
	before := func(o *options) {
		o.lateStart = true
		o.client.RequestTimeout = 5 * time.Second
		o.before = func(r *rig) {
			r.sim.Arm(sim.Fault{Endpoint: sim.List, Times: 2, Do: sim.RetryAfter(429, 60)})
		}
	}
	scenario(t, before, func(t *testing.T, r *rig) {
		r.start()
		after(5 * time.Minute)
		all := r.sim.Requests(sessionID, sim.List)
		if len(all) != 3 {
			t.Fatalf("%d lists, want 3", len(all))
		}
		for i, q := range all {
			if q.Query.Get("limit") != "100" {
				t.Errorf("list %d asks for %s events", i, q.Query.Get("limit"))
			}
			if i > 0 && q.At.Sub(all[i-1].At) < time.Minute {
				t.Errorf("list %d came %s after the one before", i, q.At.Sub(all[i-1].At))
			}
		}
		if strings.Contains(r.log.String(), "timed out") {
			t.Error("the log speaks of a timeout")
		}
	})
}

// unreadable is a journal that can't be read at first.
type unreadable struct {
	journal.Memory
	fails int
}

func (u *unreadable) Recover(ctx context.Context, session string, have []journal.Entry) ([]journal.Entry, error) {
	if u.fails > 0 {
		u.fails--
		return nil, errors.New("not now")
	}
	return u.Memory.Recover(ctx, session, have)
}

// Nothing is served before the journal could be read: it may hold what must not
// run again.
func TestNothingIsServedBeforeTheJournalIsRead(t *testing.T) {
	var id string
	j := &unreadable{fails: 3}
	before := func(o *options) {
		o.lateStart, o.journal = true, j
		o.before = func(r *rig) {
			id = r.session.CallTool("a", `{}`)
			if _, err := j.Start(t.Context(), journal.Entry{Session: sessionID, Call: id, Tool: "a", Owner: "before"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	scenario(t, before, func(t *testing.T, r *rig) {
		n := r.counted("a")
		r.start()
		after(400 * time.Millisecond)
		r.requests(sim.Stream, 0)
		if st, ok := r.served.Status(t.Context()); !ok || st.Attached {
			t.Errorf("status %+v", st)
		}
		r.answered(id)
		after(time.Second)
		r.ran(n, 0)
		r.ended(id, run.UnknownOutcome)
	})
}

// queued is a journal that has many sessions to read before this one, for longer
// than any operation of it takes.
type queued struct{ journal.Memory }

func (q *queued) Recover(ctx context.Context, session string, have []journal.Entry) ([]journal.Entry, error) {
	select {
	case <-time.After(20 * journalTimeout):
		return q.Memory.Recover(ctx, session, have)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A session that waits for its turn to be read waits once, tells its status
// meanwhile, and can be drained.
func TestWaitingForTheJournalIsNoSilence(t *testing.T) {
	before := func(o *options) { o.lateStart, o.journal = true, &queued{} }
	scenario(t, before, func(t *testing.T, r *rig) {
		n := r.counted("a")
		id := r.session.CallTool("a", `{}`)
		r.start()
		for range 19 {
			after(journalTimeout)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			st, ok := r.served.Status(ctx)
			cancel()
			if !ok || st.State != "attaching" {
				t.Fatalf("status %+v, %t", st, ok)
			}
		}
		r.requests(sim.Stream, 0)
		after(2 * journalTimeout)
		r.answered(id)
		r.ran(n, 1)
		if strings.Contains(r.log.String(), "can't be read") {
			t.Error("the wait for the turn counts as a failure")
		}
	})
	scenario(t, before, func(t *testing.T, r *rig) {
		r.start()
		after(journalTimeout)
		begun := time.Now()
		r.served.Drain()
		r.over(ReasonDrained)
		if took := time.Since(begun); took > time.Second {
			t.Errorf("drained after %s", took)
		}
	})
}

// A session that panics ends what it has started.
func TestPanicOfTheSessionLeavesNothingBehind(t *testing.T) {
	before := func(o *options) { o.lateStart = true }
	scenario(t, before, func(t *testing.T, r *rig) {
		n := r.slow("slow", time.Minute)
		r.echo("a")
		r.served.cfg.Report = func(run.Report) { panic("a bug") }
		said := make(chan any)
		go func() {
			defer func() { said <- recover() }()
			r.served.Serve(t.Context())
		}()
		after(time.Second)
		r.session.CallTool("slow", `{}`)
		after(time.Second)
		r.session.Thread("kid", "sthr_kid").Call(sim.CallSpec{Name: "a"}) // its report panics
		if p := <-said; p == nil {
			t.Fatal("it did not panic")
		}
		if n.cause() == nil {
			t.Error("its tool was not stopped")
		}
		r.served.Drain() // does not block
		if st, ok := r.served.Status(t.Context()); !ok || st.State != "ended: panic" {
			t.Errorf("status %+v", st)
		}
	})
}

// While an older call of ours is open, the read goes on behind an ended turn; what
// that turn has left open is not run all the same.
func TestReadBehindAnEndedTurnTakesNoCalls(t *testing.T) {
	var ours, left string
	before := func(o *options) {
		o.lateStart = true
		o.before = func(r *rig) {
			ours = r.session.CallTool("a", `{"n":1}`)
			left = r.session.CallTool("a", `{"n":2}`)
			r.session.EndTurn()
			if _, err := r.journal.Start(t.Context(), journal.Entry{Session: sessionID, Call: ours, Tool: "a", Owner: "before"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	scenario(t, before, func(t *testing.T, r *rig) {
		n := r.counted("a")
		r.start()
		after(time.Minute)
		r.ran(n, 0)
		r.unanswered(left)
		r.mu.Lock()
		defer r.mu.Unlock()
		if got := r.reports[left]; len(got) != 0 {
			t.Errorf("reported %+v", got)
		}
	})
}

// The same of the reader alone: newest first, it hands on no call that lies behind
// an ended turn but those it was asked for.
func TestReaderHandsOnNoCallBehindAnEndedTurn(t *testing.T) {
	rd := newReader([]string{"ours"})
	page := upstream.Page{Next: "more", Events: []upstream.Event{
		{Type: upstream.TypeCall, ID: "new"},
		{Type: upstream.TypeIdle, StopReason: "end_turn"},
		{Type: upstream.TypeCall, ID: "left"},
		{Type: upstream.TypeResult, CallID: "left too"},
	}}
	if rd.take(page) {
		t.Fatal("it ends before the open call was seen")
	}
	page = upstream.Page{Next: "more", Events: []upstream.Event{
		{Type: upstream.TypeCall, ID: "left too"},
		{Type: upstream.TypeCall, ID: "ours"},
		{Type: upstream.TypeCall, ID: "older"},
	}}
	if !rd.take(page) {
		t.Fatal("it goes on behind the open call")
	}
	var got []string
	for _, e := range rd.events {
		if e.Type == upstream.TypeCall {
			got = append(got, e.ID)
		}
	}
	if strings.Join(got, " ") != "new ours" {
		t.Errorf("it hands on %q", got)
	}
}

package loop

import (
	"testing"
	"time"

	"toolhand/internal/sim"
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
			r.sim.Arm(sim.Fault{Endpoint: sim.List, Times: -1, When: sim.LimitAbove(20), Do: sim.Delay(time.Hour)})
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

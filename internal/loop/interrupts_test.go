package loop

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/sim"
)

func callEvent(id, tool, at, thread string) string {
	more := ""
	if thread != "" {
		more = `,"session_thread_id":"` + thread + `"`
	}
	return fmt.Sprintf(`{"type":"agent.custom_tool_use","id":%q,"name":%q,"input":{},"processed_at":%q%s}`, id, tool, at, more)
}

// interruptEvent is queued where at is empty.
func interruptEvent(id, at, thread string) string {
	processed, more := "null", ""
	if at != "" {
		processed = `"` + at + `"`
	}
	if thread != "" {
		more = `,"session_thread_id":"` + thread + `"`
	}
	return fmt.Sprintf(`{"type":"user.interrupt","id":%q,"processed_at":%s%s}`, id, processed, more)
}

// The interrupt kills what was processed no later than itself, wherever in the
// history it is listed; one that is queued or of another thread kills nothing.
func TestProcessedInterruptSettlesStaleCalls(t *testing.T) {
	events := []string{
		interruptEvent("sevt_int", "2000-01-01T00:00:05Z", ""),
		callEvent("sevt_stale", "stale", "2000-01-01T00:00:01Z", ""),
		callEvent("sevt_same", "stale", "2000-01-01T00:00:05Z", ""),
		callEvent("sevt_fresh", "fresh", "2000-01-01T00:00:06Z", ""),
		interruptEvent("", "", ""),
		interruptEvent("sevt_other", "2000-01-01T00:00:30Z", "sthr_other"),
	}
	for shift := range events {
		t.Run(fmt.Sprint("turned by ", shift), func(t *testing.T) {
			before := func(o *options) {
				o.unchecked, o.lateStart = true, true // an interrupt without an id
				o.before = func(r *rig) {
					// Bury orders by processed_at: the page's own order is turned.
					for i := range events {
						r.history(events[(i+shift)%len(events)])
					}
					r.sim.Arm(sim.Fault{Endpoint: sim.List, Times: -1, Do: turned(shift)})
					// The simulation does not know these calls.
					r.sim.Arm(sim.Fault{Endpoint: sim.Send, Times: -1, Do: sim.Respond(200, "application/json", `{"data":[]}`)})
				}
			}
			scenario(t, before, func(t *testing.T, r *rig) {
				stale, fresh := r.counted("stale"), r.counted("fresh")
				r.start()
				for range 3 {
					after(30 * time.Second)
					r.session.CutStreams(false)
				}
				after(30 * time.Second)
				r.ran(stale, 0)
				r.ran(fresh, 1)
				r.requests(sim.Send, 1)
				r.ended("sevt_stale", run.Interrupted)
				r.ended("sevt_same", run.Interrupted)
				r.ended("sevt_fresh", run.OK)
			})
		})
	}
}

func TestInterruptStopsTheToolAndPostsNothing(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		n := r.slow("slow", time.Hour, deadline(2*time.Hour, "2h"))
		done := r.counted("quick")
		running, finished := r.session.CallTool("slow", `{}`), r.session.CallTool("quick", `{}`)
		r.session.RequireAction()
		after(time.Second)
		if err := r.session.Interrupt(""); err != nil {
			t.Fatal(err)
		}
		after(0)
		if !errors.Is(n.cause(), errInterrupted) {
			t.Errorf("the tool was stopped with %v", n.cause())
		}
		after(time.Hour)
		r.ran(done, 1)
		r.requests(sim.Send, 0)
		r.ended(running, run.Interrupted)
		r.ended(finished, run.Interrupted)
		if r.journal.Len() != 0 {
			t.Error("the journal keeps an interrupted call")
		}
		// The next turn is served as ever.
		id := r.session.CallTool("quick", `{}`)
		r.session.RequireAction()
		r.answered(id)
	})
}

func TestQueuedInterruptStopsNothing(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		n := r.slow("slow", time.Minute)
		id := r.session.CallTool("slow", `{}`)
		r.session.RequireAction()
		r.session.HoldQueue()
		if err := r.session.Interrupt(""); err != nil {
			t.Fatal(err)
		}
		after(30 * time.Second)
		if n.ended.Load() != 0 {
			t.Error("a queued interrupt stopped the tool")
		}
		r.session.Process()
		after(0)
		r.ended(id, run.Interrupted)
		if !errors.Is(n.cause(), errInterrupted) {
			t.Errorf("the tool was stopped with %v", n.cause())
		}
	})
}

func TestInterruptTakesACallFromTheQueue(t *testing.T) {
	scenario(t, func(o *options) { o.slots = 1 }, func(t *testing.T, r *rig) {
		n := r.slow("slow", time.Minute)
		r.session.CallTool("slow", `{}`)
		r.session.CallTool("slow", `{}`)
		after(time.Second)
		if err := r.session.Interrupt(""); err != nil {
			t.Fatal(err)
		}
		after(time.Hour)
		r.ran(n, 1)
		r.requests(sim.Send, 0)
		if r.slots.Held() != 0 {
			t.Errorf("%d slots are held", r.slots.Held())
		}
	})
}

// The stream's reader waits for nothing: an interrupt behind a thousand calls
// takes effect at once, although one slot is all there is.
func TestInterruptGetsThroughAThousandQueuedCalls(t *testing.T) {
	scenario(t, func(o *options) { o.slots = 1 }, func(t *testing.T, r *rig) {
		n := r.slow("slow", time.Hour, deadline(100*time.Hour, "100h"))
		for range 1000 {
			r.session.CallTool("slow", `{}`)
		}
		r.session.RequireAction()
		after(time.Second)
		begun := time.Now()
		if err := r.session.Interrupt(""); err != nil {
			t.Fatal(err)
		}
		after(0)
		if !errors.Is(n.cause(), errInterrupted) || time.Since(begun) != 0 {
			t.Errorf("the tool was stopped with %v after %s", n.cause(), time.Since(begun))
		}
		id := r.session.CallTool("slow", `{}`)
		r.session.RequireAction()
		r.answered(id)
		r.ran(n, 2)
	})
}

func TestInterruptAfterEndTurnLetsMaxIdleEnd(t *testing.T) {
	t.Run("on the stream", func(t *testing.T) {
		scenario(t, maxIdle(time.Minute), func(t *testing.T, r *rig) {
			n := r.slow("slow", time.Hour, deadline(2*time.Hour, "2h"))
			r.session.CallTool("slow", `{}`)
			r.session.EndTurn()
			after(time.Second)
			r.live(interruptEvent("sevt_int", "2000-01-01T00:30:00Z", ""))
			r.over(ReasonIdle)
			r.ran(n, 1)
			r.requests(sim.Send, 0)
		})
	})
	t.Run("in the history", func(t *testing.T) {
		before := func(o *options) {
			o.set.MaxIdle = time.Minute
			o.before = func(r *rig) {
				r.session.CallTool("slow", `{}`)
				r.session.EndTurn()
				r.history(interruptEvent("sevt_int", "2000-01-01T00:30:00Z", ""))
			}
		}
		scenario(t, before, func(t *testing.T, r *rig) {
			r.over(ReasonIdle)
			r.requests(sim.Send, 0)
		})
	})
}

// The call and the end of its turn came live, then the stream broke; in the
// history only the interrupt is news.
func TestInterruptAloneInTheHistorySettles(t *testing.T) {
	scenario(t, maxIdle(time.Minute), func(t *testing.T, r *rig) {
		n := r.slow("slow", time.Hour, deadline(2*time.Hour, "2h"))
		id := r.session.CallTool("slow", `{}`)
		r.session.EndTurn()
		after(time.Second)
		r.session.CutStreams(true)
		r.history(interruptEvent("sevt_int", "2000-01-01T00:30:00Z", ""))
		r.over(ReasonIdle)
		r.ran(n, 1)
		r.ended(id, run.Interrupted)
		r.requests(sim.Send, 0)
	})
}

// An interrupt that comes while Start is being written takes the call back: it
// never runs, and no entry stays.
func TestInterruptDuringStartTakesTheCallBack(t *testing.T) {
	j := &slowJournal{start: 10 * time.Second}
	scenario(t, func(o *options) { o.journal = j }, func(t *testing.T, r *rig) {
		n := r.counted("a")
		id := r.session.CallTool("a", `{}`)
		after(time.Second)
		if err := r.session.Interrupt(""); err != nil {
			t.Fatal(err)
		}
		after(time.Hour)
		r.ran(n, 0)
		r.ended(id, run.Interrupted)
		if j.Len() != 0 {
			t.Errorf("the journal holds %d entries", j.Len())
		}
	})
}

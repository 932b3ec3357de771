package loop

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/sim"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// sends returns the ids of the calls that each send answered.
func (r *rig) sends() [][]string {
	var all [][]string
	for _, q := range r.sim.Requests(sessionID, sim.Send) {
		var ids []string
		for part := range strings.SplitSeq(string(q.Body), `"custom_tool_use_id":"`) {
			if id, _, found := strings.Cut(part, `"`); found && strings.HasPrefix(id, "sevt_") {
				ids = append(ids, id)
			}
		}
		all = append(all, ids)
	}
	return all
}

// A turn waits for its calls, but no result waits beyond its own deadline: then
// everything that is finished goes.
func TestDifferentDeadlinesAreEachInTime(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		r.slow("short", time.Second, deadline(10*time.Second, "10s"))
		r.slow("middle", 20*time.Second, deadline(30*time.Second, "30s"))
		r.slow("long", 70*time.Second, deadline(80*time.Second, "80s"))
		begun := time.Now()
		ids := []string{r.session.CallTool("short", `{}`), r.session.CallTool("middle", `{}`), r.session.CallTool("long", `{}`)}
		r.session.RequireAction()
		r.answered(ids...)
		for i, want := range []time.Duration{10 * time.Second, 30 * time.Second, 70 * time.Second} {
			if got := r.result(ids[i]).At.Sub(begun); got != want {
				t.Errorf("%s was answered after %s, want %s", ids[i], got, want)
			}
		}
		r.requests(sim.Send, 3)
	})
}

// The answer comes at the deadline to the nanosecond, whatever the handler does.
func TestDeadlineHoldsAlthoughTheHandlerIgnoresItsContext(t *testing.T) {
	scenario(t, func(o *options) { o.slots = 1 }, func(t *testing.T, r *rig) {
		r.tool(registry.Manifest{Name: "deaf", Deadline: 2 * time.Minute, DeadlineText: "2m", Concurrency: 1,
			Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
				time.Sleep(time.Hour)
				return content.Text("at last"), nil
			})})
		r.counted("a")
		begun := time.Now()
		deaf, waits := r.session.CallTool("deaf", `{}`), r.session.CallTool("a", `{}`)
		r.session.RequireAction()
		r.answered(deaf, waits)
		res := r.result(deaf)
		if d := res.At.Sub(begun); d != 2*time.Minute || !res.IsError ||
			!strings.HasPrefix(res.Text(), `Tool "deaf" did not finish within its deadline of 2m`) {
			t.Errorf("answered after %s with %q", d, res.Text())
		}
		after(time.Second)
		r.ended(deaf, run.Deadline)
		if r.slots.Held() != 0 {
			t.Errorf("%d slots are held by a call that was answered for", r.slots.Held())
		}
		// Its slot of the process is free: another tool runs meanwhile.
		id := r.session.CallTool("a", `{}`)
		r.session.RequireAction()
		r.answered(id)
		after(time.Hour)
		if !strings.Contains(r.log.String(), "tool ended after its call was answered for") {
			t.Error("the late end is not in the log")
		}
		r.ended(deaf, run.Deadline)
		if r.journal.Len() != 0 {
			t.Errorf("the journal holds %d entries", r.journal.Len())
		}
	})
}

// A handler that ignores its context keeps its tool's slot for the grace after the
// deadline, in which a process tree can be killed, and not longer.
func TestDeafHandlerFreesItsToolAfterTheGrace(t *testing.T) {
	const grace = 15 * time.Second // what operators are told
	scenario(t, nil, func(t *testing.T, r *rig) {
		var starts []time.Duration
		begun := time.Now()
		r.tool(registry.Manifest{Name: "deaf", Deadline: 2 * time.Minute, DeadlineText: "2m", Concurrency: 1,
			Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
				starts = append(starts, time.Since(begun))
				if len(starts) == 1 {
					time.Sleep(time.Hour)
				}
				return content.Text("done"), nil
			})})
		first := r.session.CallTool("deaf", `{}`)
		r.session.RequireAction()
		after(time.Minute) // the second one has a minute more
		second := r.session.CallTool("deaf", `{}`)
		r.session.RequireAction()
		r.answered(first, second)
		if want := 2*time.Minute + grace; len(starts) != 2 || starts[1] != want {
			t.Errorf("started at %v, want the second one at %s", starts, want)
		}
		if res := r.result(second); res.IsError {
			t.Errorf("the second one was answered with %q", res.Text())
		}
		after(time.Hour)
	})
}

// All waiting counts: a call whose slot never comes is answered at its deadline.
func TestQueueingIsInsideTheDeadline(t *testing.T) {
	scenario(t, func(o *options) { o.slots = 1 }, func(t *testing.T, r *rig) {
		r.slow("slow", 50*time.Second)
		n := r.slow("short", time.Second, deadline(10*time.Second, "10s"))
		r.session.CallTool("slow", `{}`)
		after(time.Second)
		begun := time.Now()
		id := r.session.CallTool("short", `{}`)
		r.session.RequireAction()
		r.answered(id)
		if d := r.result(id).At.Sub(begun); d != 10*time.Second {
			t.Errorf("answered after %s", d)
		}
		after(0)
		r.ran(n, 0)
		r.ended(id, run.Deadline)
	})
}

// Without an idle event a thread's results wait for the linger after its last
// call is done; another call starts the wait anew.
func TestLinger(t *testing.T) {
	scenario(t, func(o *options) { o.set.Linger = 250 * time.Millisecond }, func(t *testing.T, r *rig) {
		r.counted("a")
		one := r.session.CallTool("a", `{}`)
		begun := time.Now()
		r.answered(one)
		if d := time.Since(begun); d != 250*time.Millisecond {
			t.Errorf("answered after %s, want the linger", d)
		}
		r.session.Run()
		var ids []string
		for range 4 {
			ids = append(ids, r.session.CallTool("a", `{}`))
			after(200 * time.Millisecond)
		}
		begun = time.Now()
		r.answered(ids...)
		if d := time.Since(begun); d != 50*time.Millisecond {
			t.Errorf("answered after %s, want the rest of the linger", d)
		}
		r.requests(sim.Send, 2)
	})
}

// The idle event ends the linger at once.
func TestIdleEventEndsTheLinger(t *testing.T) {
	scenario(t, func(o *options) { o.set.Linger = time.Hour }, func(t *testing.T, r *rig) {
		r.counted("a")
		id := r.session.CallTool("a", `{}`)
		after(time.Minute)
		r.unanswered(id)
		begun := time.Now()
		r.session.RequireAction()
		r.answered(id)
		if time.Since(begun) != 0 {
			t.Errorf("answered after %s", time.Since(begun))
		}
	})
}

func TestEagerSendsEachAsItIsDone(t *testing.T) {
	scenario(t, func(o *options) { o.set.Eager = true }, func(t *testing.T, r *rig) {
		r.slow("slow", time.Minute)
		r.counted("a")
		slow, quick := r.session.CallTool("slow", `{}`), r.session.CallTool("a", `{}`)
		r.session.RequireAction()
		begun := time.Now()
		r.answered(quick)
		if time.Since(begun) != 0 {
			t.Errorf("the quick one was answered after %s", time.Since(begun))
		}
		r.answered(slow)
		r.requests(sim.Send, 2)
	})
}

// What is finished while a send is under way or waits for its next try goes with
// the next one.
func TestBatchIsFormedAnewAtEachAttempt(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		r.counted("a")
		r.slow("slow", 500*time.Millisecond)
		r.session.Fail(sim.Send, sim.Refuse(503))
		one := r.session.CallTool("a", `{}`)
		r.session.RequireAction()
		two := r.session.CallTool("slow", `{}`)
		r.answered(one, two)
		if got := r.sends(); len(got) != 2 || len(got[1]) != 2 {
			t.Errorf("sends %v", got)
		}
	})
}

// Ids that are foreign, unknown or wait for a confirmation never hold a batch.
func TestConfirmationsNeverHoldABatch(t *testing.T) {
	ignore := func(o *options) { o.set.IgnoreUnknown, o.set.Linger = true, time.Hour }
	scenario(t, ignore, func(t *testing.T, r *rig) {
		n := r.counted("a")
		ours := r.session.CallTool("a", `{}`)
		theirs := r.session.CallTool("theirs", `{}`)
		ask := r.session.Call(sim.CallSpec{Name: "bash", Permission: "ask"})
		begun := time.Now()
		r.session.RequireAction(ours, theirs, ask)
		r.answered(ours)
		if time.Since(begun) != 0 {
			t.Errorf("answered after %s", time.Since(begun))
		}
		after(24 * time.Hour)
		r.ran(n, 1)
		r.requests(sim.Send, 1)
		r.requests(sim.List, 1)
		r.unanswered(theirs, ask)
	})
}

// An id that nobody knows is looked for in the history once, and holds nothing.
func TestUnknownIDInAnIdleEventIsLookedForOnce(t *testing.T) {
	scenario(t, func(o *options) { o.unchecked = true }, func(t *testing.T, r *rig) {
		for range 50 {
			r.live(`{"type":"session.status_idle","id":"sevt_i","processed_at":"2000-01-01T00:00:01Z",` +
				`"stop_reason":{"type":"requires_action","event_ids":["sevt_nobody"]}}`)
			after(time.Minute)
		}
		r.requests(sim.List, 2)
		r.requests(sim.Send, 0)
	})
}

// A batch is cut at 20 MB, and the rest goes at once after it.
func TestBatchIsCutAtTwentyMegabytes(t *testing.T) {
	quiet := func(o *options) { o.unchecked, o.level = true, slog.LevelInfo }
	scenario(t, quiet, func(t *testing.T, r *rig) {
		big := strings.Repeat("x", 7<<20)
		r.tool(registry.Manifest{Name: "big", Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
			return content.Text(big), nil
		})})
		// The simulation takes long to look into bodies of this size.
		r.sim.Arm(sim.Fault{Endpoint: sim.Send, Times: -1, Do: sim.Respond(200, "application/json", `{"data":[]}`)})
		for range 3 {
			r.session.CallTool("big", `{}`)
		}
		r.session.RequireAction()
		after(time.Second)
		got := r.sends()
		if len(got) != 2 || len(got[0]) != 2 || len(got[1]) != 1 {
			t.Errorf("sends %v", got)
		}
		for _, q := range r.sim.Requests(sessionID, sim.Send) {
			if len(q.Body) > 20<<20 {
				t.Errorf("a send of %d bytes", len(q.Body))
			}
		}
	})
}

// A session with a thousand calls shares the slots with another one.
func TestSessionsShareTheSlots(t *testing.T) {
	scenario(t, func(o *options) { o.slots = 2 }, func(t *testing.T, r *rig) {
		r.slow("slow", time.Second, deadline(time.Hour, "1h"))
		other := r.beside("sesn_other")
		for range 1000 {
			r.session.CallTool("slow", `{}`)
		}
		after(10 * time.Second)
		begun := time.Now()
		id := other.CallTool("slow", `{}`)
		other.RequireAction()
		if err := other.WaitAnswered(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begun); d > 2*time.Second {
			t.Errorf("the other session's call took %s", d)
		}
	})
}

// A call that waits for its tool holds no slot of the process, and the tool's
// slots are counted over all sessions.
func TestToolsOwnLimit(t *testing.T) {
	scenario(t, func(o *options) { o.slots = 3 }, func(t *testing.T, r *rig) {
		n := r.slow("one", time.Second, func(s *registry.Manifest) { s.Concurrency, s.Deadline = 1, time.Hour })
		r.counted("a")
		for range 10 {
			r.session.CallTool("one", `{}`)
		}
		quick := r.session.CallTool("a", `{}`)
		after(500 * time.Millisecond)
		if got := fmt.Sprint(n.begun.Load(), r.slots.Held()); got != "1 1" {
			t.Errorf("running and held: %s", got)
		}
		r.session.RequireAction()
		r.answered(quick)
		s := r.slots
		after(time.Second)
		if s.Held() > 1 {
			t.Errorf("%d slots are held", s.Held())
		}
	})
}

// Calls that wait for a slot get it in the order in which they came.
func TestQueuedCallsRunInTheirOrder(t *testing.T) {
	scenario(t, func(o *options) { o.slots = 1 }, func(t *testing.T, r *rig) {
		var got []string
		r.tool(registry.Manifest{Name: "noted", Handler: handlerFunc(func(_ context.Context, c tools.Call) (tools.Result, error) {
			got = append(got, c.ID) // one at a time: there is one slot
			return content.Text("noted"), nil
		})})
		var ids []string
		for range 30 {
			ids = append(ids, r.session.CallTool("noted", `{}`))
		}
		r.session.RequireAction()
		r.answered(ids...)
		if !slices.Equal(got, ids) {
			t.Errorf("ran as %v, came as %v", got, ids)
		}
	})
}

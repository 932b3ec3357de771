package loop

import (
	"strings"
	"testing"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/sim"
)

// again ends the session's service and serves it anew, as a restart does.
func (r *rig) again() {
	r.t.Helper()
	r.stop()
	r.over(ReasonStopped)
	r.served = New(r.served.cfg)
	r.start()
	r.attach()
}

func (r *rig) callStatus(id string) CallStatus {
	r.t.Helper()
	st, ok := r.served.Status(r.t.Context())
	if !ok {
		r.t.Fatal("no status")
	}
	for _, c := range st.Calls {
		if c.ID == id {
			return c
		}
	}
	return CallStatus{}
}

// Invariant 11: whatever is not "allow" waits, for hours if need be, and holds up
// no other result; its deadline begins with its permission.
func TestHeldCallRunsOnlyOnceAllowed(t *testing.T) {
	for _, permission := range []string{"ask", "Allow", "allow ", "always_ask"} {
		t.Run(permission, func(t *testing.T) {
			scenario(t, nil, func(t *testing.T, r *rig) {
				n, m := r.counted("a"), r.counted("b")
				ask := r.session.Call(sim.CallSpec{Name: "a", Evaluated: permission, Input: []byte(`{"q":1}`)})
				free := r.session.Call(sim.CallSpec{Name: "b", Evaluated: "allow"})
				begun := time.Now()
				r.session.RequireAction()
				r.answered(free)
				after(0)
				if time.Since(begun) != 0 {
					t.Errorf("the other result waited %s", time.Since(begun))
				}
				after(24 * time.Hour)
				r.ran(n, 0)
				r.ran(m, 1)
				if c := r.callStatus(ask); c.State != "held" || !c.Held || c.Owed || !c.Deadline.IsZero() {
					t.Errorf("status %+v", c)
				}
				r.requests(sim.Send, 1)
				if err := r.session.Confirm(ask, "allow"); err != nil {
					t.Fatal(err)
				}
				r.answered(ask)
				after(0)
				after(time.Minute)
				r.ran(n, 1)
				r.ended(ask, run.OK)
				if res := r.result(ask); res.IsError || res.Text() != `{"q":1}` {
					t.Errorf("result %+v", res)
				}
				if len(r.session.Refusals()) != 0 {
					t.Errorf("refused: %+v", r.session.Refusals())
				}
			})
		})
	}
}

func TestDeniedCallIsNeverAnswered(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		n := r.counted("a")
		atOnce := r.session.Call(sim.CallSpec{Name: "a", Evaluated: "deny"})
		later := r.session.Call(sim.CallSpec{Name: "a", Evaluated: "ask"})
		r.session.RequireAction()
		after(time.Hour)
		r.ended(atOnce, run.Denied)
		if err := r.session.Deny(later, "not today"); err != nil {
			t.Fatal(err)
		}
		after(time.Hour)
		r.ended(later, run.Denied)
		r.ran(n, 0)
		r.requests(sim.Send, 0)
		if r.journal.Len() != 0 {
			t.Errorf("the journal holds %d entries", r.journal.Len())
		}
	})
}

// A confirmation that is queued decides nothing: the API would refuse a result.
// One whose result is not known ends the call.
func TestQueuedAndUnknownConfirmations(t *testing.T) {
	scenario(t, func(o *options) { o.unchecked = true }, func(t *testing.T, r *rig) {
		n := r.counted("a")
		ask := r.session.Call(sim.CallSpec{Name: "a", Evaluated: "ask"})
		odd := r.session.Call(sim.CallSpec{Name: "a", Evaluated: "ask"})
		r.session.RequireAction()
		r.session.HoldQueue()
		if err := r.session.Confirm(ask, "allow"); err != nil {
			t.Fatal(err)
		}
		r.live(`{"type":"user.tool_confirmation","id":"sevt_o","tool_use_id":"` + odd + `","result":"later","processed_at":"2000-01-01T00:00:09Z"}`)
		after(time.Hour)
		r.ran(n, 0)
		r.ended(odd, run.Denied)
		r.session.Process()
		r.answered(ask)
		after(0)
		r.ran(n, 1)
	})
}

// A restart never starts a held call, and finds what was confirmed meanwhile.
func TestRestartNeverStartsAHeldCall(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		n := r.counted("a")
		var ids []string
		for range 3 {
			ids = append(ids, r.session.Call(sim.CallSpec{Name: "a", Evaluated: "ask"}))
		}
		r.session.RequireAction()
		for range 3 {
			after(time.Hour)
			r.again()
		}
		r.ran(n, 0)
		r.stop()
		r.over(ReasonStopped)
		for i, verdict := range []string{"allow", "deny"} {
			if err := r.session.Confirm(ids[i], verdict); err != nil {
				t.Fatal(err)
			}
		}
		r.served = New(r.served.cfg)
		r.start()
		r.answered(ids[0])
		after(0)
		after(time.Hour)
		r.ran(n, 1)
		r.ended(ids[1], run.Denied)
		if c := r.callStatus(ids[2]); c.State != "held" {
			t.Errorf("status %+v", c)
		}
		r.requests(sim.Send, 1)
	})
}

// An interrupt ends what is held; a confirmation that comes after it starts
// nothing.
func TestInterruptEndsAHeldCall(t *testing.T) {
	scenario(t, func(o *options) { o.unchecked = true }, func(t *testing.T, r *rig) {
		n := r.counted("a")
		ask := r.session.Call(sim.CallSpec{Name: "a", Evaluated: "ask"})
		r.session.RequireAction()
		if err := r.session.Interrupt(""); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		r.ended(ask, run.Interrupted)
		r.live(`{"type":"user.tool_confirmation","id":"sevt_c","tool_use_id":"` + ask + `","result":"allow","processed_at":"2000-01-01T00:00:09Z"}`)
		after(time.Hour)
		r.ran(n, 0)
		r.requests(sim.Send, 0)
	})
}

// A call that was started with its permission, when the worker died, has an
// unknown outcome like any other; it is neither held nor started again.
func TestCrashAfterPermission(t *testing.T) {
	scenario(t, func(o *options) { o.lateStart = true }, func(t *testing.T, r *rig) {
		n := r.counted("a")
		id := r.session.Call(sim.CallSpec{Name: "a", Evaluated: "ask"})
		r.session.RequireAction()
		if err := r.session.Confirm(id, "allow"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.journal.Start(t.Context(), journal.Entry{Session: sessionID, Call: id, Tool: "a", Owner: "earlier",
			Received: time.Now(), Deadline: time.Now().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		r.start()
		r.answered(id)
		after(0)
		r.ran(n, 0)
		r.ended(id, run.UnknownOutcome)
	})
}

// After damage a call that was only held was surely not started; one that had its
// permission before may have been.
func TestDoubtAndPermission(t *testing.T) {
	doubt := func(o *options) {
		o.lateStart, o.set.Doubt = true, true
	}
	scenario(t, doubt, func(t *testing.T, r *rig) {
		n := r.counted("a")
		before := r.session.Call(sim.CallSpec{Name: "a", Evaluated: "ask"})
		later := r.session.Call(sim.CallSpec{Name: "a", Evaluated: "ask"})
		r.session.RequireAction()
		if err := r.session.Confirm(before, "allow"); err != nil {
			t.Fatal(err)
		}
		r.start()
		r.answered(before)
		after(0)
		r.ended(before, run.UnknownOutcome)
		after(2 * time.Hour)
		if err := r.session.Confirm(later, "allow"); err != nil {
			t.Fatal(err)
		}
		r.answered(later)
		after(0)
		r.ran(n, 1)
		r.ended(later, run.OK)
	})
}

// A call that is held by a name that a reload makes known runs with what is in
// force when it is released.
func TestHeldCallOfAnUnknownTool(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		known := r.session.Call(sim.CallSpec{Name: "later", Evaluated: "ask"})
		unknown := r.session.Call(sim.CallSpec{Name: "never", Evaluated: "ask"})
		r.session.RequireAction()
		after(time.Hour)
		r.requests(sim.Send, 0)
		r.tool(registry.Manifest{Name: "later", Handler: handlerFunc(echo)})
		for _, id := range []string{known, unknown} {
			if err := r.session.Confirm(id, "allow"); err != nil {
				t.Fatal(err)
			}
			r.answered(id)
			after(0)
		}
		r.ended(known, run.OK)
		r.ended(unknown, run.UnknownTool)
		if got := r.result(unknown).Text(); !strings.HasPrefix(got, "Unknown tool: never") {
			t.Errorf("result %q", got)
		}
	})
}

package loop

import (
	"errors"
	"testing"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/sim"
	"toolhand/internal/sim/faults"
)

func withThreads(o *options) { o.sessionSpec.PrimaryThread = true }

// Each thread is a turn of its own: one that is done does not wait for another.
func TestEachThreadIsATurnOfItsOwn(t *testing.T) {
	scenario(t, withThreads, func(t *testing.T, r *rig) {
		r.slow("slow", time.Minute)
		r.counted("a")
		child := r.session.Thread("helper", "sthr_child")
		slow := r.session.CallTool("slow", `{}`)
		one, two := child.Call(sim.CallSpec{Name: "a"}), child.Call(sim.CallSpec{Name: "a"})
		begun := time.Now()
		child.RequireAction()
		r.session.RequireAction()
		r.answered(one, two)
		if time.Since(begun) != 0 {
			t.Errorf("the child's calls were answered after %s", time.Since(begun))
		}
		r.answered(slow)
		r.requests(sim.Send, 2)
		for _, q := range r.sim.Requests(sessionID, sim.Send) {
			if faults.Mentions("session_thread_id")(q) {
				t.Error("a thread's id was sent back")
			}
		}
	})
}

// What several threads have finished goes in one send.
func TestThreadsThatAreFinishedTogetherShareASend(t *testing.T) {
	scenario(t, withThreads, func(t *testing.T, r *rig) {
		r.slow("slow", time.Second)
		var ids []string
		for _, name := range []string{"sthr_1", "sthr_2", "sthr_3"} {
			child := r.session.Thread("helper", name)
			ids = append(ids, child.Call(sim.CallSpec{Name: "slow"}), child.Call(sim.CallSpec{Name: "slow"}))
			child.RequireAction()
		}
		r.answered(ids...)
		if got := r.count(sim.Send); got > 3 {
			t.Errorf("%d sends", got)
		}
	})
}

func TestInterruptOfAThreadTouchesItAlone(t *testing.T) {
	for _, target := range []string{"sthr_child", "primary"} {
		t.Run(target, func(t *testing.T) {
			scenario(t, withThreads, func(t *testing.T, r *rig) {
				r.slow("slow", time.Minute)
				child := r.session.Thread("helper", "sthr_child")
				theirs, ours := child.Call(sim.CallSpec{Name: "slow"}), r.session.CallTool("slow", `{}`)
				child.RequireAction()
				r.session.RequireAction()
				after(time.Second)
				id, dead, alive := target, theirs, ours
				if target == "primary" {
					id, dead, alive = r.session.Primary().ID(), ours, theirs
				}
				if err := r.session.Interrupt(id); err != nil {
					t.Fatal(err)
				}
				after(0)
				r.ended(dead, run.Interrupted)
				r.answered(alive)
				after(0)
				r.ended(alive, run.OK)
			})
		})
	}
}

// The primary thread's id is not known yet when the interrupt names it.
func TestInterruptOfThePrimaryThreadIsUnderstoodLate(t *testing.T) {
	before := func(o *options) {
		withThreads(o)
		o.before = func(r *rig) {
			// A history whose end says nothing of the primary thread.
			r.session.Run()
			r.session.EndTurn()
			r.live(`{"type":"session.status_idle","id":"sevt_old","processed_at":"2000-01-01T00:00:01Z",` +
				`"stop_reason":{"type":"end_turn"},"stop_details":null}`)
			r.sim.Arm(sim.Fault{Endpoint: sim.Stream, Times: -1, Do: faults.WithholdTypes("session.thread_status_idle", "session.thread_status_running")})
		}
	}
	scenario(t, before, func(t *testing.T, r *rig) {
		n := r.slow("slow", time.Minute)
		after(2 * time.Second)
		id := r.session.CallTool("slow", `{}`)
		r.session.RequireAction()
		after(time.Second)
		if err := r.session.Interrupt(r.session.Primary().ID()); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		r.ended(id, run.Interrupted)
		if !errors.Is(n.cause(), errInterrupted) {
			t.Errorf("the tool was stopped with %v", n.cause())
		}
	})
}

// A stream that begins in the middle of a turn shows a child's status first:
// that is not the primary thread, and its interrupt kills no call of ours.
func TestPrimaryThreadIsNotGuessedFromTheStream(t *testing.T) {
	before := func(o *options) {
		withThreads(o)
		o.before = func(r *rig) {
			r.session.Run()
			r.session.Thread("researcher", "sthr_child")
		}
	}
	scenario(t, before, func(t *testing.T, r *rig) {
		r.slow("slow", time.Minute)
		r.sim.Arm(sim.Fault{Endpoint: sim.List, Times: 3, Do: sim.Refuse(500)})
		r.session.CutStreams(false)
		after(2 * time.Second)
		r.live(`{"type":"session.thread_status_running","id":"sevt_cr","processed_at":"2000-01-01T00:00:03Z",` +
			`"session_thread_id":"sthr_child","agent_name":"researcher"}`)
		id := r.session.CallTool("slow", `{}`)
		r.session.RequireAction()
		after(time.Second)
		if err := r.session.Interrupt("sthr_child"); err != nil {
			t.Fatal(err)
		}
		r.answered(id)
		after(0)
		r.ended(id, run.OK)
	})
}

func TestTerminatedThreadMakesItsCallsMoot(t *testing.T) {
	scenario(t, withThreads, func(t *testing.T, r *rig) {
		n := r.slow("slow", time.Minute)
		child := r.session.Thread("helper", "sthr_child")
		theirs, ours := child.Call(sim.CallSpec{Name: "slow"}), r.session.CallTool("slow", `{}`)
		after(time.Second)
		child.Terminate()
		after(0)
		r.ended(theirs, run.Interrupted)
		if !errors.Is(n.cause(), errInterrupted) {
			t.Errorf("the tool was stopped with %v", n.cause())
		}
		r.answered(ours)
		r.requests(sim.Send, 1)
		r.unanswered(theirs)
	})
}

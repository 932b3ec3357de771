package loop

import (
	"errors"
	"testing"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/sim"
	"toolhand/internal/sim/faults"
)

func maxIdle(d time.Duration) func(*options) {
	return func(o *options) { o.set.MaxIdle = d }
}

func TestTerminationEnds(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		n := r.slow("slow", time.Hour, deadline(2*time.Hour, "2h"))
		id := r.session.CallTool("slow", `{}`)
		after(time.Second)
		r.session.Terminate()
		r.over(ReasonOver)
		if !errors.Is(n.cause(), errOver) {
			t.Errorf("the tool was stopped with %v", n.cause())
		}
		r.requests(sim.Send, 0)
		r.ended(id, run.Over)
		if r.journal.Len() != 0 {
			t.Error("the journal keeps a call of a session that is over")
		}
	})
}

func TestDeletionEnds(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		r.session.Delete()
		r.over(ReasonOver)
	})
}

func TestTerminationInTheHistoryEnds(t *testing.T) {
	before := func(o *options) { o.before = func(r *rig) { r.session.Terminate() } }
	scenario(t, before, func(t *testing.T, r *rig) {
		r.over(ReasonOver)
		r.requests(sim.List, 1)
	})
}

func TestTerminationWhileAwayEnds(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		n := r.slow("slow", time.Hour, deadline(2*time.Hour, "2h"))
		r.session.CallTool("slow", `{}`)
		after(time.Second)
		r.session.CutStreams(true)
		r.session.Terminate()
		r.over(ReasonOver)
		if !errors.Is(n.cause(), errOver) {
			t.Errorf("the tool was stopped with %v", n.cause())
		}
	})
}

func TestNotFoundEnds(t *testing.T) {
	for _, e := range []sim.Endpoint{sim.Stream, sim.List} {
		t.Run(string(e), func(t *testing.T) {
			fault := func(o *options) {
				o.lateStart = true
				o.before = func(r *rig) { r.sim.Arm(sim.Fault{Endpoint: e, Times: -1, Do: sim.Refuse(404)}) }
			}
			scenario(t, fault, func(t *testing.T, r *rig) {
				r.start()
				r.over(ReasonOver)
				r.requests(e, 1)
			})
		})
	}
}

// A 404 that is not the API's own is a wrong base path, or a proxy.
func TestNotFoundByAProxyIsRetried(t *testing.T) {
	for _, e := range []sim.Endpoint{sim.Stream, sim.List, sim.Send} {
		t.Run(string(e), func(t *testing.T) {
			fault := func(o *options) {
				o.unchecked, o.lateStart = true, true
				o.before = func(r *rig) {
					r.sim.Arm(sim.Fault{Endpoint: e, Times: 3, Do: sim.Respond(404, "text/html", "<h1>not here</h1>")})
				}
			}
			scenario(t, fault, func(t *testing.T, r *rig) {
				n := r.counted("a")
				id := r.session.CallTool("a", `{}`)
				r.session.RequireAction()
				r.start()
				r.answered(id)
				r.ran(n, 1)
			})
		})
	}
}

// What the API has accepted is reported as answered, although the end of the
// session is seen before the answer to the send.
func TestResultAcceptedAtTerminationIsReportedAnswered(t *testing.T) {
	unchecked := func(o *options) {
		o.before = func(r *rig) {
			r.sim.Arm(sim.Fault{Endpoint: sim.Stream, Do: faults.WithholdTypes("user.custom_tool_result")})
		}
	}
	scenario(t, unchecked, func(t *testing.T, r *rig) {
		r.counted("a")
		r.session.Fail(sim.Send, faults.DelayAnswer(time.Second))
		id := r.session.CallTool("a", `{}`)
		r.session.RequireAction()
		after(500 * time.Millisecond)
		r.session.Terminate()
		r.over(ReasonOver)
		r.ended(id, run.OK)
		if r.journal.Len() != 0 {
			t.Error("the journal keeps an answered call")
		}
	})
}

func TestEndedTurnEndsAfterMaxIdle(t *testing.T) {
	for _, reason := range []string{"end_turn", "refusal", "retries_exhausted", "budget_reached", "newer_than_this_worker"} {
		unchecked := func(o *options) { o.unchecked, o.set.MaxIdle = true, time.Minute }
		t.Run(reason+" on the stream", func(t *testing.T) {
			scenario(t, unchecked, func(t *testing.T, r *rig) {
				r.session.Run()
				after(time.Hour)
				r.stays()
				r.session.Idle(reason)
				after(59 * time.Second)
				r.stays()
				r.over(ReasonIdle)
			})
		})
		t.Run(reason+" in the history", func(t *testing.T) {
			before := func(o *options) {
				unchecked(o)
				o.before = func(r *rig) { r.session.Run(); r.session.Idle(reason) }
			}
			scenario(t, before, func(t *testing.T, r *rig) {
				after(59 * time.Second)
				r.stays()
				r.over(ReasonIdle)
				r.requests(sim.List, 1)
			})
		})
	}
}

func TestRequiredActionNeverEnds(t *testing.T) {
	const ask = `{"type":"session.status_idle","id":"sevt_idle","processed_at":"2000-01-01T00:00:01Z",` +
		`"stop_reason":{"type":"requires_action","event_ids":["sevt_elsewhere"]},"stop_details":null}`
	t.Run("on the stream", func(t *testing.T) {
		scenario(t, maxIdle(time.Minute), func(t *testing.T, r *rig) {
			r.live(ask)
			after(time.Hour)
			r.stays()
			// The history was looked at once for the id that it does not know.
			r.requests(sim.List, 2)
		})
	})
	t.Run("in the history", func(t *testing.T) {
		before := func(o *options) {
			o.set.MaxIdle = time.Minute
			o.before = func(r *rig) { r.history(ask) }
		}
		scenario(t, before, func(t *testing.T, r *rig) {
			after(time.Hour)
			r.stays()
		})
	})
}

func TestRunningCallDefersMaxIdle(t *testing.T) {
	scenario(t, maxIdle(time.Minute), func(t *testing.T, r *rig) {
		r.slow("slow", 90*time.Second)
		id := r.session.CallTool("slow", `{}`)
		r.session.EndTurn() // although a call is open
		r.answered(id)
		r.stays()
	})
}

func TestUnsentResultDefersMaxIdle(t *testing.T) {
	scenario(t, maxIdle(10*time.Second), func(t *testing.T, r *rig) {
		n := r.counted("a")
		r.sim.Arm(sim.Fault{Endpoint: sim.Send, Times: 5, Do: sim.Refuse(503)})
		id := r.session.CallTool("a", `{}`)
		r.session.EndTurn()
		r.answered(id)
		r.ran(n, 1)
	})
}

func TestNewTurnCancelsMaxIdle(t *testing.T) {
	scenario(t, maxIdle(time.Minute), func(t *testing.T, r *rig) {
		for range 5 {
			r.session.EndTurn()
			after(59 * time.Second)
			if err := r.session.User("go on"); err != nil {
				t.Fatal(err)
			}
			after(10 * time.Minute)
			r.stays()
		}
		r.session.EndTurn()
		r.over(ReasonIdle)
	})
}

// The turn ended, the stream broke, and a new turn began meanwhile: the old
// countdown must not end the service.
func TestTurnBegunWhileAwayCancelsMaxIdle(t *testing.T) {
	scenario(t, maxIdle(time.Minute), func(t *testing.T, r *rig) {
		r.session.EndTurn()
		after(30 * time.Second)
		r.session.CutStreams(false)
		if err := r.session.User("go on"); err != nil {
			t.Fatal(err)
		}
		after(time.Hour)
		r.stays()
		if got := r.count(sim.Stream); got != 2 {
			t.Errorf("%d streams", got)
		}
	})
}

// A 404 for a deleted session while a result waits for its next send.
func TestDeletionBetweenSendsEnds(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		r.counted("a")
		r.sim.Arm(sim.Fault{Endpoint: sim.Stream, Times: -1, Do: sim.Stall()})
		r.session.CutStreams(false)
		after(5 * time.Second)
		r.sim.Arm(sim.Fault{Endpoint: sim.Send, Times: 2, Do: sim.Refuse(503)})
		id := r.session.CallTool("a", `{}`)
		r.session.CutStreams(false)
		after(2 * time.Second)
		r.session.Delete()
		r.over(ReasonOver)
		r.ended(id, run.Over)
	})
}

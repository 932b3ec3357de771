package loop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/sim"
	"toolhand/internal/sim/faults"
	"toolhand/internal/testkit"
	"toolhand/internal/upstream"
)

// turnOf plays a turn of three calls and an interrupt that comes to nothing, and
// checks that each is answered once, in one send.
func (r *rig) turnOf(n *runs) {
	r.t.Helper()
	before := n.begun.Load()
	var ids []string
	for i := range 3 {
		ids = append(ids, r.session.CallTool("a", fmt.Sprintf(`{"n":%d,"s":"\"\n"}`, i)))
	}
	r.session.RequireAction()
	r.answered(ids...)
	after(0)
	for i, id := range ids {
		r.ended(id, run.OK)
		if got := r.result(id).Text(); got != fmt.Sprintf(`{"n":%d,"s":"\"\n"}`, i) {
			r.t.Errorf("result %q", got)
		}
	}
	r.ran(n, before+3)
}

// Every framing that a proxy or the API may give is understood, on each of three
// streams and in between.
func TestOddFraming(t *testing.T) {
	for name, do := range testkit.Some(map[string]sim.Action{
		"CRLF":             faults.CRLF(),
		"CR only":          faults.CROnly(),
		"byte order mark":  faults.BOM(),
		"comments":         faults.Comments(),
		"no space":         faults.NoSpace(),
		"data in lines":    faults.MultiLine(),
		"no event field":   faults.NoEventField(),
		"oddities":         faults.Oddities(),
		"duplicates":       sim.Duplicate(),
		"no blank line":    faults.NoBlankLine(4),
		"reordered":        faults.Reorder(4),
		"broken JSON":      faults.BadJSON(),
		"error frame":      faults.ErrorFrame(2),
		"cut":              faults.CutAfter(2, sim.ErrEOF),
		"reset":            faults.CutAfter(2, sim.ErrReset),
		"cut at once":      faults.CutAfter(0, sim.ErrReset),
		"33 MiB in a line": faults.HugeLine(33 << 20),
	}, 6) {
		t.Run(name, func(t *testing.T) {
			before := func(o *options) {
				o.unchecked = true
				o.before = func(r *rig) { r.sim.Arm(sim.Fault{Endpoint: sim.Stream, Times: -1, Do: do}) }
			}
			scenario(t, before, func(t *testing.T, r *rig) {
				n := r.counted("a")
				for range 3 {
					r.turnOf(n)
					r.session.EndTurn()
					after(time.Minute)
				}
				if got := len(r.session.Refusals()); got != 0 {
					t.Errorf("%d sends were refused", got)
				}
				r.session.Terminate()
				r.over(ReasonOver)
			})
		})
	}
}

// A frame that can't be read may have been a call: the history has it.
func TestUnreadableEventIsLookedForInTheHistory(t *testing.T) {
	scenario(t, func(o *options) { o.unchecked = true }, func(t *testing.T, r *rig) {
		n := r.counted("a")
		r.sim.Arm(sim.Fault{Endpoint: sim.Stream, Do: faults.Rewrite(func(f string) string {
			return strings.Replace(f, `"type":"agent.custom_tool_use"`, `"type":"agent.custom_tool_use`, 1)
		})})
		r.session.CutStreams(false)
		after(5 * time.Second)
		id := r.session.CallTool("a", `{}`)
		r.answered(id)
		r.ran(n, 1)
	})
}

// A 200 that is no stream, a redirect, an error: tried again, slowly.
func TestNoStreamIsTriedAgain(t *testing.T) {
	for name, do := range map[string]func(*rig) sim.Action{
		"a page":      func(*rig) sim.Action { return sim.Respond(200, "text/html", "<h1>log in</h1>") },
		"a redirect":  func(*rig) sim.Action { return faults.Redirect(302, "http://elsewhere.test/") },
		"500":         func(*rig) sim.Action { return sim.Refuse(500) },
		"a reset":     func(*rig) sim.Action { return sim.ResetBefore() },
		"no headers":  func(r *rig) sim.Action { return r.sim.Hang() },
		"retry-after": func(*rig) sim.Action { return sim.RetryAfter(429, 60) },
		"end of file": func(*rig) sim.Action { return sim.Respond(200, "text/event-stream", "") },
	} {
		t.Run(name, func(t *testing.T) {
			before := func(o *options) { o.unchecked = true }
			scenario(t, before, func(t *testing.T, r *rig) {
				n := r.counted("a")
				fault := r.sim.Arm(sim.Fault{Endpoint: sim.Stream, Times: -1, Do: do(r)})
				r.session.CutStreams(true)
				after(time.Hour)
				// Half a second to ten, with jitter of a half.
				if got := fault.Fired(); got < 50 || got > 800 {
					t.Errorf("%d tries in an hour", got)
				}
				id := r.session.CallTool("a", `{}`)
				r.session.RequireAction()
				fault.Disarm()
				r.answered(id)
				r.ran(n, 1)
				if got := strings.Count(r.log.String(), "level=WARN"); got > 60 {
					t.Errorf("%d warnings in an hour", got)
				}
			})
		})
	}
}

func TestReconnectsAreNoSpam(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		for range 20 {
			r.session.CutStreams(false)
			after(10 * time.Minute)
		}
		if log := r.log.String(); strings.Count(log, "level=INFO") != strings.Count(log, "session attached") || strings.Contains(log, "level=WARN") {
			t.Errorf("streams that come back at once are told: %s", log)
		}
		r.requests(sim.Stream, 21)
	})
}

func TestStalledStreamIsNoticed(t *testing.T) {
	before := func(o *options) { o.idle = 20 * time.Second }
	scenario(t, before, func(t *testing.T, r *rig) {
		n := r.counted("a")
		r.sim.Arm(sim.Fault{Endpoint: sim.Stream, Do: sim.Stall()})
		r.session.CutStreams(false)
		after(5 * time.Second)
		id := r.session.CallTool("a", `{}`)
		after(10 * time.Second)
		r.ran(n, 0)
		after(10 * time.Second)
		r.answered(id)
		r.ran(n, 1)
		r.requests(sim.Stream, 3)
	})
}

// A stream that is silent twice in a row from its first byte on has a heartbeat
// that is slower than we think: the bound doubles, up to ten minutes.
func TestSilentStreamsDoubleTheBound(t *testing.T) {
	before := func(o *options) {
		o.idle, o.sim.Heartbeat = 20*time.Second, 70*time.Second
	}
	scenario(t, before, func(t *testing.T, r *rig) {
		after(time.Hour)
		streams := r.count(sim.Stream)
		if streams < 4 || streams > 6 {
			t.Errorf("%d streams in an hour, want about five until the bound is above the heartbeat", streams)
		}
		after(10 * time.Hour)
		r.requests(sim.Stream, streams)
	})
}

func TestSilenceIsBoundedHoweverOften(t *testing.T) {
	before := func(o *options) {
		o.idle = 20 * time.Second
		o.before = func(r *rig) { r.sim.Arm(sim.Fault{Endpoint: sim.Stream, Times: -1, Do: sim.Stall()}) }
	}
	scenario(t, before, func(t *testing.T, r *rig) {
		n := r.counted("a")
		after(10 * time.Hour)
		id := r.session.CallTool("a", `{}`)
		begun := time.Now()
		r.answered(id)
		if d := time.Since(begun); d > 10*time.Minute+15*time.Second {
			t.Errorf("the call was found after %s", d)
		}
		r.ran(n, 1)
	})
}

// Heartbeats alone keep a stream alive; what it withholds is found by the
// reconcile while the session runs, or by an idle event that names it.
func TestWithheldCallIsFound(t *testing.T) {
	withhold := func(types ...string) func(*options) {
		return func(o *options) {
			o.set.Reconcile = 5 * time.Minute
			o.before = func(r *rig) {
				r.sim.Arm(sim.Fault{Endpoint: sim.Stream, Times: -1, Do: faults.WithholdTypes(types...)})
			}
		}
	}
	t.Run("by the reconcile", func(t *testing.T) {
		scenario(t, withhold("agent.custom_tool_use", "session.status_idle"), func(t *testing.T, r *rig) {
			n := r.counted("a")
			r.session.Run()
			after(time.Second)
			id := r.session.CallTool("a", `{}`)
			r.session.RequireAction()
			after(4 * time.Minute)
			r.ran(n, 0)
			r.answered(id)
			r.requests(sim.Stream, 1)
			r.requests(sim.List, 2)
		})
	})
	t.Run("by the idle event", func(t *testing.T) {
		scenario(t, withhold("agent.custom_tool_use"), func(t *testing.T, r *rig) {
			n := r.counted("a")
			id := r.session.CallTool("a", `{}`)
			begun := time.Now()
			r.session.RequireAction()
			r.answered(id)
			if d := time.Since(begun); d > time.Second {
				t.Errorf("found after %s", d)
			}
			r.ran(n, 1)
			r.requests(sim.List, 2)
		})
	})
}

// Nothing is asked for while a turn has ended: a stream, and no more
// (invariants 6 and 10).
func TestQuietSessionCostsNoRequest(t *testing.T) {
	before := func(o *options) {
		o.set.Reconcile = 5 * time.Minute
		o.before = func(r *rig) { r.session.Message("hello"); r.session.EndTurn() }
	}
	scenario(t, before, func(t *testing.T, r *rig) {
		n := r.counted("a")
		quiet := func(what string) {
			t.Helper()
			before := r.sim.Count("", "")
			after(24 * time.Hour)
			if got := r.sim.Count("", "") - before; got != 0 {
				t.Errorf("%s: %d requests of a quiet session in a day", what, got)
			}
		}
		quiet("attached")
		r.turnOf(n)
		r.session.EndTurn()
		after(0)
		quiet("after a turn")
		r.session.CallTool("unknown", `{}`)
		after(time.Second)
		r.session.EndTurn()
		after(0)
		quiet("after an unknown tool")
		r.session.CutStreams(true)
		after(time.Minute)
		quiet("after a reconnect")
	})
}

func TestRedirectIsNotFollowedAndTakesNoCredentialAlong(t *testing.T) {
	for _, status := range []int{301, 302, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			before := func(o *options) { o.unchecked, o.client = true, upstream.Options{} }
			scenario(t, before, func(t *testing.T, r *rig) {
				n := r.counted("a")
				// Every dial ends at the simulation: a redirect that was
				// followed would be a request to this path.
				const trap = "/v1/sessions/sesn_trap/events"
				r.sim.NewSession(sim.SessionSpec{ID: "sesn_trap"})
				for _, e := range []sim.Endpoint{sim.Stream, sim.List, sim.Send} {
					r.sim.Arm(sim.Fault{Session: sessionID, Endpoint: e, Do: faults.Redirect(status, "http://elsewhere.test"+trap)})
				}
				r.session.CutStreams(false)
				after(5 * time.Second)
				id := r.session.CallTool("a", `{}`)
				r.session.RequireAction()
				r.answered(id)
				r.ran(n, 1)
				if got := r.sim.Count("sesn_trap", ""); got != 0 {
					t.Errorf("%d redirects were followed", got)
				}
			})
		})
	}
}

// TestLongLossIsTold: a stream that was away for a while is told when it is back.
func TestLongLossIsTold(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		r.sim.Arm(sim.Fault{Endpoint: sim.Stream, Times: 3, Do: sim.Refuse(503)})
		r.session.CutStreams(false)
		after(10 * time.Minute)
		if log := r.log.String(); strings.Count(log, `level=INFO msg="reconnected: the event stream is open again"`) != 1 || !strings.Contains(log, "away_ms=") {
			t.Errorf("log: %s", log)
		}
	})
}

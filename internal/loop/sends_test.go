package loop

import (
	"strings"
	"testing"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/sim"
	"toolhand/internal/sim/faults"
	"toolhand/internal/testkit"
	"toolhand/internal/upstream"
)

// However a send fails, the tool runs once, and one result is accepted. Where
// the API has taken it, the history or the echo says so: no second send.
func TestFailedSendNeverRunsTheToolAgain(t *testing.T) {
	for _, c := range []struct {
		name     string
		do       func(*rig) sim.Action
		accepted bool
	}{
		{"500", func(*rig) sim.Action { return sim.Refuse(500) }, false},
		{"529", func(*rig) sim.Action { return sim.Refuse(529) }, false},
		{"408", func(*rig) sim.Action { return sim.Refuse(408) }, false},
		{"409", func(*rig) sim.Action { return sim.Refuse(409) }, false},
		{"429", func(*rig) sim.Action { return sim.RetryAfter(429, 3) }, false},
		{"reset before", func(*rig) sim.Action { return sim.ResetBefore() }, false},
		{"timeout before", func(r *rig) sim.Action { return r.sim.Hang() }, false},
		{"a proxy's page instead", func(*rig) sim.Action { return sim.Respond(200, "text/html", "<h1>hello</h1>") }, false},
		{"reset after", func(*rig) sim.Action { return sim.ResetAfter() }, true},
		{"timeout after", func(r *rig) sim.Action { return r.sim.HangAfter() }, true},
		{"500 after", func(*rig) sim.Action { return faults.RespondAfter(500, "text/plain", "oops") }, true},
		{"undecodable after", func(*rig) sim.Action { return faults.RespondAfter(200, "text/html", "<h1>hello</h1>") }, true},
		{"cut short after", func(*rig) sim.Action { return faults.Truncate(5) }, true},
		{"trickling after", func(*rig) sim.Action { return faults.Trickle(1, 2*time.Second) }, true},
	} {
		for _, echo := range []bool{true, false} {
			name := c.name + ", echo on the stream"
			if !echo {
				name = c.name + ", no echo"
			}
			t.Run(name, func(t *testing.T) {
				before := func(o *options) {
					o.unchecked = true
					o.before = func(r *rig) {
						if !echo {
							r.sim.Arm(sim.Fault{Endpoint: sim.Stream, Times: -1, Do: faults.WithholdTypes("user.custom_tool_result")})
						}
					}
				}
				scenario(t, before, func(t *testing.T, r *rig) {
					n := r.counted("a")
					r.session.Fail(sim.Send, c.do(r))
					id := r.session.CallTool("a", `{}`)
					r.session.RequireAction()
					after(time.Hour)
					r.result(id)
					r.ran(n, 1)
					r.ended(id, run.OK)
					if want := map[bool]int{true: 1, false: 2}[c.accepted]; r.count(sim.Send) != want {
						t.Errorf("%d sends, want %d", r.count(sim.Send), want)
					}
					if n := len(r.session.Refusals()); n != 0 {
						t.Errorf("%d sends were refused", n)
					}
					if r.count(sim.List) > 3 {
						t.Errorf("%d lists", r.count(sim.List))
					}
				})
			})
		}
	}
}

// A send whose outcome is unknown is settled by the history before the next one
// goes, also while the history can't be read.
func TestUnknownOutcomeIsSettledBeforeTheNextSend(t *testing.T) {
	before := func(o *options) {
		o.before = func(r *rig) {
			r.sim.Arm(sim.Fault{Endpoint: sim.Stream, Times: -1, Do: faults.WithholdTypes("user.custom_tool_result")})
		}
	}
	scenario(t, before, func(t *testing.T, r *rig) {
		n := r.counted("a")
		r.session.Fail(sim.Send, sim.ResetAfter())
		down := r.sim.Arm(sim.Fault{Endpoint: sim.List, Times: -1, Do: sim.Refuse(503)})
		id := r.session.CallTool("a", `{}`)
		after(time.Hour)
		r.requests(sim.Send, 1)
		down.Disarm()
		after(time.Minute)
		r.requests(sim.Send, 1)
		r.ended(id, run.OK)
		r.ran(n, 1)
	})
}

// Retries go on as long as the session may still want the answer, slowly.
func TestSendsGoOnAsLongAsTheSessionWantsThem(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		n := r.counted("a")
		down := r.sim.Arm(sim.Fault{Endpoint: sim.Send, Times: -1, Do: sim.Refuse(503)})
		id := r.session.CallTool("a", `{}`)
		r.session.RequireAction()
		hours := testkit.Sample(6, 2)
		after(time.Duration(hours) * time.Hour)
		if got := r.count(sim.Send); got < 100*hours || got > 133*hours {
			t.Errorf("%d sends in %d hours, want one each 30 s or so", got, hours)
		}
		down.Disarm()
		r.answered(id)
		r.ran(n, 1)
	})
}

func TestRetryAfterLengthensAWaitAndNeverShortensIt(t *testing.T) {
	for _, c := range []struct {
		name    string
		seconds int
		fails   int
		least   time.Duration
	}{
		{"longer", 20, 1, 20 * time.Second},
		{"zero", 0, 1, time.Second},
		{"shorter than the backoff", 1, 4, 15 * time.Second},
		{"absurd", 1 << 30, 1, 10 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			scenario(t, nil, func(t *testing.T, r *rig) {
				r.counted("a")
				r.sim.Arm(sim.Fault{Endpoint: sim.Send, Times: c.fails, Do: sim.RetryAfter(429, c.seconds)})
				begun := time.Now()
				id := r.session.CallTool("a", `{}`)
				r.session.RequireAction()
				r.answered(id)
				if d := time.Since(begun); d < c.least || d > c.least+5*time.Second {
					t.Errorf("answered after %s, want %s", d, c.least)
				}
			})
		})
	}
}

// A slow list or send that gives a byte now and then ends at its wall clock.
func TestTricklingAnswersEndAtTheWallClock(t *testing.T) {
	for _, e := range []sim.Endpoint{sim.List, sim.Get} {
		t.Run(string(e), func(t *testing.T) {
			before := func(o *options) {
				o.unchecked, o.lateStart = true, true
				o.client = upstream.Options{RequestTimeout: 10 * time.Second}
				o.before = func(r *rig) {
					r.sim.Arm(sim.Fault{Endpoint: e, Do: faults.Trickle(1, 5*time.Second)})
				}
			}
			scenario(t, before, func(t *testing.T, r *rig) {
				r.start()
				if e == sim.Get {
					// A refused send makes it look at the session.
					r.counted("a")
					r.session.Fail(sim.Send, sim.Refuse(400))
				}
				id := r.session.CallTool("a", `{}`)
				after(15 * time.Second)
				if got := r.sim.Requests(sessionID, e)[0]; got.Done.Sub(got.At) > 15*time.Second {
					t.Errorf("took %s", got.Done.Sub(got.At))
				}
				r.attach()
				r.answered(id)
			})
		})
	}
}

// While one session's sends fail, another's go through.
func TestFailingSendsHoldUpNoOtherSession(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		r.counted("a")
		other := r.beside("sesn_other")
		r.sim.Arm(sim.Fault{Session: sessionID, Endpoint: sim.Send, Times: 20, Do: r.sim.Hang()})
		mine := r.session.CallTool("a", `{}`)
		after(0)
		begun := time.Now()
		theirs := other.CallTool("a", `{}`)
		other.RequireAction()
		if err := other.WaitAnswered(t.Context(), theirs); err != nil || time.Since(begun) > time.Second {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		r.unanswered(mine)
	})
}

// The log says it once in a while, not each time.
func TestFailedSendsDoNotFloodTheLog(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		r.counted("a")
		r.sim.Arm(sim.Fault{Endpoint: sim.Send, Times: -1, Do: sim.Refuse(503)})
		r.session.CallTool("a", `{}`)
		after(6 * time.Hour)
		if got := strings.Count(r.log.String(), "send failed"); got < 3 || got > 100 {
			t.Errorf("%d lines about failed sends", got)
		}
	})
}

// What a failed send concerned may be interrupted before it goes again: the next
// turn goes in one send all the same (invariant 6).
func TestFailuresEndWithWhatTheyConcerned(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		n := r.counted("a")
		r.slow("slow", 3*time.Second)
		r.session.Fail(sim.Send, sim.RetryAfter(429, 2))
		r.session.CallTool("a", `{}`)
		r.session.RequireAction()
		after(time.Second)
		if err := r.session.Interrupt(""); err != nil {
			t.Fatal(err)
		}
		after(10 * time.Second)
		r.requests(sim.Send, 1)
		ids := []string{r.session.CallTool("a", `{}`), r.session.CallTool("slow", `{}`)}
		r.session.RequireAction()
		r.answered(ids...)
		r.requests(sim.Send, 2)
		r.ran(n, 2)
	})
}

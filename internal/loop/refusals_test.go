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

// A refusal that was wrong (a hiccup) is followed by a look at the history, and
// by the same result: the tool does not run again.
func TestRefusedSendNeverRunsTheToolAgain(t *testing.T) {
	for _, status := range []int{400, 412, 413, 422} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			scenario(t, nil, func(t *testing.T, r *rig) {
				n := r.counted("a")
				r.session.Fail(sim.Send, sim.Refuse(status))
				one, two := r.session.CallTool("a", `{"n":1}`), r.session.CallTool("a", `{"n":2}`)
				r.session.RequireAction()
				r.answered(one, two)
				r.session.CutStreams(false)
				after(time.Minute)
				r.ran(n, 2)
				if got := r.result(one).Text(); got != `{"n":1}` {
					t.Errorf("the result became %q", got)
				}
			})
		})
	}
}

// One bad result in a batch: the others get through, the bad one is replaced by
// a short error, and where that is refused too it is set aside for good.
func TestBadResultIsToldFromTheOthers(t *testing.T) {
	for _, of := range []int{1, 8, 2, 3, 20}[:testkit.Sample(5, 2)] {
		for _, lifted := range []bool{true, false} {
			t.Run(fmt.Sprintf("one of %d, error accepted: %t", of, lifted), func(t *testing.T) {
				scenario(t, nil, func(t *testing.T, r *rig) {
					n := r.counted("a")
					var ids []string
					for i := range of {
						ids = append(ids, r.session.CallTool("a", fmt.Sprintf(`{"i":%d,"s":"long enough to be seen"}`, i)))
					}
					bad := ids[of/2]
					if lifted {
						r.sim.Arm(sim.Fault{Endpoint: sim.Send, Times: -1, Do: sim.Refuse(400), When: func(q sim.Request) bool {
							return strings.Contains(string(q.Body), fmt.Sprintf(`{\"i\":%d,`, of/2))
						}})
					} else {
						r.session.Poison(bad, 400)
					}
					r.session.RequireAction()
					after(time.Minute)
					for _, id := range ids {
						if id != bad {
							r.result(id)
							r.ended(id, run.OK)
						}
					}
					if lifted {
						if res := r.result(bad); !res.IsError || !strings.HasPrefix(res.Text(), `Tool "a" ran, but the API refused its result`) {
							t.Errorf("result %q", res.Text())
						}
						r.ended(bad, run.Failed)
						if got := r.reports[bad][0].Cause; !strings.HasPrefix(got, `Tool "a" ran, but the API refused its result`) {
							t.Errorf("it is caused by %q", got)
						}
					} else {
						r.unanswered(bad)
						r.ended(bad, run.Quarantined)
						if got := r.reports[bad][0]; got.Cause == "" || got.Bytes < len("long enough to be seen") {
							t.Errorf("it is caused by %q, of %d bytes", got.Cause, got.Bytes)
						}
						if got := strings.Count(r.log.String(), "level=ERROR"); got != 1 {
							t.Errorf("%d lines at the level of errors, want 1", got)
						}
					}
					// It never loops: a session with a call that can't be
					// answered costs nothing, and the call never runs again.
					sends, lists := r.count(sim.Send), r.count(sim.List)
					if sends > 4+2*8 {
						t.Errorf("%d sends to tell one of %d", sends, of)
					}
					r.session.RequireAction(ids...)
					r.session.CutStreams(false)
					after(24 * time.Hour)
					if r.count(sim.Send) != sends || r.count(sim.List) > lists+1 {
						t.Errorf("afterwards %d sends and %d lists more", r.count(sim.Send)-sends, r.count(sim.List)-lists)
					}
					r.ran(n, int32(of))
				})
			})
		}
	}
}

// The API takes no result for one call, in words that don't name it, and nothing
// else is sent meanwhile: that looks like a refusal of whatever is sent. A result
// that comes later is accepted all the same, and then the bad one is set aside.
func TestHeldResultHoldsUpNoLaterOne(t *testing.T) {
	for _, later := range []int{1, 3} {
		t.Run(fmt.Sprint(later), func(t *testing.T) {
			scenario(t, nil, func(t *testing.T, r *rig) {
				n := r.counted("a")
				var bad string
				r.sim.Arm(sim.Fault{Session: sessionID, Endpoint: sim.Send, Times: -1,
					When: func(q sim.Request) bool { return bad != "" && faults.Mentions(bad)(q) },
					Do:   sim.RefuseAs(400, "invalid_request_error", "tool use is not waiting for a result")})
				bad = r.session.CallTool("a", `{"n":"bad"}`)
				r.session.RequireAction()
				after(10 * time.Second)
				r.unanswered(bad)
				ids := []string{bad}
				for range later {
					ids = append(ids, r.session.CallTool("a", `{"n":"good"}`))
				}
				r.session.RequireAction(ids...)
				after(10 * time.Minute)
				for _, id := range ids[1:] {
					r.ended(id, run.OK)
					if got := r.result(id).Text(); got != `{"n":"good"}` {
						t.Errorf("the good result became %q", got)
					}
				}
				r.ended(bad, run.Quarantined)
				if sends := r.count(sim.Send); sends > 12 {
					t.Errorf("%d sends", sends)
				}
				r.ran(n, int32(later)+1)
			})
		})
	}
}

// The session was archived or has terminated, and the stream did not say so.
func TestRefusalByASessionThatIsOverEnds(t *testing.T) {
	for name, end := range map[string]func(*sim.Session){"archived": (*sim.Session).Archive, "terminated": (*sim.Session).Terminate} {
		t.Run(name, func(t *testing.T) {
			before := func(o *options) {
				o.before = func(r *rig) {
					r.sim.Arm(sim.Fault{Endpoint: sim.Stream, Times: -1, Do: faults.WithholdTypes("session.status_terminated")})
				}
			}
			scenario(t, before, func(t *testing.T, r *rig) {
				n := r.slow("slow", 10*time.Second)
				id := r.session.CallTool("slow", `{}`)
				after(time.Second)
				end(r.session)
				r.over(ReasonOver)
				r.ran(n, 1)
				r.requests(sim.Send, 1)
				r.requests(sim.Get, 1)
				r.ended(id, run.Over)
				if r.journal.Len() != 0 {
					t.Error("the journal keeps a call of a session that is over")
				}
			})
		})
	}
}

// What was answered or interrupted meanwhile, unseen, is dropped from the batch,
// and the rest goes.
func TestRefusedBatchDropsWhatIsDead(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		r.slow("slow", 30*time.Second)
		answered, open := r.session.CallTool("slow", `{}`), r.session.CallTool("slow", `{}`)
		r.session.RequireAction()
		r.sim.Arm(sim.Fault{Endpoint: sim.Stream, Times: -1, Do: sim.HeartbeatsOnly()})
		r.session.CutStreams(false)
		after(10 * time.Second)
		if err := r.session.Answer(answered, "by another"); err != nil {
			t.Fatal(err)
		}
		r.answered(open)
		after(0)
		r.ended(answered, run.Elsewhere)
		r.ended(open, run.OK)
		if got := r.result(answered).Text(); got != "by another" {
			t.Errorf("result %q", got)
		}
		r.requests(sim.Send, 2)
	})
}

// 401: one clear line, nothing sent but a probe now and then; when the key works
// again, everything goes on by itself.
func TestRefusedCredentialStopsSendingUntilItWorks(t *testing.T) {
	for name, mend := range map[string]func(*rig){
		"the API takes it again": func(r *rig) { r.sim.SetKey(testKey) },
		"it was renewed": func(r *rig) {
			r.client.Renew(upstream.Credential{AuthToken: "sk-other-key"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			scenario(t, func(o *options) { o.sim.Key = testKey }, func(t *testing.T, r *rig) {
				n := r.counted("a")
				others := []*sim.Session{r.beside("sesn_1"), r.beside("sesn_2"), r.beside("sesn_3")}
				r.sim.SetKey("sk-other-key")
				ids := []string{r.session.CallTool("a", `{}`)}
				for _, o := range others {
					o.CallTool("a", `{}`)
					o.CutStreams(false)
				}
				before := r.sim.Count("", "")
				after(time.Hour)
				// A probe each 30 s of the whole process, and what was under
				// way when the gate closed.
				if got := r.sim.Count("", "") - before; got > 120+8 || got < 30 {
					t.Errorf("%d requests in an hour of refusals", got)
				}
				if got := strings.Count(r.log.String(), "level=ERROR"); got != 1 {
					t.Errorf("%d lines at the level of errors, want 1", got)
				}
				if r.client.RefusedSince().IsZero() {
					t.Error("the client does not say that it is refused")
				}
				begun := time.Now()
				mend(r)
				r.answered(ids...)
				if d := time.Since(begun); d > 40*time.Second {
					t.Errorf("it took %s", d)
				}
				after(time.Minute)
				r.ran(n, 4)
				if !r.client.RefusedSince().IsZero() {
					t.Error("the client says that it is refused")
				}
				if strings.Contains(r.log.String(), "sk-other-key") {
					t.Error("the credential is in the log")
				}
			})
		})
	}
}

// 403 concerns its session alone.
func TestForbiddenConcernsItsSession(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		n := r.counted("a")
		other := r.beside("sesn_other")
		forbidden := r.sim.Arm(sim.Fault{Session: sessionID, Times: -1, Do: sim.Refuse(403)})
		mine := r.session.CallTool("a", `{}`)
		after(0)
		theirs := other.CallTool("a", `{}`)
		if err := other.WaitAnswered(t.Context(), theirs); err != nil {
			t.Fatal(err)
		}
		r.session.CutStreams(false)
		before := r.sim.Count(sessionID, "")
		after(time.Hour)
		if got := r.sim.Count(sessionID, "") - before; got > 130 {
			t.Errorf("%d requests of a forbidden session in an hour", got)
		}
		st, _ := r.served.Status(t.Context())
		if st.State != "forbidden" || !st.Attached {
			t.Errorf("state %q, attached %t", st.State, st.Attached)
		}
		forbidden.Disarm()
		r.answered(mine)
		r.ran(n, 2)
	})
}

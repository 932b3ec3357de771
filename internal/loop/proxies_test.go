package loop

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/sim"
	"toolhand/internal/sim/faults"
	"toolhand/internal/testkit"
)

const page = "<html><h1>Request blocked</h1></html>"

// firewall puts something in front of the API that keeps each send back whose body
// contains a text.
func firewall(r *rig, text string, do sim.Action) *sim.Armed {
	return r.sim.Arm(sim.Fault{Endpoint: sim.Send, Times: -1, When: faults.Mentions(text), Do: do})
}

func unchecked(o *options) { o.unchecked = true }

// blockers are the ways in which something between the worker and the API keeps a
// request back.
func blockers() map[string]sim.Action {
	return map[string]sim.Action{
		"403":                 sim.Respond(403, "text/html", page),
		"403 of its own form": sim.Respond(403, "application/json", `{"error":{"type":"permission_error","message":"blocked"}}`),
		"401":                 sim.Respond(401, "text/html", page),
		"429":                 sim.Respond(429, "text/html", page),
		"400":                 sim.Respond(400, "text/html", page),
		"404":                 sim.Respond(404, "text/html", page),
		"405":                 sim.Respond(405, "text/html", page),
		"413":                 sim.Respond(413, "text/html", page),
		"302":                 faults.Redirect(302, "http://login.test/"),
		"200":                 sim.Respond(200, "text/html", page),
		"200 of its own form": sim.Respond(200, "application/json", `{"status":"blocked"}`),
		"503":                 sim.Respond(503, "text/html", page),
		"a reset":             sim.ResetBefore(),
	}
}

// Two calls in a turn, then a third: what a proxy refuses for its content holds up
// no other result, and is replaced by a short error; the log warns once.
func TestProxyThatRefusesOneContent(t *testing.T) {
	for name, do := range blockers() {
		t.Run(name, func(t *testing.T) {
			scenario(t, unchecked, func(t *testing.T, r *rig) {
				n := r.counted("echo")
				firewall(r, "DROP TABLE", do)
				one := r.session.CallTool("echo", `{"text":"all is well"}`)
				two := r.session.CallTool("echo", `{"text":"DELETE FROM a; DROP TABLE b;"}`)
				r.session.RequireAction()
				after(time.Minute)
				if got := r.result(one); got.IsError || got.Text() != `{"text":"all is well"}` {
					t.Errorf("the innocent result became %s", got.Content)
				}
				r.answered(two)
				if got := r.result(two); !got.IsError || !strings.HasPrefix(got.Text(), `Tool "echo" ran, but the API refused its result`) {
					t.Errorf("the refused result became %s", got.Content)
				}
				three := r.session.CallTool("echo", `{"text":"after"}`)
				r.session.RequireAction()
				r.answered(three)
				if got := r.result(three).Text(); got != `{"text":"after"}` {
					t.Errorf("the next turn's result became %q", got)
				}
				after(time.Minute)
				r.ran(n, 3)
				if sends := r.count(sim.Send); sends > 16 {
					t.Errorf("%d sends", sends)
				}
				var warnings []string
				for line := range strings.Lines(r.log.String()) {
					if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
						warnings = append(warnings, line)
					}
				}
				sends := r.sim.Requests(sessionID, sim.Send)
				wait := sends[1].At.Sub(sends[0].Done).Round(100 * time.Millisecond)
				if len(warnings) != 1 || !strings.Contains(warnings[0], "wait="+wait.String()) {
					t.Errorf("the second send came after %s, and it warned:\n%s", wait, strings.Join(warnings, ""))
				}
				if r.journal.Len() != 0 {
					t.Errorf("the journal keeps %d entries", r.journal.Len())
				}
			})
		})
	}
}

// A page with 401 for one session's content says nothing of the credential: the
// sends of the others go on at once.
func TestProxysPageWith401StopsNoOtherSession(t *testing.T) {
	scenario(t, unchecked, func(t *testing.T, r *rig) {
		r.counted("a")
		firewall(r, "DROP TABLE", sim.Respond(401, "text/html", page))
		r.session.CallTool("a", `{"text":"DROP TABLE b"}`)
		r.session.RequireAction()
		other := r.beside("sesn_other")
		for range 5 {
			after(5 * time.Second)
			id := other.CallTool("a", `{}`)
			other.RequireAction()
			after(time.Second)
			if _, ok := other.Result(id); !ok {
				t.Error("the other session's result was not sent within a second")
			}
		}
		if since := r.client.RefusedSince(); !since.IsZero() {
			t.Errorf("the client says that its credential is refused since %s", since)
		}
	})
}

// A page with 429 may ask for a wait like the API's own.
func TestProxysPageMayAskForAWait(t *testing.T) {
	scenario(t, unchecked, func(t *testing.T, r *rig) {
		r.counted("a")
		r.session.Fail(sim.Send, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "20")
				http.Error(w, page, http.StatusTooManyRequests)
			})
		})
		id := r.session.CallTool("a", `{}`)
		r.session.RequireAction()
		r.answered(id)
		sends := r.sim.Requests(sessionID, sim.Send)
		if wait := sends[1].At.Sub(sends[0].Done); len(sends) != 2 || wait < 20*time.Second {
			t.Errorf("%d sends, the second after %s", len(sends), wait)
		}
	})
}

// A page that comes once, or for a while, changes nothing: each result is accepted
// as it is.
func TestProxysPageForAWhileChangesNoResult(t *testing.T) {
	for name, do := range blockers() {
		for _, times := range []int{1, 40} {
			t.Run(fmt.Sprintf("%s, %d times", name, times), func(t *testing.T) {
				scenario(t, unchecked, func(t *testing.T, r *rig) {
					n := r.counted("a")
					r.sim.Arm(sim.Fault{Endpoint: sim.Send, Times: times, Do: do})
					ids := []string{r.session.CallTool("a", `{"n":1}`), r.session.CallTool("a", `{"n":2}`), r.session.CallTool("a", `{"n":3}`)}
					r.session.RequireAction()
					r.answered(ids...)
					after(time.Minute)
					for i, id := range ids {
						r.ended(id, run.OK)
						if got, want := r.result(id).Text(), fmt.Sprintf(`{"n":%d}`, i+1); got != want {
							t.Errorf("result %q, want %q", got, want)
						}
					}
					r.ran(n, 3)
					if sends := r.count(sim.Send); times == 1 && sends != 2 {
						t.Errorf("%d sends, want the results together again", sends)
					}
				})
			})
		}
	}
}

// The innocent go soon, wherever the bad one stands among them.
func TestProxyHoldsUpNoneOfMany(t *testing.T) {
	for _, bad := range []int{0, 10, 19} {
		t.Run(fmt.Sprint(bad), func(t *testing.T) {
			scenario(t, unchecked, func(t *testing.T, r *rig) {
				r.counted("a")
				firewall(r, fmt.Sprintf(`{\"n\":%d}`, bad), sim.Respond(403, "text/html", page))
				var ids []string
				for i := range 20 {
					ids = append(ids, r.session.CallTool("a", fmt.Sprintf(`{"n":%d}`, i)))
				}
				r.session.RequireAction()
				after(2 * time.Minute)
				for i, id := range ids {
					if i != bad {
						r.ended(id, run.OK)
					} else if r.ended(id, run.Failed); !strings.Contains(r.result(id).Text(), "403") {
						t.Errorf("result %q", r.result(id).Text())
					}
				}
			})
		})
	}
}

// A result that is alone: only where the results of other sessions pass is its
// content the reason. Where nothing passes it stands, and is tried on.
func TestProxyRefusesALoneResult(t *testing.T) {
	for _, others := range []bool{true, false} {
		t.Run(fmt.Sprintf("others pass: %t", others), func(t *testing.T) {
			scenario(t, unchecked, func(t *testing.T, r *rig) {
				n := r.counted("a")
				fire := firewall(r, "DROP TABLE", sim.Respond(403, "text/html", page))
				id := r.session.CallTool("a", `{"text":"DROP TABLE b"}`)
				r.session.RequireAction()
				if others {
					other := r.beside("sesn_other")
					after(10 * time.Second)
					other.CallTool("a", `{}`)
					other.RequireAction()
					n.begun.Add(-1)
				}
				after(time.Hour)
				if others {
					r.ended(id, run.Failed)
				} else {
					r.unanswered(id)
					fire.Disarm()
					r.answered(id)
					after(time.Second)
					r.ended(id, run.OK)
				}
				r.ran(n, 1)
			})
		})
	}
}

// Failures from before others pass, and the API's own 5xx, say nothing of the content:
// the result stands.
func TestFailuresThatSayNothingOfTheContent(t *testing.T) {
	for name, c := range map[string]struct {
		do          sim.Action
		times, from int // how many sends fail, and after how many others pass
	}{
		"an outage that ends": {sim.Respond(503, "text/html", page), 5, 4},
		"the API's own 500":   {sim.Refuse(500), 8, 1},
	} {
		t.Run(name, func(t *testing.T) {
			scenario(t, unchecked, func(t *testing.T, r *rig) {
				r.counted("a")
				r.sim.Arm(sim.Fault{Session: sessionID, Endpoint: sim.Send, Times: c.times, Do: c.do})
				id := r.session.CallTool("a", `{"text":"good"}`)
				r.session.RequireAction()
				other := r.beside("sesn_other")
				for r.count(sim.Send) < c.from {
					after(100 * time.Millisecond)
				}
				other.CallTool("a", `{}`)
				other.RequireAction()
				r.answered(id)
				after(time.Minute)
				r.ended(id, run.OK)
				if got := r.result(id).Text(); got != `{"text":"good"}` {
					t.Errorf("result %q", got)
				}
			})
		})
	}
}

// Whatever this session sends is kept back while others pass: then it is not the
// content, and the result stands again.
func TestProxyThatBlocksASessionReplacesNothing(t *testing.T) {
	scenario(t, unchecked, func(t *testing.T, r *rig) {
		r.counted("a")
		block := r.sim.Arm(sim.Fault{Session: sessionID, Endpoint: sim.Send, Times: -1, Do: sim.Respond(403, "text/html", page)})
		id := r.session.CallTool("a", `{"text":"good"}`)
		r.session.RequireAction()
		other := r.beside("sesn_other")
		after(3 * time.Second)
		other.CallTool("a", `{}`)
		other.RequireAction()
		after(time.Hour)
		block.Disarm()
		r.answered(id)
		if got := r.result(id).Text(); got != `{"text":"good"}` {
			t.Errorf("result %q", got)
		}
		if warns := strings.Count(r.log.String(), "level=WARN"); warns != 1 {
			t.Errorf("%d warnings, want 1", warns)
		}
	})
}

// The API refuses whatever is sent, with the same words but for a number: no result
// is the reason. They are kept, tried again slowly, and accepted as they are when it
// is over.
func TestRefusalOfTheWholeSendCondemnsNothing(t *testing.T) {
	credit := func(int) string { return "Your credit balance is too low" }
	counted := func(n int) string { return fmt.Sprintf("Your credit balance of $-0.%02d is too low (req_%d)", n, n) }
	for _, c := range []struct {
		of    int
		words func(n int) string
	}{{1, credit}, {5, counted}, {2, credit}, {5, credit}, {2, counted}}[:testkit.Sample(5, 2)] {
		t.Run(fmt.Sprint(c.of, " ", c.words(1)), func(t *testing.T) {
			of, sends := c.of, 0
			scenario(t, nil, func(t *testing.T, r *rig) {
				n := r.counted("a")
				refused := r.sim.Arm(sim.Fault{Session: sessionID, Endpoint: sim.Send, Times: -1,
					Do: func(next http.Handler) http.Handler {
						sends++
						return sim.RefuseAs(400, "invalid_request_error", c.words(sends))(next)
					}})
				var ids []string
				for i := range of {
					ids = append(ids, r.session.CallTool("a", fmt.Sprintf(`{"n":%d}`, i)))
				}
				r.session.RequireAction()
				after(6 * time.Hour)
				r.unanswered(ids...)
				if sends := r.count(sim.Send); sends < 60 || sends > 110 {
					t.Errorf("%d sends in six hours, want one each five minutes or so", sends)
				}
				if got := strings.Count(r.log.String(), "level=WARN"); got != 1 {
					t.Errorf("%d warnings, want 1", got)
				}
				if r.journal.Len() != of {
					t.Errorf("%d entries in the journal, want %d", r.journal.Len(), of)
				}
				// A restart finds the results themselves.
				entries, err := r.journal.Recover(t.Context(), sessionID, nil)
				for _, e := range entries {
					if err != nil || !e.Finished || e.IsError || e.Quarantined != "" {
						t.Errorf("%v, entry %+v", err, e)
					}
				}
				before := r.count(sim.Send)
				refused.Disarm()
				r.answered(ids...)
				after(time.Minute)
				for i, id := range ids {
					r.ended(id, run.OK)
					if got, want := r.result(id).Text(), fmt.Sprintf(`{"n":%d}`, i); got != want {
						t.Errorf("result %q, want %q", got, want)
					}
				}
				if sends := r.count(sim.Send) - before; sends != 1 {
					t.Errorf("they went in %d sends", sends)
				}
				r.ran(n, int32(of))
			})
		})
	}
}

// A page on a read silences no session: it is tried again like any other failure.
func TestProxysPageOnAReadSilencesNoSession(t *testing.T) {
	for _, e := range []sim.Endpoint{sim.Stream, sim.List, sim.Get} {
		for name, do := range blockers() {
			t.Run(string(e)+" "+name, func(t *testing.T) {
				before := func(o *options) {
					o.lateStart, o.unchecked = true, true
					o.before = func(r *rig) {
						r.sim.Arm(sim.Fault{Endpoint: e, Do: do})
					}
				}
				scenario(t, before, func(t *testing.T, r *rig) {
					r.counted("a")
					if e == sim.Get {
						r.session.Fail(sim.Send, sim.Refuse(400)) // it looks at the session then
					}
					id := r.session.CallTool("a", `{}`)
					r.session.RequireAction()
					begun := time.Now()
					r.start()
					r.answered(id)
					if d := time.Since(begun); d > 10*time.Second {
						t.Errorf("it took %s", d)
					}
					if st, _ := r.served.Status(t.Context()); st.State == "forbidden" {
						t.Error("the session says that it is forbidden")
					}
				})
			})
		}
	}
}

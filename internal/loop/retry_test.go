package loop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"toolhand/internal/loop/circuit"
	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// away is a handler that can't be reached until back, or for good.
type away struct {
	tries   atomic.Int32
	at      []time.Duration // of the tries, since begun; one call at a time
	begun   time.Time
	back    time.Duration // 0: never
	passing bool
	lost    bool // the answer is lost instead
}

func (a *away) Call(context.Context, tools.Call) (tools.Result, error) {
	a.tries.Add(1)
	a.at = append(a.at, time.Since(a.begun))
	switch {
	case a.back > 0 && time.Since(a.begun) >= a.back:
		return content.Text("back"), nil
	case a.lost:
		return tools.Result{}, &tools.LostError{Err: errors.New("connection reset")}
	}
	return tools.Result{}, &tools.UnavailableError{Err: errors.New("connection refused"), Passing: a.passing}
}

func (r *rig) away(a *away, spec registry.Manifest) *away {
	a.begun = time.Now()
	spec.Name, spec.Handler = "a", a
	r.tool(spec)
	return a
}

// call has the agent call the tool once, and gives the result's text and how long
// it took.
func (r *rig) call() (text string, outcome run.Outcome, took time.Duration) {
	r.t.Helper()
	begun := time.Now()
	id := r.session.CallTool("a", `{}`)
	r.session.RequireAction()
	r.answered(id)
	took = time.Since(begun)
	synctest.Wait() // for the report, and the entry to be forgotten
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.result(id).Content), r.reports[id][0].Outcome, took
}

// A call that surely did not run is tried as often as its manifest says, each
// time after twice the wait, and one attempt is all where it says nothing.
// Invariant 1: none of these attempts ran.
func TestRetryOfWhatDidNotRun(t *testing.T) {
	for _, c := range []struct {
		name  string
		retry registry.Retry
		tries string
	}{
		{"by default", registry.Retry{}, "[0s]"},
		{"three times", registry.Retry{Attempts: 3, Backoff: time.Second}, "[0s 1s 3s]"},
		{"with the default wait", registry.Retry{Attempts: 3}, "[0s 500ms 1.5s]"},
		{"until the deadline", registry.Retry{Attempts: 100, Backoff: 4 * time.Second}, "[0s 4s]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			scenario(t, nil, func(t *testing.T, r *rig) {
				a := r.away(&away{}, registry.Manifest{Retry: c.retry, Deadline: 10 * time.Second, DeadlineText: "10s"})
				text, outcome, _ := r.call()
				if outcome != run.Unavailable || !strings.Contains(text, `Tool \"a\" is unavailable: connection refused`) {
					t.Errorf("%s: %s", outcome, text)
				}
				if got := fmt.Sprint(rounded(a.at)); got != c.tries {
					t.Errorf("tried at %s, want %s", got, c.tries)
				}
				after(forgetDelay)
				if r.slots.Held() != 0 || r.journal.Len() != 0 {
					t.Errorf("%d slots, %d entries", r.slots.Held(), r.journal.Len())
				}
			})
		})
	}
}

func rounded(all []time.Duration) []time.Duration {
	out := make([]time.Duration, len(all))
	for i, d := range all {
		out[i] = d.Round(time.Millisecond)
	}
	return out
}

// A call whose answer was lost is tried again only where it may run twice.
func TestRetryOfALostAnswer(t *testing.T) {
	for _, idempotent := range []bool{false, true} {
		scenario(t, nil, func(t *testing.T, r *rig) {
			a := r.away(&away{lost: true, back: 4 * time.Second}, registry.Manifest{
				Idempotent: idempotent, Retry: registry.Retry{Attempts: 5, Backoff: time.Second}})
			text, outcome, _ := r.call()
			want, tries := run.UnknownOutcome, int32(1)
			if idempotent {
				want, tries = run.OK, 4
			}
			if outcome != want || a.tries.Load() != tries {
				t.Errorf("idempotent %t: %s after %d tries: %s", idempotent, outcome, a.tries.Load(), text)
			}
		})
	}
}

// A handler that is away for a moment is waited for within the deadline, without
// holding a slot; the answer at the deadline says what is wrong.
func TestPassingAbsence(t *testing.T) {
	scenario(t, func(o *options) { o.slots = 1 }, func(t *testing.T, r *rig) {
		a := r.away(&away{passing: true, back: 20 * time.Second}, registry.Manifest{Deadline: time.Minute, DeadlineText: "60s"})
		r.counted("b")
		id := r.session.CallTool("a", `{}`)
		after(500 * time.Millisecond)
		other := r.session.CallTool("b", `{}`)
		r.session.RequireAction()
		r.answered(id, other)
		if d := a.at[len(a.at)-1]; d > 21*time.Second+100*time.Millisecond {
			t.Errorf("found after %s", d)
		}
		synctest.Wait()
		r.ended(id, run.OK)
		a.back, a.begun = 0, time.Now()
		text, outcome, took := r.call()
		if outcome != run.Unavailable || !strings.Contains(text, "connection refused") || took < 58*time.Second || took > time.Minute+time.Second {
			t.Errorf("%s after %s: %s", outcome, took, text)
		}
	})
}

// A tool that was unavailable again and again is answered for at once, without a
// try and without a start in the journal, and used again when it is back.
func TestCircuit(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		a := r.away(&away{back: time.Minute}, registry.Manifest{})
		for range circuit.Failures {
			if _, outcome, _ := r.call(); outcome != run.Unavailable {
				t.Fatalf("outcome %s", outcome)
			}
		}
		text, outcome, _ := r.call()
		if outcome != run.Unavailable || a.tries.Load() != circuit.Failures || !strings.Contains(text, "is unavailable: 5 attempts in a row") {
			t.Errorf("%s after %d tries: %s", outcome, a.tries.Load(), text)
		}
		after(circuit.Cooldown)
		r.call()
		if a.tries.Load() != circuit.Failures+1 {
			t.Errorf("%d tries after the cooldown", a.tries.Load())
		}
		after(time.Minute)
		for range 2 {
			if text, outcome, _ := r.call(); outcome != run.OK {
				t.Errorf("when it is back: %s %s", outcome, text)
			}
		}
		for _, want := range []string{"tool can't be reached", "tool can be reached again"} {
			if strings.Count(r.log.String(), want) != 1 {
				t.Errorf("logged %d times: %s", strings.Count(r.log.String(), want), want)
			}
		}
	})
}

// A drain between two attempts leaves a call that surely did not run to the next
// worker, and its start does not stay behind.
func TestDrainBetweenAttempts(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		a := r.away(&away{}, registry.Manifest{Retry: registry.Retry{Attempts: 2, Backoff: 30 * time.Second}})
		id := r.session.CallTool("a", `{}`)
		r.session.RequireAction()
		after(time.Second)
		if r.journal.Len() != 1 {
			t.Fatalf("%d entries between attempts", r.journal.Len())
		}
		r.served.Drain()
		r.over(ReasonDrained)
		if r.journal.Len() != 0 || a.tries.Load() != 1 {
			t.Errorf("%d entries, %d tries", r.journal.Len(), a.tries.Load())
		}
		r.unanswered(id)
	})
}

// absent is a handler that takes its time to find that its other end is away.
type absent struct {
	away
	takes time.Duration
}

func (a *absent) Call(ctx context.Context, c tools.Call) (tools.Result, error) {
	time.Sleep(a.takes)
	return a.away.Call(ctx, c)
}

// An attempt that ends while the worker drains, and would be followed by another
// one, is handed over: the next worker runs the call. The last attempt is answered.
func TestDrainHandsAttemptsOver(t *testing.T) {
	for _, c := range []struct {
		attempts   int
		idempotent bool
		lost       bool
	}{{2, false, false}, {2, true, false}, {2, true, true}, {1, false, false}} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			scenario(t, nil, func(t *testing.T, r *rig) {
				a := &absent{away: away{begun: time.Now(), lost: c.lost}, takes: 10 * time.Second}
				r.tool(registry.Manifest{Name: "a", Handler: a, Idempotent: c.idempotent, Retry: registry.Retry{Attempts: c.attempts, Backoff: 5 * time.Second}})
				id := r.session.CallTool("a", `{}`)
				r.session.RequireAction()
				after(time.Second)
				r.served.Drain()
				r.over(ReasonDrained)
				if r.journal.Len() != 0 || a.tries.Load() != 1 {
					t.Errorf("%d entries, %d tries", r.journal.Len(), a.tries.Load())
				}
				if c.attempts == 1 {
					if got := r.result(id).Text(); !strings.Contains(got, "is unavailable") {
						t.Errorf("the last attempt is answered with %q", got)
					}
					return
				}
				r.unanswered(id)

				cfg := r.served.cfg
				cfg.Owner = "another"
				r.tool(registry.Manifest{Name: "a", Handler: &away{begun: time.Now().Add(-time.Second), back: time.Second}, Idempotent: c.idempotent})
				r.served = New(cfg)
				r.start()
				r.answered(id)
				if got := r.result(id).Text(); got != "back" {
					t.Errorf("the next worker answers %q", got)
				}
			})
		})
	}
}

package loop

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	"toolhand/internal/upstream"
)

// A worker drains while the queue of a job that an earlier one began can't be asked: the
// job is left to the next worker, and nothing is waited for.
func TestDrainOfAResumedCall(t *testing.T) {
	for _, in := range []time.Duration{1500 * time.Millisecond, 2 * time.Second} { // in its pause, and while it asks
		j := &jobs{}
		j.unreachable.Store(1 << 30)
		startedJob(t, j, 0, func(r *rig, id string) {
			after(in)
			begun := time.Now()
			r.served.Drain()
			r.over(ReasonDrained)
			if d := time.Since(begun); d > time.Second {
				t.Errorf("drained after %s", d)
			}
			if r.journal.Len() != 1 {
				t.Errorf("%d entries, want that of the job", r.journal.Len())
			}
		})
	}
}

// A worker is stopped at once while a call waits for its next attempt: the call surely
// did not run, and its start does not stay.
func TestStopBetweenAttemptsLeavesNoStart(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		r.tool(registry.Manifest{Name: "away", Deadline: time.Minute, DeadlineText: "60s", Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
			return tools.Result{}, &tools.UnavailableError{Err: errors.New("away"), Passing: true}
		})})
		r.session.CallTool("away", `{}`)
		after(1550 * time.Millisecond)
		r.stop()
		r.over(ReasonStopped)
		synctest.Wait()
		if entries, err := r.journal.Recover(t.Context(), sessionID, nil); err != nil || len(entries) != 0 {
			t.Errorf("the journal holds %+v: the next worker would not run it (%v)", entries, err)
		}
	})
}

// A session is over while a handler ignores its context: nothing of it stays in the
// journal.
func TestNoEntryStaysOfASessionThatIsOver(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		r.tool(registry.Manifest{Name: "deaf", Deadline: time.Minute, DeadlineText: "60s", Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
			time.Sleep(30 * time.Second)
			return content.Text("x"), nil
		})})
		r.session.CallTool("deaf", `{}`)
		after(time.Second)
		if r.journal.Len() != 1 {
			t.Fatal("it was not started")
		}
		r.session.Terminate()
		r.over(ReasonOver)
		after(time.Minute)
		if n := r.journal.Len(); n != 0 {
			t.Errorf("%d entries of a session that is over", n)
		}
	})
}

// A run that ends without an answer and without a word of who may run the call again is
// answered for: nothing else would.
func TestEndOfARunIsAlwaysAnEnd(t *testing.T) {
	tool := testTool("pay", false, time.Minute)
	l := newLedger(Settings{Session: "s", Owner: "o", Lookup: func(string) (*registry.Tool, bool) { return tool, true }})
	now := time.Now()
	l.Step(now, received{upstream.Event{Type: upstream.TypeCall, ID: "c", Name: "pay", Input: []byte("{}"), ProcessedAt: now}})
	l.Step(now, ran{"c", run.End{Err: errors.New("odd"), Handled: true, Started: true, MayStand: true, Revision: 1}})
	if c := l.byID["c"]; c.state != finished || c.answer.Outcome != run.UnknownOutcome {
		t.Errorf("the call is %s, answered %+v", c.state, c.answer)
	}
}

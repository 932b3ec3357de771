package loop

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// jobs is a handler whose calls outlive the worker. done closes when the job of
// an earlier process has its result.
type jobs struct {
	begun, resumed atomic.Int32
	done           chan struct{}
	unreachable    atomic.Int32 // so many times the result can't be asked for
	left           atomic.Bool  // told to leave the call as it is
}

func (j *jobs) Call(ctx context.Context, c tools.Call) (tools.Result, error) {
	j.begun.Add(1)
	return j.wait(ctx)
}

func (j *jobs) Resume(ctx context.Context, c tools.Call) (tools.Result, error) {
	j.resumed.Add(1)
	if j.unreachable.Add(-1) >= 0 {
		return tools.Result{}, &tools.UnavailableError{Err: errors.New("no server")}
	}
	return j.wait(ctx)
}

func (j *jobs) wait(ctx context.Context) (tools.Result, error) {
	select {
	case <-j.done:
		return content.Text("job done"), nil
	case <-ctx.Done():
		j.left.Store(errors.Is(context.Cause(ctx), tools.ErrLeft))
		return tools.Result{}, context.Cause(ctx)
	}
}

// started serves a session whose call of the tool job an earlier process started.
func startedJob(t *testing.T, j *jobs, age time.Duration, f func(r *rig, id string)) {
	t.Helper()
	scenario(t, func(o *options) { o.lateStart = true }, func(t *testing.T, r *rig) {
		j.done = make(chan struct{})
		r.tool(registry.Manifest{Name: "job", Handler: j, Deadline: time.Minute, DeadlineText: "60s"})
		id := r.session.CallTool("job", `{}`)
		r.session.RequireAction()
		received := time.Now().Add(-age)
		if _, err := r.journal.Start(t.Context(), journal.Entry{Session: sessionID, Call: id, Tool: "job", Owner: "earlier",
			Received: received, Deadline: received.Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		r.start()
		r.attach()
		f(r, id)
		if n := j.begun.Load(); n != 0 {
			t.Errorf("invariant 1: the job was started again, %d times", n)
		}
	})
}

// The result of a queued job is waited for after a restart, until the deadline
// in its entry (invariants 1, 3 and 4).
func TestResumeGetsTheResult(t *testing.T) {
	j := &jobs{}
	j.unreachable.Store(3)
	startedJob(t, j, 10*time.Second, func(r *rig, id string) {
		after(20 * time.Second)
		r.unanswered(id)
		close(j.done)
		r.answered(id)
		synctest.Wait()
		r.ended(id, run.OK)
		after(forgetDelay)
		if j.resumed.Load() != 4 || r.journal.Len() != 0 {
			t.Errorf("%d resumed, %d entries", j.resumed.Load(), r.journal.Len())
		}
	})
}

func TestResumeEndsAtTheEntrysDeadline(t *testing.T) {
	for _, c := range []struct{ age, wait time.Duration }{
		{20 * time.Second, 40 * time.Second},
		{time.Hour, resumeGrace}, // a result that is there is still found
	} {
		startedJob(t, &jobs{}, c.age, func(r *rig, id string) {
			begun := time.Now()
			r.answered(id)
			if took := time.Since(begun); took < c.wait-time.Second || took > c.wait+time.Second {
				t.Errorf("answered after %s, want %s", took, c.wait)
			}
			if text := string(r.result(id).Content); !strings.Contains(text, "did not finish within its deadline of 60s") {
				t.Errorf("answer %s", text)
			}
		})
	}
}

// A worker that shuts down leaves the job and its entry as they are.
func TestResumeIsLeftAtTheEnd(t *testing.T) {
	j := &jobs{}
	startedJob(t, j, 0, func(r *rig, id string) {
		after(time.Second)
		r.served.Drain()
		after(time.Second)
		r.stop()
		r.over(ReasonStopped)
		synctest.Wait()
		if r.journal.Len() != 1 || !j.left.Load() {
			t.Errorf("%d entries, left %t", r.journal.Len(), j.left.Load())
		}
		r.unanswered(id)
	})
}

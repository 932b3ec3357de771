package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"github.com/cenkalti/backoff/v4"

	"toolhand/internal/schema"
	"toolhand/internal/tools"
)

const (
	// maxAttempts is how often an idempotent call is run whose answer is lost,
	// where its manifest does not say.
	maxAttempts = 3
	// rerunWait is how long it waits before the second time, where its manifest
	// does not say; the waits double up to maxRerunWait.
	rerunWait    = 500 * time.Millisecond
	maxRerunWait = 30 * time.Second
	// passingWait and maxPassingWait are the same where a handler is away for a
	// moment.
	passingWait    = 100 * time.Millisecond
	maxPassingWait = time.Second
)

// check holds the call's input against its schema, and answers at once where the tool
// could not be reached for long. What an earlier process started was checked by it. A
// validator that panics is an answer like any other.
func (r *Run) check() (a Answer, err error) {
	if r.call.Resume {
		return a, nil
	}
	t := r.call.Def
	r.enter(checking)
	defer r.enter(waiting)
	defer func() {
		if p := recover(); p != nil {
			r.logPanic("the check of an input panicked", p, debug.Stack())
			a, err = panicked(t.Name), nil
		}
	}()
	if err := t.Validate(r.ctx, r.call.Input); err != nil {
		if r.ctx.Err() != nil {
			return a, context.Cause(r.ctx)
		}
		var bad *schema.InvalidError
		if errors.As(err, &bad) && bad.Panic != nil {
			r.logPanic("the check of an input panicked", bad.Panic, bad.Stack)
		}
		return invalid(t.Name, err), nil
	}
	// A call that has tried already goes on trying: it is how the tool is found to be
	// back.
	if err := r.Circuits.Allow(t.Name); err != nil {
		return AnswerUnavailable(t.Name, err), nil
	}
	return a, nil
}

func (r *Run) enter(p phase) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.move(p)
}

// move begins another phase. r.mu is held.
func (r *Run) move(p phase) {
	now := time.Now()
	r.end.Phases.add(r.phase, now.Sub(r.since))
	r.phase, r.since = p, now
}

func (r *Run) logPanic(text string, value any, stack []byte) {
	r.Log.Error(text, "tool", r.call.Def.Name, "call", r.call.ID, "panic", fmt.Sprint(value), "stack", string(stack))
}

// handle runs the handler. A panic in it ends this call alone.
func (r *Run) handle() (a Answer, err error) {
	t := r.call.Def
	defer func() {
		if p := recover(); p != nil {
			r.logPanic("a handler panicked", p, debug.Stack())
			a, err = panicked(t.Name), nil
		}
	}()
	if r.Log.Enabled(r.ctx, slog.LevelDebug) { // or the input is copied for nothing
		r.Log.Debug("input", "call", r.call.ID, "input", string(r.call.Input))
	}
	var result tools.Result
	labels := pprof.Labels("session", r.call.Session, "tool", t.Name)
	pprof.Do(r.ctx, labels, func(ctx context.Context) { result, err = r.callHandler(ctx) })
	if err != nil && r.ctx.Err() != nil {
		return a, context.Cause(r.ctx)
	}
	r.noteReach(err)
	if err != nil {
		return a, err
	}
	return given(result), nil
}

// callHandler gives the handler the call, or what is left of it.
func (r *Run) callHandler(ctx context.Context) (tools.Result, error) {
	if !r.call.Resume {
		return r.call.Def.Handler.Call(ctx, r.call.Call)
	}
	h, ok := r.call.Def.Handler.(tools.Resumer)
	if !ok {
		return tools.Result{}, errors.New("its handler can't be asked for a call that it had before")
	}
	return h.Resume(ctx, r.call.Call)
}

// noteReach tells the tool's circuit whether the handler was reached.
func (r *Run) noteReach(err error) {
	name := r.call.Def.Name
	var away *tools.UnavailableError
	switch {
	case errors.As(err, &away):
		if r.Circuits.Failed(name, err, away.Passing) {
			r.Log.Warn("tool can't be reached: its calls are answered at once until it can", "tool", name, "error", err)
		}
	case r.Circuits.Reached(name):
		r.Log.Info("tool can be reached again", "tool", name)
	}
}

// again decides what follows an attempt that failed: an answer, or a wait until the
// next.
func (r *Run) again(err error) (Answer, time.Duration) {
	var away *tools.UnavailableError
	switch {
	case errors.As(err, &away) && r.call.Resume:
		return r.later() // its result may be there, and can't be seen for now
	case errors.As(err, &away):
		return r.next(err, away.Passing, 1)
	case !r.call.Def.Idempotent:
		return AnswerLost(r.call.Def.Name, err), 0
	}
	return r.next(err, false, maxAttempts)
}

// later is the wait before the result of a call is asked for again that an earlier
// process started.
func (r *Run) later() (Answer, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.handOver {
		r.stop(tools.ErrLeft)
	}
	return Answer{}, maxPassingWait
}

// next is the wait before the next attempt of a call that surely did not run, or may
// run twice: as often as its manifest says, else as attempts says, or until its
// deadline where its handler is away for a moment.
func (r *Run) next(why error, passing bool, attempts int) (Answer, time.Duration) {
	wait, ceiling := rerunWait, maxRerunWait
	if passing {
		wait, ceiling, attempts = passingWait, maxPassingWait, math.MaxInt
	}
	retry := r.call.Def.Retry
	if retry.Backoff > 0 {
		wait, attempts = retry.Backoff, math.MaxInt
	}
	if retry.Attempts > 0 {
		attempts = retry.Attempts
	}
	if r.waits == nil {
		r.waits = backoff.NewExponentialBackOff(backoff.WithInitialInterval(wait), backoff.WithMultiplier(2),
			backoff.WithMaxInterval(max(wait, ceiling)), backoff.WithRandomizationFactor(0), backoff.WithMaxElapsedTime(0))
	}
	wait = r.waits.NextBackOff()
	if r.Jitter != nil {
		wait = r.Jitter(wait)
	}
	if r.attempts >= attempts || !time.Now().Add(wait).Before(r.call.Deadline) {
		return AnswerUnavailable(r.call.Def.Name, why), 0
	}
	r.Log.Info("call is tried again", "tool", r.call.Def.Name, "call", r.call.ID, "attempt", r.attempts+1,
		"wait_ms", milliseconds(wait), "reason", why.Error())
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.end.Away = why; r.handOver {
		r.stop(tools.ErrLeft)
	}
	return Answer{}, max(wait, 1)
}

package loop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"runtime/pprof"
	"sync/atomic"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/slots"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// attempt is one goroutine of a call: its slot, its check, its start in the
// journal and its handler, in this order, each when the ledger says so.
type attempt struct {
	steps  chan attemptStep
	cancel context.CancelCauseFunc
	slot   atomic.Pointer[slots.Slot]
}

// attemptStep is what the ledger says an attempt does next: write its start to
// the journal, or without an entry run the handler.
type attemptStep struct{ entry *journal.Entry }

func (s *Session) startAttempt(q queue) {
	ctx, cancel := context.WithCancelCause(s.ctx)
	// One step at a time is given out, so that a buffer of one never blocks.
	a := &attempt{steps: make(chan attemptStep, 1), cancel: cancel}
	s.running[q.call.ID] = a
	// The place in the row is taken here, where calls are in their order.
	ticket := s.cfg.Slots.Queue(s.cfg.Session, q.tool.LimitName(), LimitOf(q.tool))
	s.spawn(func() {
		defer cancel(nil)
		s.post(s.attempt(ctx, a, ticket, q))
	})
}

// LimitOf is what bounds a tool's calls in this process.
func LimitOf(t *registry.Tool) slots.Limit {
	calls, per := t.Rate.Window()
	return slots.Limit{Concurrency: t.Concurrency, Calls: calls, Per: per}
}

func (s *Session) step(id string, st attemptStep) { s.running[id].steps <- st }

// stopAttempt ends an attempt. Its slot of the process is free at once, and that
// of its tool when nothing of it runs any more; a handler that ignores its
// context can't keep it for ever.
func (s *Session) stopAttempt(id string, cause error) {
	a := s.running[id]
	a.cancel(cause)
	slot := a.slot.Load()
	if slot == nil {
		return
	}
	slot.ReleaseShared()
	time.AfterFunc(slotGrace, slot.Release)
}

// attempt takes a call as far as the ledger lets it.
func (s *Session) attempt(ctx context.Context, a *attempt, ticket *slots.Ticket, q queue) (end returned) {
	end.id = q.call.ID
	ctx, cancel := context.WithDeadlineCause(ctx, q.call.Deadline, errDeadline)
	defer cancel()
	if !q.resume { // what an earlier process started was checked by it
		in, ok := s.check(ctx, q)
		if !ok {
			ticket.Leave()
			if end.err = context.Cause(ctx); end.err == nil {
				s.post(in)
			}
			return end
		}
	}
	slot, err := ticket.Wait(ctx)
	if err != nil {
		end.err = err
		return end
	}
	defer slot.Release()
	a.slot.Store(slot)
	s.post(admitted{q.call.ID})
	for {
		select {
		case <-ctx.Done():
			end.err = context.Cause(ctx)
			return end
		case st := <-a.steps:
			if st.entry == nil {
				end.result, end.err, end.panicked = s.callHandler(ctx, q)
				return end
			}
			s.startEntry(*st.entry)
		}
	}
}

// startEntry writes a start to the journal. An interrupt does not stop the write:
// the ledger takes it back when its outcome is known.
func (s *Session) startEntry(e journal.Entry) {
	ctx, cancel := s.journalContext()
	defer cancel()
	revision, err := s.cfg.Journal.Start(ctx, e)
	s.post(started{id: e.Call, revision: revision, err: err})
}

// check holds the call's input against its schema. A validator that panics is an
// answer like any other.
func (s *Session) check(ctx context.Context, q queue) (in rejected, ok bool) {
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Log.Error("the check of an input panicked", "tool", q.tool.Name, "call", q.call.ID,
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			in, ok = rejected{q.call.ID, panicText(q.tool.Name), Failed, ""}, false
		}
	}()
	err := q.tool.ValidateContext(ctx, q.call.Input)
	if err == nil {
		return s.admit(q)
	}
	text := fmt.Sprintf("Invalid input for tool %q: %s", q.tool.Name, err)
	var invalid *registry.InvalidError
	if errors.As(err, &invalid) {
		text = invalid.Text()
		if invalid.Panic != nil {
			s.cfg.Log.Error("the check of an input panicked", "tool", q.tool.Name, "call", q.call.ID,
				"panic", fmt.Sprint(invalid.Panic), "stack", string(invalid.Stack))
		}
	}
	return rejected{q.call.ID, text, Invalid, ""}, false
}

// admit answers a call at once whose tool could not be reached for long. One that
// has tried already goes on trying: it is how the tool is found to be back.
func (s *Session) admit(q queue) (rejected, bool) {
	if q.again {
		return rejected{}, true
	}
	if err := s.cfg.Circuits.Allow(q.tool.Name); err != nil {
		return rejected{q.call.ID, unavailableText(q.tool.Name, err), Unavailable, err.Error()}, false
	}
	return rejected{}, true
}

// noteReach tells the tool's circuit whether the handler was reached.
func (s *Session) noteReach(tool string, err error) {
	var unavailable *tools.UnavailableError
	switch {
	case errors.As(err, &unavailable):
		if s.cfg.Circuits.Failed(tool, err, unavailable.Passing) {
			s.cfg.Log.Warn("tool can't be reached: its calls are answered at once until it can", "tool", tool, "error", err)
		}
	case s.cfg.Circuits.Reached(tool):
		s.cfg.Log.Info("tool can be reached again", "tool", tool)
	}
}

// handle gives the handler the call, or what is left of it.
func handle(ctx context.Context, q queue) (tools.Result, error) {
	if !q.resume {
		return q.tool.Handler.Call(ctx, q.call)
	}
	r, ok := q.tool.Handler.(tools.Resumer)
	if !ok {
		return tools.Result{}, errors.New("its handler can't be asked for a call that it had before")
	}
	return r.Resume(ctx, q.call)
}

// callHandler runs the handler. A panic in it ends this call alone.
func (s *Session) callHandler(ctx context.Context, q queue) (r tools.Result, err error, panicked bool) {
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Log.Error("a handler panicked", "tool", q.tool.Name, "call", q.call.ID,
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			r, err, panicked = tools.Result{}, fmt.Errorf("panic: %v", p), true
		}
	}()
	if s.cfg.Log.Enabled(ctx, slog.LevelDebug) { // or the input is copied for nothing
		s.cfg.Log.Debug("input", "call", q.call.ID, "input", string(q.call.Input))
	}
	labels := pprof.Labels("session", s.cfg.Session, "tool", q.tool.Name)
	pprof.Do(ctx, labels, func(ctx context.Context) { r, err = handle(ctx, q) })
	if err != nil && ctx.Err() != nil {
		return r, context.Cause(ctx), false
	}
	s.noteReach(q.tool.Name, err)
	if err == nil && len(r.Content) == 0 {
		r.Content = content.Text("").Content // nothing at all would spoil its whole batch
	}
	return r, err, false
}

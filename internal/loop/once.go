package loop

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/circuit"
	"toolhand/internal/loop/slots"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
	"toolhand/internal/upstream"
)

// The ids of a call that no session made.
const (
	LocalSession = "sesn_local"
	LocalCall    = "sevt_local"
)

// CallOnce runs one call of a person's with limits of its own; see [Once.Call].
func CallOnce(ctx context.Context, set *registry.Set, tool string, input json.RawMessage) (Report, error) {
	once := Once{Lookup: set.Lookup, Slots: slots.New(0), Log: slog.New(slog.DiscardHandler)}
	return once.Call(ctx, tools.Call{ID: LocalCall, Tool: tool, Session: LocalSession, Input: input})
}

// Once runs single calls that no session of this process made. All fields but
// Circuits and Drain are required.
type Once struct {
	// Lookup finds a tool in the set in force.
	Lookup func(name string) (*registry.Tool, bool)
	// Slots and Circuits are shared with whatever else runs these tools.
	Slots    *slots.Slots
	Circuits *circuit.Circuits
	Log      *slog.Logger
	// Drain, once it is closed, ends calls that wait for another attempt, with a
	// [HandedOverError]. Nil: it never is.
	Drain <-chan struct{}
}

// HandedOverError says that the next attempt of a call is left to others.
type HandedOverError struct {
	// Err is what the last attempt came to: a [tools.UnavailableError], or another
	// error where the tool is idempotent.
	Err error
}

// Error implements error.
func (e *HandedOverError) Error() string { return e.Err.Error() }

// Unwrap gives what the last attempt came to.
func (e *HandedOverError) Unwrap() error { return e.Err }

// Call runs one call through the same ledger and the same goroutines as a
// session's calls, with a journal in memory and without any API, and returns
// what it came to. Its deadline is the call's or the tool's, whichever is first;
// zero in the call means the tool's. When ctx ends the tool is stopped, and the
// error is ctx's cause, or a [HandedOverError]. It may be called by many goroutines at once.
func (o Once) Call(ctx context.Context, call tools.Call) (Report, error) {
	reports := make(chan Report, 1)
	s := New(Config{
		Settings: Settings{Session: call.Session, Owner: "local", Eager: true, Lookup: o.Lookup, Latest: call.Deadline},
		Slots:    o.Slots, Circuits: o.Circuits, Journal: &journal.Memory{}, Log: o.Log,
		Report: func(r Report) { reports <- r },
	})
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	s.ctx, s.lasting = work, context.WithoutCancel(work)
	s.send = func(context.Context, []upstream.Answer) error { return nil }
	outs, wake := s.ledger.Step(time.Now(), received{upstream.Event{
		Type: upstream.TypeCall, ID: call.ID, Name: call.Tool, Thread: call.Thread, Input: call.Input, ProcessedAt: time.Now(),
	}})
	timer := time.NewTimer(0)
	defer timer.Stop()
	end := func(cause error) (Report, error) {
		outs, _ := s.ledger.Step(time.Now(), abandon{})
		s.perform(outs)
		s.finish(cancel, ReasonStopped)
		return Report{}, cause
	}
	drain, draining := o.Drain, false
	for {
		if why := s.ledger.waitsAgain(); why != nil && draining {
			return end(&HandedOverError{why})
		}
		s.perform(outs)
		timer.Reset(untilWake(wake))
		var in Input
		select {
		case r := <-reports:
			s.finish(cancel, ReasonDrained)
			return r, nil
		case in = <-s.inputs:
		case <-timer.C:
			in = tick{}
		case <-drain:
			in, drain, draining = tick{}, nil, true
		case <-ctx.Done():
			return end(context.Cause(ctx))
		}
		outs, wake = s.next(in)
	}
}

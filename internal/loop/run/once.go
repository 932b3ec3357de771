package run

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"toolhand/internal/loop/slots"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
)

// The ids of a call that no session made.
const (
	LocalSession = "sesn_local"
	LocalCall    = "sevt_local"
)

// JoinGrace is how long who stops a run waits for what of it goes on.
const JoinGrace = 3 * time.Second

// CallOnce runs one call of a person's with limits of its own; see [Once.Call].
func CallOnce(ctx context.Context, log *slog.Logger, set *registry.Set, tool string, input json.RawMessage) (Report, error) {
	once := Once{Runner: Runner{Slots: slots.New(0), Log: log}, Lookup: set.Lookup}
	return once.Call(ctx, tools.Call{ID: LocalCall, Tool: tool, Session: LocalSession, Input: input})
}

// Once runs single calls that no session of this process made. The journal of its
// Runner is not used.
type Once struct {
	Runner
	// Lookup finds a tool in the set in force.
	Lookup func(name string) (*registry.Tool, bool)
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

// Call runs one call and returns what it came to. Its deadline is the call's or the
// tool's, whichever is first; zero in the call means the tool's. When ctx ends the tool
// is stopped, and the error is ctx's cause, or a [HandedOverError]. It may be called by
// many goroutines at once.
func (o Once) Call(ctx context.Context, call tools.Call) (Report, error) {
	c := Call{Call: call, Received: time.Now()}
	o.Log = o.Log.With("session", call.Session)
	var known bool
	if c.Def, known = o.Lookup(call.Tool); !known {
		return o.report(c, End{Answer: AnswerUnknown(call.Tool)}), nil
	}
	c.Deadline = c.Received.Add(c.Def.Deadline)
	if !call.Deadline.IsZero() && call.Deadline.Before(c.Deadline) {
		c.Deadline = call.Deadline
	}
	end, err := o.end(ctx, c)
	if err != nil {
		return Report{}, err
	}
	return o.report(c, end), nil
}

// end runs the call to its end, and waits a little for what of it goes on.
func (o Once) end(ctx context.Context, c Call) (End, error) {
	ends := make(chan End, 2)
	r := o.Queue(context.WithoutCancel(ctx), c, func(e End) { ends <- e })
	go r.Do()
	drain := o.Drain
	for {
		select {
		case end := <-ends:
			if errors.Is(end.Err, tools.ErrLeft) {
				return end, &HandedOverError{end.Away}
			}
			if end.GoesOn {
				o.join(ends)
			}
			return end, nil
		case <-drain:
			r.HandOver()
			drain = nil
		case <-ctx.Done():
			r.Stop(tools.ErrLeft)
			o.join(ends)
			return End{}, context.Cause(ctx)
		}
	}
}

// join waits until nothing of a run goes on.
func (o Once) join(ends <-chan End) {
	bound := time.After(JoinGrace)
	for goesOn := true; goesOn; {
		select {
		case end := <-ends:
			goesOn = end.GoesOn
		case <-bound:
			o.Log.Error("a handler ignores that it was told to stop; left behind")
			return
		}
	}
}

func (o Once) report(c Call, end End) Report {
	r := Report{
		Session: c.Session, ID: c.ID, Tool: c.Tool, Thread: c.Thread, Received: c.Received,
		Duration: time.Since(c.Received), Phases: end.Phases,
	}
	r.Take(end.Answer)
	return r
}

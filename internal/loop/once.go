package loop

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"toolhand/internal/loop/slots"
	"toolhand/internal/registry"
	"toolhand/internal/upstream"
)

// The ids of a call that no session made.
const (
	LocalSession = "sesn_local"
	LocalCall    = "sevt_local"
)

// CallOnce runs one call through the same ledger and the same goroutines as a
// session's calls, with a journal in memory and without any API, and returns
// what it came to. Its error is ctx's cause.
func CallOnce(ctx context.Context, set *registry.Set, tool string, input json.RawMessage) (Report, error) {
	reports := make(chan Report, 1)
	s := New(Config{
		Settings: Settings{Session: LocalSession, Owner: "local", Eager: true, Lookup: set.Lookup},
		Slots:    slots.New(0), Journal: &Memory{}, Log: slog.New(slog.DiscardHandler),
		Report: func(r Report) { reports <- r },
	})
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	s.ctx = work
	s.send = func(context.Context, []upstream.Answer) error { return nil }
	outs, wake := s.ledger.Step(time.Now(), received{upstream.Event{
		Type: upstream.TypeCall, ID: LocalCall, Name: tool, Input: input, ProcessedAt: time.Now(),
	}})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
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
		case <-ctx.Done():
			outs, _ = s.ledger.Step(time.Now(), abandon{})
			s.perform(outs)
			s.finish(cancel, ReasonStopped)
			return Report{}, context.Cause(ctx)
		}
		outs, wake = s.next(in)
	}
}

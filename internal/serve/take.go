package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/micro"

	"toolhand/internal/loop/run"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	"toolhand/internal/tools/natswire"
)

const (
	// localCall is the id of a call whose asker gave it none.
	localCall = "sevt_unnamed"
	// unknownDeadline bounds a call whose tool is not known.
	unknownDeadline = 120 * time.Second
	// maxLeft bounds what a sender may say that a call has left.
	maxLeft = 365 * 24 * time.Hour
)

// take takes one request in. The call runs beside: the subscription's goroutine
// goes on to the next one.
func (s *Server) take(req micro.Request) {
	call, err := s.parse(req)
	if err != nil {
		s.respond(req, call, unavailable(call.Tool, err))
		return
	}
	ctx, end, ok := s.begin(call)
	if !ok {
		s.respond(req, call, unavailable(call.Tool, errors.New("the worker that serves it takes no more calls")))
		return
	}
	go func() {
		defer end()
		report, err := s.run(ctx, call)
		if errors.Is(err, errCalledOff) {
			return
		}
		s.respond(req, call, replyOf(report, err))
	}()
}

// parse reads the call from the request. The tool is the one of the subject,
// whatever the headers say.
func (s *Server) parse(req micro.Request) (call tools.Call, err error) {
	return s.parseCall(req.Headers().Get, strings.TrimPrefix(req.Subject(), natswire.ToolSubjects), req.Data(), 0)
}

// parseCall reads a call of tool from what came about it in headers. It was on its way
// for so long; below zero: nobody knows.
func (s *Server) parseCall(header func(string) string, tool string, data []byte, underWay time.Duration) (call tools.Call, err error) {
	call = tools.Call{
		ID: header("Tool-Use-Id"), Tool: tool,
		Session: header("Session-Id"), Thread: header("Session-Thread-Id"), Input: json.RawMessage(data),
	}
	if call.ID == "" {
		call.ID = localCall
	}
	if len(call.Input) == 0 {
		call.Input = json.RawMessage("{}")
	}
	call.Deadline, err = deadline(header, underWay)
	// Whatever the sender's clock shows, nothing here waits longer than the tool may.
	limit := time.Now().Add(unknownDeadline)
	if t, ok := s.cfg.Once.Lookup(tool); ok {
		limit = time.Now().Add(t.Deadline)
	}
	if call.Deadline.IsZero() || limit.Before(call.Deadline) {
		call.Deadline = limit
	}
	return call, err
}

// deadline is when a call's time is over by this machine's clock: from what it had
// left, where the sender says that, else what Tool-Deadline says by the sender's clock.
// Zero: no header says anything.
func deadline(header func(string) string, underWay time.Duration) (at time.Time, err error) {
	if text := header("Tool-Deadline"); text != "" {
		if at, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return time.Time{}, fmt.Errorf("the header Tool-Deadline is no time in RFC 3339: %q", text)
		}
	}
	text := header(natswire.TimeLeftHeader)
	if text == "" || underWay < 0 {
		return at, nil
	}
	left, err := strconv.ParseInt(text, 10, 64)
	if err != nil || left > maxLeft.Milliseconds() || left < -maxLeft.Milliseconds() {
		return time.Time{}, fmt.Errorf("the header %s is no number of milliseconds: %q", natswire.TimeLeftHeader, text)
	}
	return time.Now().Add(time.Duration(left)*time.Millisecond - underWay), nil
}

// run runs a call to its end. Its report has a result, whatever happens.
func (s *Server) run(ctx context.Context, call tools.Call) (run.Report, error) {
	received := time.Now()
	report, err := s.cfg.Once.Call(ctx, call)
	if err != nil {
		report = run.Report{Session: call.Session, ID: call.ID, Tool: call.Tool, Thread: call.Thread, Outcome: run.Interrupted,
			Received: received, Duration: time.Since(received), Cause: err.Error()}
		var not *tools.UnavailableError
		switch {
		case errors.Is(err, errCalledOff):
		case handedOver(err) && errors.As(err, &not):
			report.Take(run.AnswerUnavailable(call.Tool, err))
		default:
			report.Take(run.AnswerLost(call.Tool, err))
		}
	}
	report.Log(s.cfg.Log.With("session", call.Session), "call served")
	if s.cfg.Report != nil {
		s.cfg.Report(report)
	}
	return report, err
}

// handedOver reports whether the next attempt is left to who asked: it is due while this
// worker drains.
func handedOver(err error) bool {
	var over *run.HandedOverError
	return errors.As(err, &over)
}

func unavailable(tool string, why error) natswire.Reply {
	a := run.AnswerUnavailable(tool, why)
	return natswire.Reply{Result: a.Result, Outcome: natswire.OutcomeUnavailable, Reason: a.Reason}
}

// replyOf is what a call that was run came to; err is of the run.
func replyOf(report run.Report, err error) natswire.Reply {
	return natswire.Reply{Result: report.Result, Outcome: string(report.Outcome), Reason: report.Reason, Passing: handedOver(err)}
}

// fitting is a reply that NATS takes: a result that is too large is replaced by an
// error that says so, for nobody must wait for it in vain.
func (s *Server) fitting(call tools.Call, r natswire.Reply) natswire.Reply {
	if size, limit := len(r.Result.Content)+2048, s.cfg.Conn.MaxPayload(); int64(size) > limit {
		r.Result = content.Error(fmt.Sprintf("Tool %q ran, but its result of %d bytes is larger than the %d bytes that the NATS server takes", call.Tool, len(r.Result.Content), limit))
	}
	return r
}

func (s *Server) respond(req micro.Request, call tools.Call, r natswire.Reply) {
	r = s.fitting(call, r)
	if err := req.Respond(r.Data(), micro.WithHeaders(micro.Headers(r.Header()))); err != nil {
		s.cfg.Log.Error("a result can't be sent back: who asked will take its outcome as unknown", "tool", call.Tool, "call", call.ID, "error", err)
	}
}

// Tools are the names of the tools that are offered, in order.
func (s *Server) Tools() []string {
	all, _ := s.offers()
	var names []string
	for _, t := range all {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return names
}

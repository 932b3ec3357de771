package loop

import (
	"strings"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/upstream"
)

// maxForeign bounds the ids of other tools' calls that are remembered.
const maxForeign = 10_000

// event takes in one event of the stream.
func (l *ledger) event(e upstream.Event) {
	if e.Type == upstream.TypeCall {
		l.newCall(e)
		return
	}
	l.fact(e)
	l.status(e)
	switch e.Type {
	case upstream.TypeUndecodable:
		// It may have been a call: the history has it.
		l.emit(notice{text: "an event of the stream could not be read; looking at the history"})
		l.wantRead(false)
	case upstream.TypeIdle, upstream.TypeThreadIdle:
		l.missing(e)
	}
}

// newCall takes in a call that came live: it runs at once.
func (l *ledger) newCall(e upstream.Event) {
	l.turn.live, l.turn.ended = true, false
	l.threads.child(e.Thread)
	if l.done.has(e.ID) {
		l.done.add(e.ID) // it may come yet again
		return
	}
	if c := l.byID[e.ID]; c != nil {
		l.complete(c, e)
		return
	}
	if l.draining {
		return
	}
	l.takeCall(e, false)
}

// takeCall takes a call in unless it is dead already.
func (l *ledger) takeCall(e upstream.Event, doubted bool) {
	if l.isKept(e.ID) {
		return
	}
	if l.threads.interrupted(e.Thread, e.ProcessedAt) || l.threads.gone(e.Thread) {
		l.done.add(e.ID)
		l.emit(dropped{run.Report{ID: e.ID, Tool: e.Name, Thread: e.Thread, Outcome: run.Interrupted, Received: l.now, Cause: errInterrupted.Error()}})
		return
	}
	permission := l.permission(e)
	if permission == upstream.PermissionDeny {
		l.done.add(e.ID)
		l.emit(dropped{run.Report{ID: e.ID, Tool: e.Name, Thread: e.Thread, Outcome: run.Denied, Received: l.now, Cause: errDenied.Error()}})
		return
	}
	l.receive(e, permission, doubted)
}

// complete adds to a recovered call what only its event says.
func (l *ledger) complete(c *call, e upstream.Event) {
	if c != nil && c.processedAt.IsZero() {
		c.processedAt, c.thread = e.ProcessedAt, e.Thread
		l.recheckCall(c)
	}
}

// fact takes in what is so whenever it is told: on the stream, in the history,
// twice, and in any order.
func (l *ledger) fact(e upstream.Event) {
	switch e.Type {
	case upstream.TypeResult:
		l.answeredBy(e.CallID)
	case upstream.TypeInterrupt:
		if e.ProcessedAt.IsZero() {
			return // still queued: it invalidates nothing yet
		}
		l.threads.interrupt(e.Thread, e.ProcessedAt)
		l.disambiguate(e.Thread)
		l.recheck()
	case upstream.TypeConfirmation:
		l.confirm(e)
	case upstream.TypeThreadCreated:
		l.threads.child(e.Thread)
	case upstream.TypeThreadTerminated:
		l.threads.dead[e.Thread] = struct{}{}
		l.disambiguate(e.Thread)
		l.recheck()
	case upstream.TypeIdle, upstream.TypeThreadIdle:
		l.name(e)
	case upstream.TypeTerminated, upstream.TypeDeleted:
		l.finishSession(ReasonOver, strings.TrimPrefix(strings.TrimPrefix(e.Type, "session."), "status_"))
	case upstream.TypeToolUse, upstream.TypeMCPToolUse:
		if len(l.turn.foreign) < maxForeign {
			l.turn.foreign[e.ID] = struct{}{}
		}
	}
}

// name notes which calls an idle session or thread waits for.
func (l *ledger) name(e upstream.Event) {
	if e.StopReason != upstream.StopRequiresAction {
		return
	}
	for _, id := range e.EventIDs {
		c := l.byID[id]
		if c == nil {
			continue
		}
		c.named = true
		if e.Type == upstream.TypeThreadIdle && c.thread == "" && l.threads.primary == "" {
			l.threads.found(e.Thread)
			l.recheck()
		}
	}
}

// status takes in what a live event says of the session's turn.
func (l *ledger) status(e upstream.Event) {
	switch e.Type {
	case upstream.TypeIdle:
		l.turn.live = true
		l.setEnded(e.StopReason != upstream.StopRequiresAction, e.ProcessedAt)
		if !l.turn.ended {
			return
		}
		l.turn.end, l.turn.failure = turnEnd(e, l.turn.failure), ""
		if l.turn.end != "end_turn" {
			l.emit(notice{text: "the turn has ended early", args: []any{"reason", l.turn.end}, warn: true})
		}
	case upstream.TypeRunning, upstream.TypeRescheduled, upstream.TypeMessage, upstream.TypeUserMessage,
		upstream.TypeToolUse, upstream.TypeMCPToolUse:
		l.turn.live = true
		l.setEnded(false, e.ProcessedAt)
	}
	if e.Type == upstream.TypeSessionError {
		l.turn.failure = e.ErrorType
		l.emit(notice{text: "the session reports an error", args: []any{"type", e.ErrorType, "message", e.Message}})
	}
}

// turnEnd is why a turn has ended. Where the session gave up, the type of the error
// that it reported in the turn says more than its stop reason, which is the same
// for all.
func turnEnd(idle upstream.Event, failure string) string {
	if idle.StopReason == "retries_exhausted" && failure != "" {
		return failure
	}
	return idle.StopReason
}

// setEnded notes whether the turn has ended, at a time of the API's (zero: not known).
// What only concerned it is forgotten a turn later.
func (l *ledger) setEnded(is bool, at time.Time) {
	if is && !l.turn.ended {
		l.turn.since = l.now
		clear(l.turn.foreign)
		clear(l.turn.asked)
		l.forgetHeld(at)
		if !l.reading.busy {
			l.done.rotate()
			l.verdicts.rotate()
		}
		// What is still open, or not understood yet, may be dead by what is
		// known of its thread.
		if !l.reading.busy && !l.threads.finding && l.owed() == 0 {
			l.threads.rotate()
		}
	}
	if l.turn.ended = is; !is {
		l.turn.end = ""
	}
}

// missing asks the history for calls that an idle event names and the stream did
// not give: once for each, and not while a read is under way.
func (l *ledger) missing(e upstream.Event) {
	if l.reading.busy || e.StopReason != upstream.StopRequiresAction {
		return
	}
	ask := false
	for _, id := range e.EventIDs {
		_, foreign := l.turn.foreign[id]
		_, asked := l.turn.asked[id]
		if l.byID[id] == nil && !l.done.has(id) && !foreign && !asked {
			l.turn.asked[id] = struct{}{}
			ask = true
		}
	}
	if ask {
		l.wantRead(false)
	}
}

// answeredBy takes in that a call has a result: ours, where one was sent and its
// fate is open, else another client's.
func (l *ledger) answeredBy(id string) {
	c := l.byID[id]
	switch {
	case c == nil:
		if id != "" {
			l.done.add(id)
		}
	case c.state == ended:
	case c.state == finished && (c.mayBeOurs || l.sending.has(c)):
		l.accept(c)
	default:
		l.drop(c, run.Elsewhere, errElsewhere)
	}
}

// recheck ends the calls that are interrupted, or whose thread is gone.
func (l *ledger) recheck() {
	for _, c := range l.calls {
		l.recheckCall(c)
	}
}

func (l *ledger) recheckCall(c *call) {
	if c.state != ended && (l.threads.interrupted(c.thread, c.processedAt) || l.threads.gone(c.thread)) {
		l.drop(c, run.Interrupted, errInterrupted)
	}
}

// disambiguate asks for the primary thread's id where something depends on it.
func (l *ledger) disambiguate(thread string) {
	if l.threads.ambiguous(thread) && !l.threads.finding {
		l.threads.finding = true
		l.emit(findPrimary{})
	}
}

package loop

import (
	"errors"
	"math"
	"time"

	"github.com/cenkalti/backoff/v4"

	"toolhand/internal/journal"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	"toolhand/internal/upstream"
)

const (
	// journalRetry is how long the ledger waits before it asks the journal
	// again for what failed.
	journalRetry = 500 * time.Millisecond
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
	// resumeGrace is how long a recovered call whose deadline has passed may
	// still look for its result.
	resumeGrace = 2 * time.Second
)

func errorResult(text string) tools.Result { return content.Error(text) }

func (l *ledger) toolCall(c *call) tools.Call {
	return tools.Call{ID: c.id, Tool: c.name, Session: l.set.Session, Thread: c.thread, Input: c.input, Deadline: c.deadline}
}

// receive takes in a call that is new to the ledger.
func (l *ledger) receive(e upstream.Event, permission string, doubted bool) {
	c := &call{
		id: e.ID, name: e.Name, thread: e.Thread, input: e.Input,
		processedAt: e.ProcessedAt, received: l.now, permission: permission, doubted: doubted,
	}
	l.byID[c.id] = c
	l.calls = append(l.calls, c)
	l.assign(c)
}

// assign gives a call the tool that is in force for it now.
func (l *ledger) assign(c *call) {
	c.tool, _ = l.set.Lookup(c.name)
	switch {
	case c.tool == nil && l.set.IgnoreUnknown:
		if c.state != ignored {
			l.emit(notice{text: "call of an unknown tool left to its owner", args: []any{"tool", c.name, "call", c.id}})
		}
		c.state = ignored
	case c.permission != upstream.PermissionAllow:
		l.hold(c)
	default:
		l.begin(c)
	}
}

// begin lets a call that needs no permission, or has it, go its way from now on.
func (l *ledger) begin(c *call) {
	if c.tool == nil {
		c.deadline = l.now.Add(unknownDeadline)
		l.concludeError(c, unknownToolText(c.name), UnknownTool)
		return
	}
	c.state, c.deadline = pending, l.now.Add(c.tool.Deadline)
	if latest := l.set.Latest; !latest.IsZero() && latest.Before(c.deadline) {
		c.deadline = latest
	}
	if c.doubted && !c.tool.Idempotent {
		l.concludeError(c, restartText(c.name), UnknownOutcome)
	}
}

// reload asks about the calls whose ignored names are known now: they may have
// been answered by their owner where the stream did not show it.
func (l *ledger) reload() {
	for _, c := range l.calls {
		if _, ok := l.set.Lookup(c.name); ok && c.state == ignored && !l.draining {
			c.lookSeq = l.wantRead(false)
		}
	}
}

// look looks at ignored names again, after a read; their calls count as received
// now. Calls of others that lie behind an ended turn are nobody's any more.
func (l *ledger) look(in history) {
	seen := map[string]bool{}
	for _, e := range in.events {
		seen[e.ID] = true
	}
	for _, c := range l.calls {
		switch {
		case c.state == held && c.behind:
			l.drop(c, Over, errOver) // its turn has ended: nobody waits for it
		case c.state != ignored && c.state != foreign:
		case !seen[c.id] && !in.complete || c.behind:
			l.close(c)
		case c.state == ignored && c.lookSeq != 0 && c.lookSeq <= in.seq && !l.draining:
			c.received, c.lookSeq = l.now, 0
			l.assign(c)
		}
	}
}

// recover takes in the journal's entries. They are answered from what they
// hold, and not before the history has said what became of them.
func (l *ledger) recover(entries []journal.Entry) {
	l.turn.recovered = true
	for _, e := range entries {
		if l.byID[e.Call] != nil {
			continue
		}
		if e.Quarantined != "" {
			l.keep(e.Call, e.Tool, len(e.Content)+e.Withheld)
			continue
		}
		c := &call{
			id: e.Call, name: e.Tool, thread: e.Thread, received: e.Received, deadline: e.Deadline,
			revision: e.Revision, inJournal: true, unsettled: true, doubt: true,
		}
		if c.received.IsZero() || c.received.After(l.now) {
			c.received = l.now
		}
		// The entry's times are by the clock of whoever wrote it: they may lie
		// anywhere, and none of them bounds a wait alone.
		limit := l.now.Add(unknownDeadline)
		if c.tool, _ = l.set.Lookup(e.Tool); c.tool != nil {
			limit = l.now.Add(c.tool.Deadline)
		}
		c.deadline = earlier(c.deadline, limit)
		l.byID[c.id] = c
		l.calls = append(l.calls, c)
		switch {
		case e.Finished:
			c.state, c.outcome, c.finishedAt = finished, Outcome(e.Outcome), l.now
			c.result = tools.Result{Content: e.Content, IsError: e.IsError}
			c.finish.done = true
		case c.resumable():
			c.resume, c.start.done = true, true
			c.deadline = earlier(later(c.deadline, l.now.Add(resumeGrace)), limit)
		default:
			// Its result may have been accepted before it could be written.
			l.concludeError(c, restartText(c.name), UnknownOutcome)
			c.unlooked = true
		}
		c.settleSeq = l.wantRead(false)
	}
}

// admit lets a call that has its slot go on, unless it ended meanwhile.
func (l *ledger) admit(id string) {
	c := l.byID[id]
	if c == nil || c.state != pending {
		return // its goroutine was stopped already
	}
	c.ready = true
	if l.draining {
		l.takeBack(c, errDrained)
	}
}

// started takes in the outcome of the journal's Start.
func (l *ledger) started(in started) {
	c := l.byID[in.id]
	if c == nil {
		return
	}
	c.start.finish(l.now, in.err, journalRetry)
	if in.err == nil {
		c.revision = in.revision
	}
	switch {
	case errors.Is(in.err, journal.ErrOwned):
		c.inJournal = false // it is somebody else's entry
		if c.state == pending {
			c.state = foreign
			l.emit(stop{c.id, errElsewhere})
			l.emit(notice{text: "call was started by another worker; left to it", args: []any{"tool", c.name, "call", c.id}})
		}
	case c.state == pending && l.draining:
		l.takeBack(c, errDrained)
	}
}

// returned takes in the end of a call's goroutine.
func (l *ledger) returned(in returned) {
	c := l.byID[in.id]
	if c == nil {
		return
	}
	c.alive, c.ready = false, false
	if c.start.inFlight {
		c.start = op{} // it was told to stop before it came to that
	}
	if c.state == running {
		c.ran += l.now.Sub(c.ranSince)
		l.outcome(c, in)
		return
	}
	if !c.ranSince.IsZero() && c.outcome == Deadline {
		l.emit(late{id: c.id, tool: c.name, after: l.now.Sub(c.received), err: in.err})
	}
	if c.state == pending && in.panicked {
		l.concludeError(c, panicText(c.name), Failed)
	}
}

// outcome decides the result of a call from what its handler gave.
func (l *ledger) outcome(c *call, in returned) {
	var unavailable *tools.UnavailableError
	switch {
	case in.panicked:
		l.concludeError(c, panicText(c.name), Failed)
	case in.err == nil:
		l.conclude(c, in.result, outcomeOf(in.result))
	case errors.Is(in.err, errDeadline):
		l.expire(c)
	case errors.Is(in.err, errDrained):
		// Stopped at the end of the grace: never an answer.
	case c.resume && errors.As(in.err, &unavailable):
		// Its result may be there, and can't be seen for now.
		c.state, c.queueAt = pending, l.now.Add(maxPassingWait)
	case errors.As(in.err, &unavailable):
		l.again(c, in.err, unavailable.Passing, 1)
	case !c.idempotent():
		l.concludeWhy(c, lostText(c.name, in.err), UnknownOutcome, in.err)
	default:
		l.again(c, in.err, false, maxAttempts)
	}
}

// again lets a call run again that surely did not run, or may run twice: as often
// as its manifest says, else as attempts says, or until its deadline where its
// handler is away for a moment. It holds no slot while it waits.
func (l *ledger) again(c *call, why error, passing bool, attempts int) {
	wait, ceiling := rerunWait, maxRerunWait
	if passing {
		wait, ceiling, attempts = passingWait, maxPassingWait, math.MaxInt
	}
	if c.tool.Retry.Attempts > 0 {
		attempts = c.tool.Retry.Attempts
	}
	if c.tool.Retry.Backoff > 0 {
		wait = c.tool.Retry.Backoff
	}
	if c.waits == nil {
		c.waits = backoff.NewExponentialBackOff(backoff.WithInitialInterval(wait), backoff.WithMultiplier(2),
			backoff.WithMaxInterval(max(wait, ceiling)), backoff.WithRandomizationFactor(0), backoff.WithMaxElapsedTime(0))
	}
	at := l.now.Add(l.set.Jitter(c.waits.NextBackOff()))
	if c.attempts >= attempts || !at.Before(c.deadline) {
		l.concludeWhy(c, unavailableText(c.name, why), Unavailable, why)
		return
	}
	c.state, c.queueAt, c.away = pending, at, why
	if l.draining {
		l.unstart(c) // the next worker makes the next attempt
	}
}

// waitsAgain gives why a call waits for another attempt; nil: none does.
func (l *ledger) waitsAgain() error {
	for _, c := range l.calls {
		if c.state == pending && c.away != nil {
			return c.away
		}
	}
	return nil
}

// expire answers for a call whose deadline has passed, and stops what runs.
func (l *ledger) expire(c *call) {
	text, outcome := "", Deadline
	switch {
	case c.tool == nil:
		text = unknownToolText(c.name)
	case c.start.err != nil && !c.start.done:
		text = unjournalledText(c.tool, c.start.err)
	case c.start.inFlight:
		text = unjournalledText(c.tool, errSilent)
	case c.away != nil && c.state == pending:
		text, outcome = unavailableText(c.name, c.away), Unavailable
	default:
		text = deadlineText(c.tool)
	}
	if c.state == running {
		c.ran += l.now.Sub(c.ranSince)
	}
	l.concludeError(c, text, outcome)
	if outcome == Unavailable {
		c.reason = c.away.Error()
	}
	if c.alive {
		l.emit(stop{c.id, errDeadline})
	}
}

// concludeError makes an answer of the worker's own stand.
func (l *ledger) concludeError(c *call, text string, o Outcome) {
	l.conclude(c, errorResult(text), o)
	c.own = true
}

// concludeWhy is concludeError with a text that ends with a reason.
func (l *ledger) concludeWhy(c *call, text string, o Outcome, why error) {
	l.concludeError(c, text, o)
	c.reason = why.Error()
}

// conclude makes a result stand. No later one will take its place.
func (l *ledger) conclude(c *call, r tools.Result, o Outcome) {
	c.state, c.result, c.outcome, c.finishedAt, c.own, c.reason = finished, r, o, l.now, false, ""
	c.queueAt, c.input = time.Time{}, nil
	// A write of an older result that is under way ends first.
	c.rewrite = c.finish.inFlight
	c.finish = op{inFlight: c.finish.inFlight}
}

// wrote takes in the outcome of the journal's Finish.
func (l *ledger) wrote(in finishDone) {
	c := l.byID[in.id]
	if c == nil {
		return
	}
	c.finish.finish(l.now, in.err, journalRetry)
	if c.rewrite {
		c.rewrite, c.finish = false, op{}
	}
	if in.err == nil {
		c.revision = in.revision
	}
	var large *journal.TooLargeError
	switch {
	case errors.As(in.err, &large) && c.setAside != "" && len(c.original.Content) > large.Limit:
		c.original, _ = fitting(c, c.original, large) // the words of the refusal need room too
	case errors.As(in.err, &large) && c.state == finished && !c.replaced:
		c.replaced, c.instead = true, false
		own, outcome := c.own, c.outcome
		fits, cut := fitting(c, c.result, large)
		if !cut {
			own, outcome = true, Failed
		}
		l.conclude(c, fits, outcome)
		c.own = own
		c.original = c.result // the whole one fits nowhere
	case errors.Is(in.err, journal.ErrOwned):
		// Another worker took the call over: its answer counts.
		c.inJournal, c.setAside = false, ""
		if c.state == finished {
			c.state = foreign
			l.emit(notice{text: "call was taken over by another worker; left to it", args: []any{"tool", c.name, "call", c.id}})
		}
	}
}

// fitting is what the journal takes of a result: its text cut, or, where that can't be,
// an error in its place.
func fitting(c *call, r tools.Result, large *journal.TooLargeError) (_ tools.Result, cut bool) {
	if r, ok := content.Shorten(r, large.Limit); ok {
		return r, true
	}
	return errorResult(tooLargeText(c.name, large)), false
}

// accept ends a call because the API has its result.
func (l *ledger) accept(c *call) {
	l.emit(answered{c.report(l.now, c.outcome)})
	l.close(c)
}

// drop ends a call that will not be answered by us.
func (l *ledger) drop(c *call, o Outcome, cause error) {
	if c.state.waits() {
		r := c.report(l.now, o)
		r.Cause = cause.Error()
		l.emit(dropped{r})
	}
	if c.alive {
		l.emit(stop{c.id, cause})
	}
	l.close(c)
}

func (l *ledger) close(c *call) {
	c.state, c.input, c.unsettled = ended, nil, false
	c.queueAt = time.Time{}
	l.done.add(c.id)
}

package loop

import (
	"errors"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/run"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	"toolhand/internal/upstream"
)

const (
	// journalRetry is how long the ledger waits before it asks the journal
	// again for what failed.
	journalRetry = 500 * time.Millisecond
	// resumeGrace is how long a recovered call whose deadline has passed may
	// still look for its result.
	resumeGrace = 2 * time.Second
)

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
		l.conclude(c, run.AnswerUnknown(c.name))
		return
	}
	c.state, c.deadline = pending, l.now.Add(c.tool.Deadline)
	if c.doubted && !c.tool.Idempotent {
		l.conclude(c, run.AnswerRestarted(c.name))
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
			l.drop(c, run.Over, errOver) // its turn has ended: nobody waits for it
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
			revision: e.Revision, inJournal: true, unsettled: true, mayBeOurs: true,
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
			c.state, c.finishedAt = finished, l.now
			c.answer = run.Answer{Result: tools.Result{Content: e.Content, IsError: e.IsError}, Outcome: run.Outcome(e.Outcome)}
			c.finish.done = true
		case c.resumable():
			c.resume = true
			c.deadline = earlier(later(c.deadline, l.now.Add(resumeGrace)), limit)
		default:
			// Its result may have been accepted before it could be written.
			l.conclude(c, run.AnswerRestarted(c.name))
			c.unlooked = true
		}
		c.settleSeq = l.wantRead(false)
	}
}

// ran takes in what a call's run came to. Where it goes on, at the call's deadline, its
// end comes too.
func (l *ledger) ran(id string, end run.End) {
	c := l.byID[id]
	if c == nil {
		return
	}
	if end.Started && (c.state == running || c.starting) {
		c.revision = end.Revision
	}
	if end.MayStand {
		c.inJournal = true
	} else if errors.Is(end.Err, journal.ErrOwned) {
		c.inJournal = false // it is somebody else's entry
	}
	c.alive, c.phases = end.GoesOn, end.Phases
	c.starting = end.GoesOn && end.MayStand && !end.Started
	switch {
	case c.state != running:
		if end.Handled && c.answer.Outcome == run.Deadline {
			l.emit(late{id: c.id, tool: c.name, after: l.now.Sub(c.received), err: end.Err})
		}
	case end.Outcome != "":
		l.conclude(c, end.Answer)
	case errors.Is(end.Err, journal.ErrOwned):
		c.state = foreign
		l.emit(notice{text: "call was started by another worker; left to it", args: []any{"tool", c.name, "call", c.id}})
	case end.MayRunAgain() || c.resume:
		if !l.now.Before(c.deadline) {
			l.conclude(c, end.Late)
			return
		}
		c.state, c.late = pending, end.Late // the next worker makes the next attempt
		l.unstart(c, end.Started)
	case !end.GoesOn:
		l.conclude(c, run.AnswerLost(c.name, end.Err)) // nothing else will answer it
	}
}

// conclude makes an answer stand. No later one will take its place.
func (l *ledger) conclude(c *call, a run.Answer) {
	c.state, c.answer, c.finishedAt, c.input = finished, a, l.now, nil
	// A write of an older result that is under way ends first.
	c.rewrite = c.finish.inFlight
	c.finish = journalWrite{inFlight: c.finish.inFlight}
}

// wrote takes in the outcome of the journal's Finish.
func (l *ledger) wrote(in finishDone) {
	c := l.byID[in.id]
	if c == nil {
		return
	}
	c.finish.finish(l.now, in.err, journalRetry)
	if c.rewrite {
		c.rewrite, c.finish = false, journalWrite{}
	}
	if in.err == nil {
		c.revision = in.revision
	}
	var large *journal.TooLargeError
	switch {
	case errors.As(in.err, &large) && c.setAside != "" && len(c.original.Result.Content) > large.Limit:
		c.original = fitting(c.name, c.original, large) // the words of the refusal need room too
	case errors.As(in.err, &large) && c.state == finished && !c.replaced:
		c.replaced, c.standIn = true, asGiven
		l.conclude(c, fitting(c.name, c.answer, large))
		c.original = c.answer // the whole one fits nowhere
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
func fitting(name string, a run.Answer, large *journal.TooLargeError) run.Answer {
	r, ok := content.Shorten(a.Result, large.Limit)
	if !ok {
		return tooLarge(name, large)
	}
	a.Result = r
	return a
}

// accept ends a call because the API has its result.
func (l *ledger) accept(c *call) {
	l.emit(answered{c.report(l.now, c.answer.Outcome)})
	l.close(c)
}

// drop ends a call that will not be answered by us.
func (l *ledger) drop(c *call, o run.Outcome, cause error) {
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
	l.done.add(c.id)
}

package loop

import (
	"slices"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
)

// Settings are what a ledger goes by. The zero value of a field means what its
// comment says.
type Settings struct {
	Session string
	// Owner names this worker's hold on the session in the journal.
	Owner string
	// Lookup finds a tool in the set in force.
	Lookup func(name string) (*registry.Tool, bool)
	// IgnoreUnknown leaves calls of unknown tools to other clients.
	IgnoreUnknown bool
	// Eager sends each result as it is done.
	Eager bool
	// Linger is how long a thread's results wait for its idle event.
	Linger time.Duration
	// Reconcile is how often the history is looked at; 0: never.
	Reconcile time.Duration
	// MaxIdle ends the session's service this long after its turn has ended;
	// 0: never.
	MaxIdle time.Duration
	// Doubt says that the journal was damaged, and may have lost that a call was
	// started: one that the first read of the history finds, without an entry, is
	// not run where its tool is not idempotent. One that comes live is: it did not
	// exist before. This machine's clock has no say in it.
	Doubt bool
	// DoubtUntil is a time after the damage by the API's clock: a call that the API has
	// processed later is not doubted. Zero: none is known.
	DoubtUntil time.Time
	// Jitter spreads a wait; nil leaves it as it is.
	Jitter func(time.Duration) time.Duration
}

// unknownDeadline is the deadline of a call whose tool is not known: it is
// answered at once, and its entry says so until when.
const unknownDeadline = 120 * time.Second

// ledger holds the calls of one session. It has no clock: [ledger.Step] is given
// the time. One goroutine owns it.
type ledger struct {
	set Settings // immutable

	now  time.Time
	outs []Output

	calls []*call          // in the order of their receipt, ended ones until they are quiet
	byID  map[string]*call // the same
	done  idSet            // calls that must not be taken in again

	verdicts verdicts

	turn     turn
	threads  threads
	reading  reading
	sending  sending
	forgets  []string     // entries to be dropped with the next forget
	forgetAt time.Time    // when that is
	vain     int          // forgets that failed, one after the other
	dropping int          // forgets under way
	kept     []KeptStatus // results that the API refuses for good: the journal has their contents

	draining bool
	over     bool   // end was given out; nothing more will be
	why      string // the session is over, where it is
	gone     bool   // and it was because the session is over
}

// turn is what is known of the session's status.
type turn struct {
	ended     bool   // idle, and not because it waits for us
	end       string // why it ended, where that is known
	failure   string // the type of the last session.error in it
	since     time.Time
	live      bool                // a status came on the stream since it was opened
	foreign   map[string]struct{} // ids of calls that are not custom tools'
	asked     map[string]struct{} // unknown ids that the history was asked about
	attached  bool
	recovered bool
}

func newLedger(set Settings) *ledger {
	l := &ledger{set: set, byID: map[string]*call{}, done: newIDSet()}
	l.turn.foreign, l.turn.asked = map[string]struct{}{}, map[string]struct{}{}
	l.threads.reset()
	l.verdicts.reset()
	if l.set.Jitter == nil {
		l.set.Jitter = func(d time.Duration) time.Duration { return d }
	}
	return l
}

// Step takes in what has happened and returns what to do now, in order, and when
// to call again with a tick (zero: not before something happens). The outputs
// are valid until the next call.
func (l *ledger) Step(now time.Time, in Input) ([]Output, time.Time) {
	clear(l.outs) // or the results in them are held until something takes their places
	l.now, l.outs = now, l.outs[:0]
	if l.over {
		l.afterEnd(in)
		return l.outs, time.Time{}
	}
	l.take(in)
	if !l.over {
		l.settle()
	}
	return l.outs, l.wake()
}

func (l *ledger) emit(o Output) { l.outs = append(l.outs, o) }

func (l *ledger) take(in Input) {
	switch in := in.(type) {
	case tick:
	case attached:
		l.turn.attached, l.turn.live = true, false
		l.wantRead(false)
	case received:
		l.event(in.event)
	case recovered:
		l.recover(in.entries)
	case history:
		l.read(in)
	case primary:
		l.threads.found(in.thread)
		l.recheck()
	case gone:
		l.finishSession(ReasonOver, in.why)
	case forbidden:
		l.sending.hold(l.now.Add(forbiddenWait))
	case ran:
		l.ran(in.id, in.end)
	case finishDone:
		l.wrote(in)
	case forgotten:
		l.forgotten(in)
	case sent:
		l.sent(in)
	case reloaded:
		l.reload()
	case drain:
		l.drain()
	case abandon:
		l.finishSession(ReasonStopped, "")
	}
}

// settle does whatever is due now: it is the only place that gives out
// operations of the journal, reads and sends.
func (l *ledger) settle() {
	for _, c := range l.calls {
		l.tend(c)
	}
	l.tendReads()
	l.tendSend()
	l.sweep()
	l.tendEnd()
}

// tend moves one call on.
func (l *ledger) tend(c *call) {
	switch c.state {
	case pending:
		l.tendPending(c)
	case ended:
		if c.setAside != "" {
			l.write(c)
		}
	case finished:
		l.write(c)
		if c.unsettled && c.settleSeq == 0 && !l.now.Before(c.settleAt) {
			c.settleSeq = l.wantRead(false)
		}
	}
}

// write gives the call's result to the journal, once its start is settled.
func (l *ledger) write(c *call) {
	if c.finish.due(l.now) && !c.starting && !c.unlooked {
		c.finish.begin()
		c.inJournal = true
		l.emit(finish{c.entry(l.set.Session, l.set.Owner)})
	}
}

// tendPending lets a call run. While draining it is left to the next worker, but at its
// deadline it has an answer all the same.
func (l *ledger) tendPending(c *call) {
	switch {
	case !l.draining:
		c.state, c.alive = running, true
		l.emit(give{l.runOf(c)})
	case !l.now.Before(c.deadline) && !l.forgetting(c.id):
		if c.late.Outcome == "" {
			c.late = run.AnswerLate(c.tool, nil)
		}
		l.conclude(c, c.late)
		l.write(c)
	}
}

// forgetting reports whether an entry of the call may be dropped yet, and a new one with
// it.
func (l *ledger) forgetting(id string) bool { return l.dropping > 0 || slices.Contains(l.forgets, id) }

// runOf is what a run is given of a call.
func (l *ledger) runOf(c *call) run.Call {
	r := run.Call{Def: c.tool, Received: c.received, Resume: c.resume, Call: tools.Call{
		ID: c.id, Tool: c.name, Session: l.set.Session, Thread: c.thread, Input: c.input, Deadline: c.deadline}}
	if !c.tool.Idempotent && !c.resume {
		e := c.entry(l.set.Session, l.set.Owner)
		r.Entry = &e
	}
	return r
}

// sweep drops ended calls of which nothing is under way any more, and their
// entries, those of a step together.
func (l *ledger) sweep() {
	kept := l.calls[:0]
	for _, c := range l.calls {
		if c.state != ended || c.busy() || c.setAside != "" && !c.finish.done {
			kept = append(kept, c)
			continue
		}
		delete(l.byID, c.id)
		if c.inJournal && c.setAside == "" {
			l.forgets = append(l.forgets, c.id)
		}
	}
	clear(l.calls[len(kept):])
	l.calls = kept
	switch {
	case len(l.forgets) == 0:
	case l.forgetAt.IsZero() && !l.draining:
		l.forgetAt = l.now.Add(l.set.Jitter(forgetDelay))
	case !l.now.Before(l.forgetAt):
		l.emit(forget{l.forgets})
		l.forgets, l.forgetAt = nil, time.Time{}
		l.dropping++
	}
}

// forgetDelay is how long an entry stands that nobody needs any more: turns that follow
// each other quickly are dropped together, and the entries of a turn with one request.
// It is spread, so that sessions whose turns end together don't drop theirs together.
const forgetDelay = 2 * time.Second

func (l *ledger) forgotten(in forgotten) {
	l.dropping--
	if in.err == nil {
		l.vain = 0
	} else {
		l.vain++
		l.forgets = append(l.forgets, in.ids...)
		l.forgetAt = l.now.Add(l.set.Jitter(forgetDelay))
	}
}

// tendEnd ends the service of a session that is quiet, or drained.
func (l *ledger) tendEnd() {
	switch {
	case l.draining && l.drained():
		l.finishSession(ReasonDrained, "")
	case l.set.MaxIdle > 0 && l.quiet() && !l.now.Before(l.turn.since.Add(l.set.MaxIdle)):
		l.finishSession(ReasonIdle, "")
	}
}

// quiet reports whether the turn has ended and nothing of ours is open.
func (l *ledger) quiet() bool {
	return l.turn.ended && !l.reading.busy && l.owed() == 0 && l.underWay() == 0
}

// owed counts the calls that owe an answer of ours.
func (l *ledger) owed() int {
	n := 0
	for _, c := range l.calls {
		if c.state.open() {
			n++
		}
	}
	return n
}

// underWay counts what has not reported back.
func (l *ledger) underWay() int {
	n := l.dropping
	for _, c := range l.calls {
		if c.busy() {
			n++
		}
	}
	if l.sending.busy() {
		n++
	}
	return n
}

// drained reports whether all that can be finished is finished and sent.
// Pending calls were not started, and are left as they are.
func (l *ledger) drained() bool {
	for _, c := range l.calls {
		if c.state == running || c.state == finished || c.busy() {
			return false
		}
	}
	// Entries that can't be dropped are asked about once more at the end. They do
	// no harm: the history says what became of their calls.
	return !l.sending.busy() && l.dropping == 0 && (len(l.forgets) == 0 || l.vain >= maxVain)
}

// maxVain is how many forgets in a row fail before a drain waits for no other.
const maxVain = 2

func (l *ledger) drain() {
	if l.draining {
		return
	}
	l.draining, l.forgetAt = true, time.Time{}
	for _, c := range l.calls {
		if c.state == running {
			l.emit(takeBack{c.id})
		}
	}
}

// unstart drops the start of a call that surely did not run, where it stands: the next
// worker may run it.
func (l *ledger) unstart(c *call, stands bool) {
	if stands && !c.resume {
		l.forgets = append(l.forgets, c.id)
		c.inJournal, c.revision = false, 0
	}
}

// finishSession gives out the end. What runs is stopped; what is in the journal
// as started or finished stays there unless the session itself is over.
func (l *ledger) finishSession(reason Reason, why string) {
	l.over = true
	cause := errDrained
	if reason == ReasonOver {
		l.gone, l.why, cause = true, why, errOver
	}
	for _, c := range l.calls {
		if c.alive {
			l.emit(stop{c.id, cause})
		}
		if reason != ReasonOver || c.state == ended || l.sending.has(c) {
			continue // what is being sent may yet be accepted: afterEnd says
		}
		if c.state.waits() {
			r := c.report(l.now, run.Over)
			r.Cause = cause.Error()
			l.emit(dropped{r})
		}
		if (c.inJournal || c.state == running && !c.tool.Idempotent) && c.setAside == "" {
			l.forgets = append(l.forgets, c.id)
		}
		c.state = ended
	}
	if why != "" {
		l.emit(notice{text: "session is over", args: []any{"why", why}})
	}
	if len(l.forgets) > 0 {
		l.emit(forget{l.forgets})
		l.forgets = nil
	}
	l.emit(end{reason})
}

// afterEnd takes in what reports back after the end: an entry that was written
// meanwhile for a session that is over must not stay, and a result that the API
// has accepted counts as answered.
func (l *ledger) afterEnd(in Input) {
	var id string
	stands := false
	switch in := in.(type) {
	case sent:
		l.sentAtEnd(in.err)
		return
	case ran:
		id, stands = in.id, in.end.MayStand
		if c := l.byID[id]; c != nil && c.state == running && in.end.MayRunAgain() && in.end.Started {
			l.emit(forget{[]string{id}}) // the next worker runs it
			return
		}
	case finishDone:
		id = in.id
	default:
		return
	}
	if c := l.byID[id]; c != nil && c.state == ended && (c.inJournal || stands) {
		l.emit(forget{[]string{id}})
	}
}

// sentAtEnd ends the calls of the send that was under way at the end.
func (l *ledger) sentAtEnd(err error) {
	var entries []string
	for _, c := range l.sending.batch {
		if c.state == ended || err != nil && !l.gone {
			continue // what may still be wanted stays in the journal
		}
		if c.inJournal {
			entries = append(entries, c.id)
		}
		if err == nil {
			l.accept(c)
		} else {
			l.drop(c, run.Over, errOver)
		}
	}
	l.sending.batch = nil
	if len(entries) > 0 {
		l.emit(forget{entries})
	}
}

// wake is when something becomes due by itself.
func (l *ledger) wake() time.Time {
	var w time.Time
	if l.over {
		return w
	}
	at := func(t time.Time) {
		if !t.IsZero() && (w.IsZero() || t.Before(w)) {
			w = t
		}
	}
	for _, c := range l.calls {
		switch c.state {
		case pending:
			at(future(l.now, c.deadline))
		case ended:
			if c.setAside != "" && !c.finish.done && !c.finish.inFlight {
				at(future(l.now, c.finish.retryAt))
			}
		case finished:
			if !c.finish.done {
				at(future(l.now, c.finishedAt.Add(writeGrace)))
				if !c.finish.inFlight {
					at(future(l.now, c.finish.retryAt))
				}
			}
			if c.unsettled && c.settleSeq == 0 {
				at(c.settleAt)
			}
		}
	}
	at(l.sendWake())
	if len(l.forgets) > 0 {
		at(l.forgetAt)
	}
	at(l.readWake())
	if l.set.MaxIdle > 0 && l.quiet() {
		at(l.turn.since.Add(l.set.MaxIdle))
	}
	return w
}

// future is t where it lies ahead, else zero.
func future(now, t time.Time) time.Time {
	if t.After(now) {
		return t
	}
	return time.Time{}
}

package loop

import (
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/upstream"
)

// reading is the state of history reads: one at a time, and one more after it
// where something was asked for after it had begun.
type reading struct {
	busy    bool
	seq     int // of the read under way, or the last one
	wanted  int // the last read that was asked for
	session bool
	last    time.Time // when the last read ended
}

// wantRead asks for a read that begins after now, and returns its number.
func (l *ledger) wantRead(session bool) int {
	if l.reading.wanted == l.reading.seq {
		l.reading.wanted++
	}
	l.reading.session = l.reading.session || session
	return l.reading.wanted
}

// tendReads gives out a read that is wanted or due.
func (l *ledger) tendReads() {
	r := &l.reading
	if w := l.reconcileAt(); !w.IsZero() && !l.now.Before(w) {
		l.wantRead(false)
	}
	if r.busy || r.wanted == r.seq || !l.turn.attached || l.draining && l.unsettledCount() == 0 {
		return
	}
	r.busy, r.seq = true, r.wanted
	var open []string
	for _, c := range l.calls {
		if c.state.waits() || c.lookSeq != 0 {
			open = append(open, c.id)
		}
	}
	l.emit(readHistory{seq: r.seq, open: open, session: r.session})
	r.session = false
}

// reconcileAt is when the history is to be looked at although nothing asks for
// it: while the turn runs, or a call of ours is open.
func (l *ledger) reconcileAt() time.Time {
	r := &l.reading
	if l.set.Reconcile <= 0 || r.busy || r.wanted != r.seq || r.last.IsZero() || l.draining || l.turn.ended && l.owed() == 0 {
		return time.Time{}
	}
	return r.last.Add(l.set.Reconcile)
}

func (l *ledger) readWake() time.Time { return l.reconcileAt() }

func (l *ledger) unsettledCount() int {
	n := 0
	for _, c := range l.calls {
		if c.state == finished && c.unsettled {
			n++
		}
	}
	return n
}

// read takes in a whole history read. Calls in it are decided on now, when all
// that may kill or answer them is known.
func (l *ledger) read(in history) {
	doubted := l.set.Doubt && l.reading.last.IsZero()
	l.reading.busy, l.reading.last = false, l.now
	if in.session != nil && in.session.Over() {
		why := in.session.Status
		if in.session.Archived {
			why = "archived"
		}
		l.finishSession(ReasonOver, why)
		return
	}
	answered := make(map[string]struct{})
	for _, e := range in.events {
		switch e.Type {
		case upstream.TypeResult:
			answered[e.CallID] = struct{}{}
		case upstream.TypeThreadCreated:
			l.threads.child(e.Thread)
		case upstream.TypeCall:
			l.threads.child(e.Thread)
		}
	}
	l.firstThread(in)
	for _, e := range in.events {
		if e.Type == upstream.TypeCall {
			l.complete(l.byID[e.ID], e)
			continue
		}
		if l.fact(e); l.over {
			return
		}
	}
	l.oldCalls(in, answered, doubted)
	for _, e := range in.events {
		if e.Type == upstream.TypeIdle || e.Type == upstream.TypeThreadIdle {
			l.name(e) // the calls it names are known only now
		}
	}
	l.historyStatus(in)
	l.leftBehind(in)
	l.look(in)
	l.settled(in.seq)
}

// oldCalls takes in the calls of the history that have no answer there.
func (l *ledger) oldCalls(in history, answered map[string]struct{}, doubted bool) {
	begun, unknown := 0, 0
	for _, e := range in.events {
		if _, has := answered[e.ID]; e.Type != upstream.TypeCall || has || l.byID[e.ID] != nil || l.done.has(e.ID) || l.draining {
			continue
		}
		l.takeCall(e, doubted && !l.afterDamage(e))
		switch c := l.byID[e.ID]; {
		case c == nil:
		case c.state == pending:
			begun++
		case c.answer.Outcome == run.UnknownOutcome:
			unknown++
		}
	}
	if begun > 0 {
		l.emit(notice{text: "open calls found in the history; running them", args: []any{"calls", begun}, warn: true})
	}
	if unknown > 0 {
		l.emit(notice{text: "open calls found in the history that may have been started before the journal was damaged; not running them", args: []any{"calls", unknown}, warn: true})
	}
}

// afterDamage reports whether a call came into being after the journal was damaged. Both
// times are the API's.
func (l *ledger) afterDamage(e upstream.Event) bool {
	return !l.set.DoubtUntil.IsZero() && e.ProcessedAt.After(l.set.DoubtUntil)
}

// leftBehind notes the calls that an ended turn has left open.
func (l *ledger) leftBehind(in history) {
	var before []*call
	for _, e := range in.events {
		if c := l.byID[e.ID]; e.Type == upstream.TypeCall && c != nil {
			before = append(before, c)
		}
		if e.Type == upstream.TypeIdle && e.StopReason != upstream.StopRequiresAction {
			for _, c := range before {
				c.behind = true
			}
			before = nil
		}
	}
}

// firstThread learns the primary thread from the log's first thread status, where
// the read went back to the log's beginning.
func (l *ledger) firstThread(in history) {
	if !in.complete {
		return
	}
	for _, e := range in.events {
		switch e.Type {
		case upstream.TypeThreadRunning, upstream.TypeThreadIdle, upstream.TypeThreadRescheduled, upstream.TypeThreadTerminated:
			l.threads.found(e.Thread)
			return
		}
	}
}

// historyStatus takes the session's status from the history where the stream,
// which is newer, has said nothing of it.
func (l *ledger) historyStatus(in history) {
	if l.turn.live {
		return
	}
	is := in.complete // a log without any status: nothing has begun
	var end, failure string
	for _, e := range in.events {
		switch e.Type {
		case upstream.TypeIdle:
			is = e.StopReason != upstream.StopRequiresAction
			end, failure = turnEnd(e, failure), ""
		case upstream.TypeSessionError:
			failure = e.ErrorType
		case upstream.TypeRunning, upstream.TypeRescheduled, upstream.TypeCall:
			is = false
		}
	}
	l.setEnded(is, time.Time{})
	if l.turn.failure = failure; is {
		l.turn.end = end
	}
}

// settled lets the calls go on whose fate the read was to tell: what is still
// here has no answer yet.
func (l *ledger) settled(seq int) {
	for _, c := range l.calls {
		if c.state.open() && c.unsettled && c.settleSeq != 0 && c.settleSeq <= seq {
			c.unsettled, c.mayBeOurs, c.settleSeq, c.unlooked = false, false, 0, false
		}
	}
	l.judge(seq)
}

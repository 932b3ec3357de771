package loop

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"toolhand/internal/tools"
	"toolhand/internal/upstream"
)

const (
	// maxBatch is the size in bytes at which a batch is cut.
	maxBatch = 20 << 20
	// echoWait is how long the echo of a send whose outcome is unknown is
	// waited for before the history is asked.
	echoWait = time.Second
	// settleWait is how long other results wait for that answer, so that all go
	// in one send again.
	settleWait = 2 * time.Second
	// The waits between sends that fail.
	sendBackoffMin = time.Second
	sendBackoffMax = 30 * time.Second
	// sendLogEvery is which of the failures in a row are told, besides the first.
	sendLogEvery = 10
	// forbiddenWait is how long a session waits whose requests are forbidden.
	forbiddenWait = time.Minute
	// keptBodies is of how many results that were set aside the body is kept.
	keptBodies = 16
	// answerOverhead is what a result takes in a batch besides its content.
	answerOverhead = 256
)

// sending is the state of sends: one at a time.
type sending struct {
	batch    []*call // under way
	fails    int     // in a row
	at       time.Time
	settling time.Time // until then a send waits for the fate of the last one
	groups   int       // the last number given to a group
	refusals []refusal
}

// refusal is a batch that the API refused, until fresh history says what is left
// of it.
type refusal struct {
	seq   int // the read to wait for
	calls []*call
	size  int // how many results the batch held
	why   string
}

func (s *sending) busy() bool { return len(s.batch) > 0 }

func (s *sending) has(c *call) bool { return slices.Contains(s.batch, c) }

func (s *sending) hold(until time.Time) { s.at = later(s.at, until) }

// recover forgets the failures in a row where nothing is left of what they
// concerned: the next turn goes in one send again.
func (s *sending) recover(calls []*call) {
	if s.fails > 0 && !s.busy() && !slices.ContainsFunc(calls, func(c *call) bool { return c.state == finished }) {
		s.fails = 0
	}
}

// tendSend gives out a batch where one is ready.
func (l *ledger) tendSend() {
	l.sending.recover(l.calls)
	if l.sending.busy() || l.now.Before(l.sending.at) || l.now.Before(l.settlingUntil()) {
		return
	}
	l.sending.batch = l.batch()
	if len(l.sending.batch) == 0 {
		l.sending.batch = nil
		return
	}
	answers := make([]upstream.Answer, len(l.sending.batch))
	for i, c := range l.sending.batch {
		answers[i] = upstream.Answer{CallID: c.id, Content: c.result.Content, IsError: c.result.IsError}
	}
	l.emit(send{answers})
}

// batch forms the batch that is to go now. A thread's results go together, when
// all its calls are done; at the deadline of one that waits, while draining and
// after a failed send, everything that is finished goes.
func (l *ledger) batch() []*call {
	if !slices.ContainsFunc(l.calls, func(c *call) bool { return c.sendable(l.now) }) {
		return nil
	}
	var batch []*call
	size := 0
	ready := l.readiness()
	group := l.firstGroup(ready)
	for _, c := range l.calls {
		if !c.sendable(l.now) || c.group != group || !ready(c) {
			continue
		}
		n := len(c.result.Content) + answerOverhead
		if len(batch) > 0 && size+n > maxBatch {
			break
		}
		batch, size = append(batch, c), size+n
	}
	return batch
}

// firstGroup is the group that is sent next: the results that are in none go
// first, so that a refused one holds up nothing.
func (l *ledger) firstGroup(ready func(*call) bool) int {
	group := 0
	for _, c := range l.calls {
		if !c.sendable(l.now) || !ready(c) {
			continue
		}
		if c.group == 0 {
			return 0
		}
		if group == 0 || c.group < group {
			group = c.group
		}
	}
	return group
}

// readiness returns what tells whether a sendable call's result may go now.
func (l *ledger) readiness() func(*call) bool {
	if l.set.Eager || l.draining || l.sending.fails > 0 {
		return func(*call) bool { return true }
	}
	type group struct {
		thread string
		waits  bool      // a call of it is not done
		bare   bool      // a result of it is in no idle event
		last   time.Time // when its last call was done
	}
	var groups []group // few: a search is less than a map
	of := func(thread string) *group {
		for i := range groups {
			if groups[i].thread == thread {
				return &groups[i]
			}
		}
		groups = append(groups, group{thread: thread})
		return &groups[len(groups)-1]
	}
	for _, c := range l.calls {
		if !c.state.open() || c.group != 0 {
			continue
		}
		if c.sendable(l.now) && !l.now.Before(c.deadline) {
			return func(*call) bool { return true }
		}
		g := of(c.thread)
		switch {
		case c.sendable(l.now):
			g.bare = g.bare || !c.named
			g.last = later(g.last, c.finishedAt)
		case !c.unsettled:
			g.waits = true
		}
	}
	return func(c *call) bool {
		g := of(c.thread)
		return c.group != 0 || !g.waits && (!g.bare || !l.now.Before(g.last.Add(l.set.Linger)))
	}
}

// settlingUntil is until when the next send waits for the fate of the last one,
// zero where that is known.
func (l *ledger) settlingUntil() time.Time {
	if l.now.Before(l.sending.settling) && l.unsettledCount() > 0 {
		return l.sending.settling
	}
	return time.Time{}
}

// sendWake is when a send becomes due by itself.
func (l *ledger) sendWake() time.Time {
	if l.sending.busy() {
		return time.Time{}
	}
	var w time.Time
	for _, c := range l.calls {
		if !c.sendable(l.now) {
			continue
		}
		if at := later(l.sending.at, l.settlingUntil()); l.now.Before(at) {
			return at
		}
		// Not ready, or it would be under way: it goes after the linger, or at
		// its deadline. A linger that has passed waits for another call.
		for _, t := range [...]time.Time{future(l.now, c.finishedAt.Add(l.set.Linger)), future(l.now, c.deadline)} {
			if !t.IsZero() && (w.IsZero() || t.Before(w)) {
				w = t
			}
		}
	}
	return w
}

// sent takes in the outcome of the send under way.
func (l *ledger) sent(err error) {
	batch := l.sending.batch
	l.sending.batch = nil
	size := len(batch)
	batch = slices.DeleteFunc(batch, func(c *call) bool { return c.state != finished })
	if err == nil {
		l.sending.fails, l.sending.at = 0, time.Time{}
		for _, c := range batch {
			l.accept(c)
		}
		return
	}
	switch upstream.KindOf(err) {
	case upstream.KindGone:
		l.finishSession(ReasonOver, err.Error())
	case upstream.KindRefused:
		l.refused(batch, size, err)
	case upstream.KindForbidden:
		l.fail(err)
		l.sending.hold(l.now.Add(forbiddenWait))
	case upstream.KindCredential:
		// The client lets nobody through until it works, and has said so.
		l.sending.hold(l.now.Add(sendBackoffMin))
	case upstream.KindUnknown:
		l.fail(err)
		for _, c := range batch {
			c.unsettled, c.settleSeq, c.settleAt = true, 0, l.now.Add(echoWait)
			c.doubt = true
		}
		l.sending.settling = l.now.Add(echoWait + settleWait)
	default:
		l.fail(err)
	}
}

// fail makes the next send wait: longer each time, and no shorter than the API
// asks for.
func (l *ledger) fail(err error) {
	wait := sendBackoffMin << min(l.sending.fails, 10)
	wait = max(l.set.Jitter(min(wait, sendBackoffMax)), upstream.RetryAfter(err))
	l.sending.fails++
	l.sending.at = l.now.Add(wait)
	if l.sending.fails > 1 && l.sending.fails%sendLogEvery != 0 {
		return // it was said
	}
	l.emit(notice{text: "send failed; trying again", args: []any{"error", err.Error(), "wait", wait.String(), "fails", l.sending.fails}})
}

// refused sets a batch aside until fresh history says what is left of it.
// size is how many results it held: those that ended while it was under way may
// be why it was refused.
func (l *ledger) refused(batch []*call, size int, err error) {
	if len(batch) == 0 {
		return
	}
	why := reasonOf(err)
	l.emit(notice{text: "the API refused a batch; looking at the history", args: []any{"error", err.Error(), "results", len(batch)}})
	seq := l.wantRead(true)
	for _, c := range batch {
		c.unsettled, c.settleSeq, c.settleAt = true, seq, l.now
	}
	l.sending.refusals = append(l.sending.refusals, refusal{seq: seq, calls: batch, size: size, why: why})
}

// judge decides what becomes of refused batches whose history is known now:
// without those that are dead it is tried again whole; else it is halved, until
// the bad result stands alone.
func (l *ledger) judge(seq int) {
	kept := l.sending.refusals[:0]
	for _, r := range l.sending.refusals {
		if r.seq > seq {
			kept = append(kept, r)
			continue
		}
		for _, c := range r.calls {
			if c.state == finished && c.behind {
				l.drop(c, Over, errOver)
			}
		}
		left := slices.DeleteFunc(slices.Clone(r.calls), func(c *call) bool { return c.state != finished })
		switch {
		case len(left) == 0:
		case len(left) < r.size:
			l.regroup(left)
		case len(left) == 1:
			l.condemn(left[0], r.why)
		default:
			l.regroup(left[:len(left)/2])
			l.regroup(left[len(left)/2:])
		}
	}
	l.sending.refusals = kept
}

func (l *ledger) regroup(calls []*call) {
	l.sending.groups++
	for _, c := range calls {
		c.group = l.sending.groups
	}
}

// condemn replaces a result that the API refuses on its own by a short error,
// once; the second time it is set aside.
func (l *ledger) condemn(c *call, why string) {
	l.sending.groups++
	if !c.replaced {
		c.replaced, c.original = true, c.result
		l.conclude(c, errorResult(refusedText(c.name, why)), Failed)
		c.group = l.sending.groups
		return
	}
	r := c.report(l.now, Quarantined)
	r.Result, r.Bytes = c.original, len(c.original.Content)
	l.emit(quarantine{report: r, why: why})
	l.setAside(c, why)
}

// setAside keeps a call that can't be answered: it stays in the journal as such,
// and is never run or sent again.
func (l *ledger) setAside(c *call, why string) {
	c.setAside = cmp.Or(why, "refused")
	c.rewrite = c.finish.inFlight
	c.finish = op{inFlight: c.finish.inFlight}
	l.close(c)
	l.keep(c)
}

func (l *ledger) keep(c *call) {
	l.kept = append(l.kept, Kept{ID: c.id, Tool: c.name, At: l.now, Bytes: len(c.original.Content), Result: c.original})
	if old := len(l.kept) - 1 - keptBodies; old >= 0 {
		l.kept[old].Result = tools.Result{}
	}
}

// Kept is a result that the API refused for good, and that is kept for people.
type Kept struct {
	ID     string
	Tool   string
	At     time.Time
	Bytes  int
	Result tools.Result // dropped of all but the last few
}

// isKept reports whether a call's result was set aside. The set of ended calls
// forgets in time; this one must not, or the call would run again.
func (l *ledger) isKept(id string) bool {
	return slices.ContainsFunc(l.kept, func(k Kept) bool { return k.ID == id })
}

func reasonOf(err error) string {
	var e *upstream.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return ""
}

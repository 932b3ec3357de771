package loop

import (
	"slices"
	"time"

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
	passes   int    // how many batches the API has accepted
	warned   bool   // that sends fail was said of what is still to be sent
	whole    string // why the API refuses whatever is sent, while wholes is above 0
	wholes   int    // refusals of that kind in a row
}

func (s *sending) busy() bool { return len(s.batch) > 0 }

func (s *sending) has(c *call) bool { return slices.Contains(s.batch, c) }

func (s *sending) hold(until time.Time) { s.at = later(s.at, until) }

// recover forgets the failures in a row where nothing is left of what they
// concerned: the next turn goes in one send again.
func (s *sending) recover(calls []*call) {
	if (s.fails > 0 || s.warned) && !s.busy() && !slices.ContainsFunc(calls, func(c *call) bool { return c.state == finished }) {
		s.fails, s.warned = 0, false
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
		answers[i] = upstream.Answer{CallID: c.id, Content: c.answer.Result.Content, IsError: c.answer.Result.IsError}
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
		n := len(c.answer.Result.Content) + answerOverhead
		if len(batch) > 0 && (size+n > maxBatch || l.sending.wholes > 0 && group == 0) {
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
func (l *ledger) sent(in sent) {
	err := in.err
	batch := l.sending.batch
	l.sending.batch = nil
	size := len(batch)
	batch = slices.DeleteFunc(batch, func(c *call) bool { return c.state != finished })
	if err == nil {
		l.sending.fails, l.sending.at, l.sending.wholes = 0, time.Time{}, 0
		l.sending.passes++
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
		l.fail(err, forbiddenWait)
	case upstream.KindCredential:
		// The client lets nobody through until it works, and has said so.
		l.sending.hold(l.now.Add(sendBackoffMin))
	case upstream.KindUnknown:
		l.fail(err, echoWait)
		for _, c := range batch {
			c.unsettled, c.settleSeq, c.settleAt = true, 0, l.now.Add(echoWait)
			c.mayBeOurs = true
		}
		l.sending.settling = l.now.Add(echoWait + settleWait)
		l.unheard(batch, size, in)
	default:
		l.fail(err, 0)
	}
}

// fail makes the next send wait: longer each time, and no shorter than the API
// asks for, or than least.
func (l *ledger) fail(err error, least time.Duration) {
	wait := min(sendBackoffMin<<min(l.sending.fails, 10), sendBackoffMax)
	l.sending.fails++
	l.sending.hold(l.now.Add(max(l.set.Jitter(wait), upstream.RetryAfter(err), least)))
	if l.sending.warned && l.sending.fails%sendLogEvery != 0 {
		return // it was said
	}
	l.complain("send failed; trying again", "error", err.Error(), "fails", l.sending.fails)
}

// complain says how long sends wait now and why: as a warning the first time, until
// all is sent.
func (l *ledger) complain(text string, args ...any) {
	args = append(args, "wait", l.sending.at.Sub(l.now).String())
	l.emit(notice{text: text, args: args, warn: !l.sending.warned})
	l.sending.warned = true
}

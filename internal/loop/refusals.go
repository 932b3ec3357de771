package loop

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/upstream"
)

const (
	// splitTries is how often a batch is sent that nobody answers in the API's
	// name, before it is halved.
	splitTries = 3
	// loneTries is how often a result is sent alone like that, before its content
	// is thought to be the reason, provided that others pass.
	loneTries = 5
	// The waits between sends while the API refuses whatever is sent.
	wholeWaitMin = time.Minute
	wholeWaitMax = 5 * time.Minute
)

// refusal is a batch that the API refused, until fresh history says what is left
// of it.
type refusal struct {
	seq   int // the read to wait for
	calls []*call
	size  int // how many results the batch held
	why   string
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
	refusals := l.sending.refusals
	l.sending.refusals = nil
	for _, r := range refusals {
		if r.seq > seq {
			l.sending.refusals = append(l.sending.refusals, r)
			continue
		}
		for _, c := range r.calls {
			if c.state == finished && c.behind {
				l.drop(c, run.Over, errOver)
			}
		}
		left := slices.DeleteFunc(slices.Clone(r.calls), func(c *call) bool { return c.state != finished })
		if l.sending.wholes > 0 && !sameWords(r.why, l.sending.whole) {
			l.sending.wholes = 0 // it is about something else now
		}
		switch {
		case len(left) == 0:
		case l.sending.wholes > 0:
			if c := left[0]; r.size == 1 && !sameWords(c.why, r.why) {
				c.why, c.passes = r.why, l.sending.passes
			}
			l.holdAll(r.why)
		case len(left) < r.size:
			l.regroup(left)
		case len(left) == 1:
			l.condemn(left[0], r.why)
		default:
			l.halve(left)
		}
	}
}

func (l *ledger) regroup(calls []*call) {
	l.sending.groups++
	for _, c := range calls {
		c.group = l.sending.groups
	}
}

func (l *ledger) halve(calls []*call) {
	l.regroup(calls[:len(calls)/2])
	l.regroup(calls[len(calls)/2:])
	for _, c := range calls {
		c.tries = 0
	}
}

// unheard takes in a failure of which the API itself said nothing: a proxy's page,
// a reset, a timeout. It may be the content of one of the results, which must not
// hold up the others; so the batch is halved in time. An error 500 of the API's own
// is taken like one: it may come of one result's content as well. size is how many
// results it held.
func (l *ledger) unheard(batch []*call, size int, in sent) {
	if len(batch) == 0 || upstream.Overloaded(in.err) {
		return
	}
	tries := 0
	for _, c := range batch {
		if !c.silent {
			c.silent, c.passed = true, in.passed
		}
		c.tries++
		tries = max(tries, c.tries)
	}
	switch {
	case size == 1:
		l.unheardAlone(batch[0], in)
	case len(batch) > 1 && tries >= splitTries:
		l.halve(batch)
	case batch[0].group != 0:
		l.regroup(batch) // the other half is next
	}
}

// unheardAlone takes in that a result failed alone. Where others pass meanwhile it
// is its content, and a short error is tried in its place. Where that fares no
// better it was not the content, and the result stands again.
func (l *ledger) unheardAlone(c *call, in sent) {
	l.regroup([]*call{c}) // the others go first
	// What fails before any other passes, or by an error of the API's own, says
	// nothing of the content.
	if c.standIn != asGiven || in.passed > c.passed && !ofAPI(in.err) {
		c.lone++
	}
	if c.lone < loneTries {
		return
	}
	switch {
	case c.standIn == forProxy:
		l.restore(c)
		c.probed = true
	case c.standIn == asGiven && !c.probed && !ofAPI(in.err):
		l.emit(notice{text: "others get through and this result does not: a short error is sent in its place",
			args: []any{"tool", c.name, "call", c.id, "error", in.err.Error()}})
		l.replace(c, forProxy, fmt.Sprintf("something between the worker and the API did not let it through (%s)", in.err))
	}
}

// replace puts a short error in the place of a result. The journal keeps the
// result, until the API has accepted one of them.
func (l *ledger) replace(c *call, as standIn, why string) {
	c.standIn, c.original, c.answer = as, c.answer, refused(c.name, why)
	c.tries, c.lone, c.passes = 0, 0, l.sending.passes
	l.regroup([]*call{c})
}

// restore takes the short error back.
func (l *ledger) restore(c *call) {
	c.answer = c.original
	c.standIn, c.tries, c.lone = asGiven, 0, 0
}

// condemn replaces a result that the API refuses on its own by a short error,
// once; the second time it is set aside. But where that is refused with the same
// words, and nothing was accepted meanwhile, the result is not the reason.
func (l *ledger) condemn(c *call, why string) {
	switch {
	case c.standIn == asGiven:
		passes := l.sending.passes
		if sameWords(c.why, why) {
			passes = c.passes // it was held for these words: what was accepted since counts
		}
		l.replace(c, forRefusal, why)
		c.why, c.passes = why, passes
	case c.standIn == forProxy:
		c.standIn, c.why, c.passes = forRefusal, why, l.sending.passes
		l.regroup([]*call{c})
	case sameWords(c.why, why) && c.passes == l.sending.passes && !strings.Contains(why, c.id):
		l.holdAll(why)
	default:
		r := c.report(l.now, run.Quarantined)
		r.Result, r.Bytes, r.Cause = c.original.Result, len(c.original.Result.Content), why
		l.emit(quarantine{report: r, why: why})
		l.setAside(c, why)
	}
}

// holdAll makes all results wait, each as its tool gave it, because the API refuses
// whatever is sent. Those that were not refused alone are tried first, and one at a
// time: if one is accepted, the others are the reason themselves.
func (l *ledger) holdAll(why string) {
	var held []*call
	for _, c := range l.calls {
		if c.state != finished {
			continue
		}
		if c.standIn == forRefusal && sameWords(c.why, why) {
			l.restore(c)
		}
		if c.group = 0; sameWords(c.why, why) {
			held = append(held, c)
		}
	}
	l.regroup(held)
	wait := min(wholeWaitMin<<min(l.sending.wholes, 10), wholeWaitMax)
	l.sending.whole, l.sending.wholes = why, l.sending.wholes+1
	l.sending.hold(l.now.Add(l.set.Jitter(wait)))
	if !l.sending.warned || l.sending.wholes%sendLogEvery == 1 {
		l.complain("the API refuses whatever is sent; results are kept, and tried again", "error", why)
	}
}

// setAside keeps a call that can't be answered: it stays in the journal as such,
// and is never run or sent again.
func (l *ledger) setAside(c *call, why string) {
	c.setAside = cmp.Or(why, "refused")
	c.rewrite = c.finish.inFlight
	c.finish = journalWrite{inFlight: c.finish.inFlight}
	l.close(c)
	l.keep(c.id, c.name, len(c.original.Result.Content))
}

// keep remembers that a call's result was set aside. The journal alone has the
// result.
func (l *ledger) keep(id, tool string, bytes int) {
	l.kept = append(l.kept, KeptStatus{ID: id, Tool: tool, At: l.now, Bytes: bytes})
}

// isKept reports whether a call's result was set aside. The set of ended calls
// forgets in time; this one must not, or the call would run again.
func (l *ledger) isKept(id string) bool {
	return slices.ContainsFunc(l.kept, func(k KeptStatus) bool { return k.ID == id })
}

// ofAPI reports whether err is an error of the API's own.
func ofAPI(err error) bool {
	var e *upstream.Error
	return errors.As(err, &e) && e.Type != ""
}

// sameWords reports whether two refusals say the same. What changes from one to the
// next (a balance, a time, the id of a request) has digits in it and does not count,
// but which call they name does.
func sameWords(a, b string) bool {
	words := func(s string) []string {
		return slices.DeleteFunc(strings.Fields(s), func(w string) bool {
			return strings.ContainsAny(w, "0123456789") && !strings.Contains(w, "sevt_")
		})
	}
	return a == b || a != "" && b != "" && slices.Equal(words(a), words(b))
}

func reasonOf(err error) string {
	var e *upstream.Error
	if errors.As(err, &e) {
		return cmp.Or(e.Message, e.Type)
	}
	return ""
}

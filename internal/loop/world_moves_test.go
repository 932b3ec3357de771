package loop

import (
	"errors"
	"slices"
	"strings"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/run"
	"toolhand/internal/tools/content"
	"toolhand/internal/upstream"
)

// move lets one thing happen.
func (w *world) move() {
	if w.reason == ReasonOver || w.reason == ReasonStopped {
		return
	}
	if w.gone {
		clear(w.quarant)
		w.boot()
	}
	switch w.choose(16) {
	case 0, 1:
		w.tickOn()
	case 2, 3:
		w.deliver()
	case 4, 5, 6:
		w.moveRun(w.choose)
	case 7, 8:
		w.endOp(w.choose)
	case 9:
		w.endSend(w.choose)
	case 10, 11:
		w.agentCalls()
	case 12:
		w.agentIdles()
	case 13:
		w.disturb()
	case 14:
		w.now = w.now.Add(time.Duration(1+w.choose(40)) * 100 * time.Millisecond)
		w.step(tick{})
	case 15:
		w.crash()
	}
}

// tickOn lets time pass until the ledger wants to be woken, or a deadline passes.
func (w *world) tickOn() {
	next := w.wake
	for _, r := range w.runs {
		if at := r.call.Deadline; !r.told && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if next.IsZero() {
		w.now = w.now.Add(time.Second)
	} else if next.After(w.now) {
		w.now = next
	}
	w.step(tick{})
}

// deliver brings an event on the wire to the worker: in order, out of order,
// twice, or never.
func (w *world) deliver() {
	if len(w.queued) == 0 {
		return
	}
	i := 0
	if w.choose(4) == 3 {
		i = w.choose(len(w.queued))
	}
	e := w.queued[i]
	switch w.choose(10) {
	case 9:
		w.queued = slices.Delete(w.queued, i, i+1) // lost; the stream breaks with it
		w.queued = nil
		w.step(attached{})
		return
	case 8: // it comes again
	default:
		w.queued = slices.Delete(w.queued, i, i+1)
	}
	w.step(received{e})
}

func (w *world) agentCalls() {
	if w.over {
		return
	}
	names := []string{"pay", "look", "long", "nowhere", "job"}
	e := upstream.Event{Type: upstream.TypeCall, Name: names[w.choose(len(names))], Input: []byte(`{}`)}
	if w.choose(4) == 3 {
		e.Thread = "sthr_child"
	}
	if w.choose(4) == 3 {
		e.Permission = []string{"ask", upstream.PermissionAllow, upstream.PermissionDeny, "perhaps"}[w.choose(4)]
	}
	w.newEvent(e, w.choose(8) != 7)
	if w.choose(12) == 11 {
		w.poison[w.log[len(w.log)-1].ID] = 1 + w.choose(9)
	}
	if w.choose(12) == 11 {
		w.firewall[w.log[len(w.log)-1].ID] = true
	}
	w.waiting = false
}

func (w *world) agentIdles() {
	if w.over {
		return
	}
	e := upstream.Event{Type: upstream.TypeIdle, StopReason: upstream.StopRequiresAction, EventIDs: w.open()}
	if len(e.EventIDs) == 0 || w.choose(32) == 31 && !slices.ContainsFunc(e.EventIDs, func(id string) bool { return w.api[id].allowed }) {
		e.StopReason = "end_turn" // with calls that wait for permission, too
	}
	w.newEvent(e, w.choose(8) != 7)
}

// disturb is what others do: interrupts, other clients, the end.
func (w *world) disturb() {
	open := w.open()
	switch w.choose(12) {
	case 0, 1, 2:
		thread := ""
		if w.choose(2) == 1 {
			thread = "sthr_child"
		}
		w.newEvent(upstream.Event{Type: upstream.TypeInterrupt, Thread: thread}, w.choose(8) != 7)
		for _, id := range open {
			if c := w.api[id]; thread == "" || c.event.Thread == thread {
				c.dead = true
			}
		}
	case 3, 4:
		if len(open) > 0 {
			id := open[w.choose(len(open))]
			w.api[id].answered, w.api[id].elsewise = true, true
			w.newEvent(upstream.Event{Type: upstream.TypeResult, CallID: id}, w.choose(8) != 7)
		}
	case 5, 6:
		w.queued = nil
		w.step(attached{}) // a reconnect
	case 7:
		w.step(received{upstream.Event{Type: upstream.TypeUndecodable}})
	case 8:
		if w.choose(6) == 5 && !w.over {
			w.over = true
			w.newEvent(upstream.Event{Type: upstream.TypeTerminated}, w.choose(4) != 3)
		}
	case 9:
		w.step(reloaded{})
	case 10, 11:
		if len(open) > 0 {
			w.confirm(open[w.choose(len(open))], w.choose(4) != 3)
		}
	}
}

// confirm is a user's decision on a call that waits for it. It is queued first.
func (w *world) confirm(id string, allow bool) {
	c := w.api[id]
	if c.allowed || w.over {
		return
	}
	e := upstream.Event{Type: upstream.TypeConfirmation, CallID: id, Permission: upstream.PermissionDeny}
	if allow {
		e.Permission = upstream.PermissionAllow
	}
	w.queued = append(w.queued, e)
	for range w.choose(3) {
		w.deliver()
	}
	c.allowed, c.denied, c.dead = allow, !allow, !allow
	w.newEvent(e, w.choose(8) != 7)
}

// moveRun moves one call's run on.
func (w *world) moveRun(choose func(int) int) {
	ids := w.runIDs()
	if len(ids) == 0 {
		return
	}
	id := ids[choose(len(ids))]
	r := w.runs[id]
	switch {
	case r.starting:
		w.endStart(id, r, choose)
	case r.stopped != nil:
		w.endRun(id, r, run.Answer{}, r.stopped)
	case r.handling:
		w.endHandler(id, r, choose)
	case !r.end.Handled && choose(8) == 7:
		w.endRun(id, r, run.Answer{Result: content.Error("Invalid input"), Outcome: run.Invalid}, nil)
	case r.call.Entry != nil && !r.end.Started:
		w.mayRun(id)
		r.starting, r.end.MayStand = true, true
	default:
		w.handler(id, r)
	}
}

func (w *world) endRun(id string, r *worldRun, a run.Answer, err error) {
	delete(w.runs, id)
	end := r.end
	end.Answer, end.Err = a, err
	if err != nil {
		end.Late = run.AnswerLate(r.call.Def, end.Away)
	}
	w.step(ran{id, end})
}

// endHandler ends an attempt: with a result, or so that another one may follow.
func (w *world) endHandler(id string, r *worldRun, choose func(int) int) {
	r.handling = false
	own := func(o run.Outcome) { w.endRun(id, r, run.Answer{Result: content.Error(string(o)), Outcome: o}, nil) }
	switch choose(8) {
	case 4: // it surely did not run
		if !r.call.Resume {
			w.begun[id]--
		}
		w.again(id, r, choose)
	case 5, 7: // its answer is lost
		if r.call.Def.Idempotent {
			w.again(id, r, choose)
		} else {
			own(run.UnknownOutcome)
		}
	case 6:
		own(run.Failed)
	default:
		w.endRun(id, r, run.Answer{Result: okResult(id), Outcome: run.OK}, nil)
	}
}

// again lets a run wait for another attempt, or gives up.
func (w *world) again(id string, r *worldRun, choose func(int) int) {
	if choose(2) == 1 && !r.call.Resume {
		w.endRun(id, r, run.Answer{Result: content.Error("unavailable"), Outcome: run.Unavailable}, nil)
		return
	}
	r.end.Away = errWorld
	if r.left && r.stopped == nil {
		r.stopped = errDrained
	}
}

// endStart ends a Start: done, lost, or done and reported lost.
func (w *world) endStart(id string, r *worldRun, choose func(int) int) {
	e := *r.call.Entry
	r.starting = false
	how := choose(6)
	if how == 4 {
		return // it is tried again
	}
	if old, there := w.journal[id]; there && (old.Owner != e.Owner || old.Finished) {
		r.end.MayStand = false
		w.endRun(id, r, run.Answer{}, journal.ErrOwned)
		return
	}
	rev := w.put(e)
	if how != 5 {
		r.end.Started, r.end.Revision = true, rev
	}
}

func (w *world) put(e journal.Entry) uint64 {
	w.revision++
	e.Revision = w.revision
	w.journal[e.Call] = e
	return e.Revision
}

// endOp ends one operation of the journal, or one read.
func (w *world) endOp(choose func(int) int) {
	if len(w.ops) == 0 {
		return
	}
	i := choose(len(w.ops))
	op := w.ops[i]
	w.ops = slices.Delete(w.ops, i, i+1)
	how := choose(6)
	switch {
	case op.finish != nil:
		w.endFinish(op.finish.entry, how)
	case op.forget != nil:
		if how != 4 {
			for _, id := range op.forget.ids {
				delete(w.journal, id)
			}
		}
		var err error
		if how >= 4 {
			err = errWorld
		}
		w.step(forgotten{op.forget.ids, err})
	case op.read != nil:
		w.endRead(*op.read, op.seen, choose)
	case op.find:
		w.step(primary{})
	}
}

func (w *world) endFinish(e journal.Entry, how int) {
	if how == 4 {
		w.step(finishDone{id: e.Call, err: errWorld})
		return
	}
	if old, there := w.journal[e.Call]; there && old.Revision != e.Revision && old.Owner != e.Owner {
		w.problem("the fence of %s is %d, and its finish has %d", e.Call, old.Revision, e.Revision)
	}
	if old, there := w.journal[e.Call]; there && old.Finished && string(old.Content) != string(e.Content) {
		w.problem("invariant 3: the journal's result of %s is replaced", e.Call)
	}
	rev := w.put(e)
	if how == 5 {
		w.step(finishDone{id: e.Call, err: errWorld})
		return
	}
	w.step(finishDone{id: e.Call, revision: rev})
}

// endRead answers a read as the API would, through the reader: with the events
// that were asked for, as of some time since it began.
func (w *world) endRead(r readHistory, began int, choose func(int) int) {
	rd := newReader(r.open)
	var page upstream.Page
	for _, e := range w.log[:len(w.log)-choose(len(w.log)-began+1)] {
		if slices.Contains(historyTypes, e.Type) {
			page.Events = append(page.Events, e)
		}
	}
	slices.Reverse(page.Events)
	rd.take(page)
	slices.Reverse(rd.events)
	in := history{seq: r.seq, events: rd.events, complete: rd.complete}
	if r.session {
		status := "running"
		if w.over {
			status = "terminated"
		}
		in.session = &upstream.Session{Status: status}
	}
	clear(w.doubt) // whatever was sent before is in the history now
	w.step(in)
}

// endSend ends the send under way.
func (w *world) endSend(choose func(int) int) {
	if len(w.sends) == 0 {
		return
	}
	batch := w.sends[0]
	w.sends = nil
	if w.blocked(batch) {
		w.passed++ // of another session
		w.unknown(batch)
		return
	}
	switch choose(8) {
	case 4: // lost on the way
		w.unknown(batch)
		return
	case 5: // taken, and reported lost
		w.accept(batch)
		w.unknown(batch)
		return
	case 6, 7:
		w.step(sent{err: &upstream.Error{Op: "send", Status: 429, Type: "rate_limit_error"}})
		return
	}
	if w.accept(batch) {
		w.passed++
		w.step(sent{passed: w.passed})
		return
	}
	// What is poisoned alone is refused a number of times.
	if len(batch) == 1 && w.poison[batch[0].CallID] > 0 {
		w.poison[batch[0].CallID]--
		if w.poison[batch[0].CallID] == 0 {
			w.poison[batch[0].CallID] = -1 // was poisoned once
		}
	}
	// The words are about the one that is named.
	refusal := &upstream.Error{Op: "send", Status: 400, Type: "invalid_request_error"}
	refusal.Message = "can't be processed"
	if len(batch) == 1 {
		refusal.Message = batch[0].CallID + " can't be processed"
	}
	w.step(sent{err: refusal})
}

func (w *world) unknown(batch []upstream.Answer) {
	for _, a := range batch {
		if c := w.ledger.byID[a.CallID]; c != nil && c.state == finished {
			w.doubt[a.CallID] = true
		}
		w.silent[a.CallID]++
	}
	w.passed += int64(w.choose(2)) // other sessions' sends may pass meanwhile
	w.step(sent{err: errors.New("reset"), passed: w.passed})
}

// blocked reports whether a proxy refuses a batch for the content of a result.
func (w *world) blocked(batch []upstream.Answer) bool {
	return slices.ContainsFunc(batch, func(a upstream.Answer) bool {
		return w.firewall[a.CallID] && strings.Contains(string(a.Content), "result of "+a.CallID)
	})
}

// crash ends this life, or lets it drain, or ends it at once: then what was under way is
// done or not.
func (w *world) crash() {
	switch w.choose(4) {
	case 2:
		w.drained = true
		w.step(drain{})
		return
	case 3:
	default:
		return
	}
	for _, id := range w.runIDs() {
		if r := w.runs[id]; r.starting && w.choose(2) == 1 {
			if _, there := w.journal[id]; !there {
				w.put(*r.call.Entry)
			}
		}
	}
	for _, op := range w.ops {
		if op.finish != nil && w.choose(2) == 1 {
			w.put(op.finish.entry)
		}
		if op.forget != nil && w.choose(2) == 1 {
			for _, id := range op.forget.ids {
				delete(w.journal, id)
			}
		}
	}
	if len(w.sends) > 0 && w.choose(2) == 1 {
		w.accept(w.sends[0])
	}
	if w.reason == "" {
		clear(w.quarant)
		w.boot()
	}
}

// calm lets everything go well until nothing is left to do, and checks that
// every call has come to its end.
func (w *world) calm() {
	well := func(int) int { return 0 }
	if w.drained || w.gone {
		for range 3000 {
			if w.gone || w.reason != "" {
				break
			}
			if !w.calmStep(well, 0) {
				w.tickOn()
			}
		}
		if w.reason != "" {
			return
		}
		clear(w.quarant)
		w.boot()
	}
	for _, id := range w.open() {
		if w.choose(2) == 1 {
			w.confirm(id, true)
		}
	}
	w.choose = well
	for i := range 3000 {
		if w.reason != "" {
			return
		}
		switch {
		case w.calmStep(well, i):
		case !w.waiting && len(w.open()) > 0:
			w.waiting = true
			w.agentIdles()
			w.queued = nil
			w.step(attached{})
		case w.busyCalls():
			w.tickOn()
		default:
			w.judge()
			return
		}
	}
	w.problem("the world does not come to rest")
}

// calmStep ends something that is under way, well. It reports whether there was any.
func (w *world) calmStep(well func(int) int, i int) bool {
	switch {
	case len(w.queued) > 0:
		e := w.queued[0]
		w.queued = w.queued[1:]
		w.step(received{e})
	case len(w.sends) > 0:
		w.endSend(well)
	case len(w.ops) > 0:
		w.endOp(well)
	case len(w.runs) > 0 && i%5 < 3:
		w.moveRun(w.runOf(i))
	default:
		return false
	}
	return true
}

// runOf chooses another call's run each time, and then the good way.
func (w *world) runOf(i int) func(int) int {
	first := true
	return func(n int) int {
		if first {
			first = false
			return i % n
		}
		return 0
	}
}

func (w *world) busyCalls() bool {
	return w.ledger.owed() > 0 || len(w.runs) > 0
}

// judge checks that each call has its one accepted result, or a reason why not.
func (w *world) judge() {
	for id, c := range w.api {
		switch {
		case c.dead || c.elsewise || w.over:
		case !c.allowed && w.ledger.byID[id] != nil && w.ledger.byID[id].state == held:
		case c.answered && c.accepts == 1:
		case w.quarant[id] || w.ledger.isKept(id):
		case w.ledger.byID[id] != nil && w.ledger.byID[id].state == foreign:
		case w.behindEnd(id):
		default:
			w.problem("invariant 2: %s has no result and no reason", id)
		}
	}
}

// behindEnd reports whether an ended turn lies after the call: what it left open
// is nobody's any more. The world makes no such turns but by an empty list.
func (w *world) behindEnd(id string) bool {
	i := slices.IndexFunc(w.log, func(e upstream.Event) bool { return e.ID == id })
	return slices.ContainsFunc(w.log[i:], func(e upstream.Event) bool {
		return e.Type == upstream.TypeIdle && e.StopReason != upstream.StopRequiresAction
	})
}

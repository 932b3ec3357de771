package loop

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	"toolhand/internal/upstream"
)

// world is everything around a ledger, in fake time: the API with its log, the
// journal, the tools. A source of choices says what happens next and which way
// it goes wrong. After each step the checker looks at everything.
type world struct {
	choose func(n int) int // 0 <= choose(n) < n; 0 is the harmless way
	set    Settings
	tools  map[string]*registry.Tool

	now    time.Time
	ledger *ledger
	wake   time.Time
	life   int // counts crashes
	ids    int

	// The API.
	log    []upstream.Event
	api    map[string]*apiCall
	over   bool
	queued []upstream.Event // on the wire to the worker
	poison map[string]int   // refusals left of a call's results
	// A proxy between the API and the worker, and what other sessions do.
	firewall map[string]bool // it refuses what these calls' tools gave
	silent   map[string]int  // how often a call was sent without a word of the API
	passed   int64           // sends accepted, of all sessions
	waiting  bool

	// What is under way, as the ledger gave it out.
	runs     map[string]*worldRun
	ops      []pendingOp
	sends    [][]upstream.Answer // at most one
	journal  map[string]journal.Entry
	revision uint64

	// What the checker remembers.
	begun    map[string]int
	contents map[string][]string // the different contents sent for a call
	doubt    map[string]bool     // sent with an unknown outcome, not settled since
	answered map[string]int
	dropped  map[string]bool
	quarant  map[string]bool
	reason   Reason
	drained  bool // this life takes no new calls
	gone     bool // and has ended
	problems []string
	trace    []string
}

type apiCall struct {
	event    upstream.Event
	answered bool
	dead     bool // interrupted, or denied
	denied   bool
	allowed  bool // it needs no permission, or has it
	elsewise bool // answered by another client
	content  string
	accepts  int
}

// worldRun is the run of a call, as far as the ledger can tell.
type worldRun struct {
	call     run.Call
	end      run.End // what is known so far
	starting bool    // a write of its start is under way
	handling bool    // the handler has it
	stopped  error
	told     bool // its deadline has passed, and the ledger knows
	left     bool // its next attempt is left to others
}

// pendingOp is a journal operation or read under way.
type pendingOp struct {
	finish *finish
	forget *forget
	read   *readHistory
	seen   int // of the log when the read began
	find   bool
}

func testTool(name string, idempotent bool, deadline time.Duration) *registry.Tool {
	t, err := registry.NewTool(registry.Manifest{Name: name, Idempotent: idempotent, Deadline: deadline,
		DeadlineText: deadline.String(), Handler: handlerFunc(echo)})
	if err != nil {
		panic(err)
	}
	return t
}

// queueTool is a tool whose calls outlive the worker.
func queueTool(name string, deadline time.Duration) *registry.Tool {
	t := testTool(name, false, deadline)
	t.Handler = resumer{handlerFunc(echo)}
	return t
}

type resumer struct{ handlerFunc }

func (r resumer) Resume(ctx context.Context, c tools.Call) (tools.Result, error) {
	return r.handlerFunc(ctx, c)
}

func newWorld(choose func(int) int) *world {
	w := &world{
		choose: choose, now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
		tools: map[string]*registry.Tool{
			"pay":  testTool("pay", false, 10*time.Second),
			"long": testTool("long", false, 60*time.Second),
			"look": testTool("look", true, 20*time.Second),
			"job":  queueTool("job", 30*time.Second),
		},
		api: map[string]*apiCall{}, poison: map[string]int{}, journal: map[string]journal.Entry{},
		begun: map[string]int{}, contents: map[string][]string{}, answered: map[string]int{},
		dropped: map[string]bool{}, quarant: map[string]bool{},
		firewall: map[string]bool{}, silent: map[string]int{},
	}
	w.set = Settings{Session: "s", Owner: "w", Linger: 250 * time.Millisecond, Reconcile: 5 * time.Minute,
		Lookup: func(name string) (*registry.Tool, bool) { t, ok := w.tools[name]; return t, ok }}
	w.boot()
	return w
}

// boot starts a life of the worker.
func (w *world) boot() {
	w.life++
	w.set.Owner = fmt.Sprintf("life%d", w.life)
	w.ledger = newLedger(w.set)
	w.answered = map[string]int{}
	w.runs, w.ops, w.sends, w.doubt = map[string]*worldRun{}, nil, nil, map[string]bool{}
	w.queued, w.drained, w.gone = nil, false, false
	var entries []journal.Entry
	for _, e := range w.journal {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b journal.Entry) int { return int(a.Revision) - int(b.Revision) })
	w.step(recovered{entries})
	w.step(attached{})
}

func (w *world) problem(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

// step lets the deadlines that have passed have their answers, gives the ledger an
// input, and checks everything.
func (w *world) step(in Input) {
	w.passDeadlines()
	wasOver := w.ledger.over
	if w.take(in); !wasOver {
		w.check()
	}
}

// take gives the ledger an input, and does what it says as far as that is
// instantaneous.
func (w *world) take(in Input) {
	w.trace = append(w.trace, fmt.Sprintf("%s %T%+v", w.now.Format("05.000"), in, in))
	outs, wake := w.ledger.Step(w.now, in)
	w.wake = wake
	for _, out := range outs {
		w.trace = append(w.trace, fmt.Sprintf("      -> %T", out))
		w.perform(out)
	}
}

func (w *world) perform(out Output) {
	switch out := out.(type) {
	case give:
		if w.runs[out.call.ID] != nil {
			w.problem("%s is run twice at once", out.call.ID)
		}
		if w.drained {
			w.problem("%s is run while draining", out.call.ID)
		}
		w.mayRun(out.call.ID)
		w.runs[out.call.ID] = &worldRun{call: out.call}
	case stop:
		w.stop(out.id, out.cause)
	case takeBack:
		if r := w.runs[out.id]; r != nil {
			if r.left = true; r.handling {
				return
			}
		}
		w.stop(out.id, errDrained)
	case finish:
		w.ops = append(w.ops, pendingOp{finish: &out})
	case forget:
		w.ops = append(w.ops, pendingOp{forget: &out})
	case readHistory:
		w.ops = append(w.ops, pendingOp{read: &out, seen: len(w.log)})
	case findPrimary:
		w.ops = append(w.ops, pendingOp{find: true})
	case send:
		w.performSend(out)
	case answered:
		w.answered[out.report.ID]++
		if w.answered[out.report.ID] > 1 {
			w.problem("%s is reported answered twice", out.report.ID)
		}
	case dropped:
		w.dropped[out.report.ID] = true
	case quarantine:
		w.quarant[out.report.ID] = true
	case end:
		if out.reason != ReasonDrained {
			w.reason = out.reason
			return
		}
		if w.gone = true; len(w.runs) > 0 {
			w.problem("drained, and %d calls run", len(w.runs))
		}
	}
}

func (w *world) stop(id string, cause error) {
	r := w.runs[id]
	if r == nil {
		w.problem("stop of %s, which does not run", id)
		return
	}
	if r.stopped == nil {
		r.stopped = cause
	}
}

// passDeadlines lets each run whose deadline has passed say so: what does not end with
// it goes on.
func (w *world) passDeadlines() {
	for _, id := range w.runIDs() {
		r := w.runs[id]
		if r.told || r.stopped != nil || w.now.Before(r.call.Deadline) {
			continue
		}
		r.told, r.stopped = true, run.ErrDeadline
		end := r.end
		end.Answer, end.Err, end.GoesOn = run.AnswerLate(r.call.Def, nil), run.ErrDeadline, r.handling || r.starting
		if !end.GoesOn {
			delete(w.runs, id)
		}
		w.take(ran{id, end})
	}
}

// runIDs are the calls that run, in order.
func (w *world) runIDs() []string { return slices.Sorted(maps.Keys(w.runs)) }

// mayRun checks that the call has its permission.
func (w *world) mayRun(id string) {
	if c := w.api[id]; c != nil && !c.allowed {
		w.problem("invariant 11: %s is started or answered without its permission", id)
	}
}

// handler gives a call to its handler.
func (w *world) handler(id string, r *worldRun) {
	r.handling, r.end.Handled, r.end.Away = true, true, nil
	w.mayRun(id)
	if r.call.Resume {
		if _, ok := w.journal[id]; !ok || r.call.Def.Name != "job" {
			w.problem("%s is resumed, and was never started", id)
		}
		return
	}
	w.begun[id]++
	if !r.call.Def.Idempotent {
		if w.begun[id] > 1 {
			w.problem("invariant 1: %s is run %d times", id, w.begun[id])
		}
		if e, ok := w.journal[id]; !ok || e.Finished {
			w.problem("%s is run without its start in the journal", id)
		}
	}
	if c := w.api[id]; c == nil {
		w.problem("%s is run, and the API never named it", id)
	}
}

func (w *world) performSend(s send) {
	if len(w.sends) > 0 {
		w.problem("two sends at once")
	}
	seen := map[string]bool{}
	for _, a := range s.answers {
		c := w.ledger.byID[a.CallID]
		if w.api[a.CallID] == nil {
			w.problem("an answer for %s, which is no call", a.CallID)
		}
		if seen[a.CallID] {
			w.problem("%s is twice in one batch", a.CallID)
		}
		seen[a.CallID] = true
		w.mayRun(a.CallID)
		if w.doubt[a.CallID] {
			w.problem("%s is sent again while its fate is open", a.CallID)
		}
		if e, ok := w.journal[a.CallID]; (!ok || !e.Finished) && c != nil && w.now.Before(c.finishedAt.Add(writeGrace)) {
			w.problem("%s is sent before its result is in the journal", a.CallID)
		}
		// Only what the journal holds is the same for ever: a result that could
		// not be written is lost with its life.
		text := string(a.Content)
		if e := w.journal[a.CallID]; e.Finished && string(e.Content) == text && !slices.Contains(w.contents[a.CallID], text) {
			w.contents[a.CallID] = append(w.contents[a.CallID], text)
		}
	}
	w.sends = append(w.sends, s.answers)
}

// check looks at everything after a step.
func (w *world) check() {
	if !w.wake.IsZero() && !w.wake.After(w.now) && w.reason == "" {
		w.problem("wake %s is not after now: the loop would spin", w.wake.Sub(w.now))
	}
	for _, c := range w.ledger.calls {
		if (c.state == pending || c.state == running) && !w.now.Before(c.deadline) && w.reason == "" && !w.gone && !w.stops(c.id) && !w.ledger.forgetting(c.id) {
			w.problem("invariant 4: %s is %s at its deadline", c.id, c.state)
		}
		if a := w.api[c.id]; c.state == held && (a.allowed && a.event.Permission == "" || a.denied && a.event.Permission == upstream.PermissionDeny) {
			w.problem("invariant 11: %s is held, and waits for nothing", c.id)
		}
		if c.alive != (w.runs[c.id] != nil) {
			w.problem("%s: alive is %t and it is not so", c.id, c.alive)
		}
		if c.state.open() && w.reason == "" && w.wake.IsZero() && !w.underWay() && !w.drained && w.ledger.turn.attached {
			w.problem("%s is %s, and nothing will wake it", c.id, c.state)
		}
	}
	if len(w.ledger.byID) != len(w.ledger.calls) {
		w.problem("the ledger's index is off: %d and %d", len(w.ledger.byID), len(w.ledger.calls))
	}
	for id, texts := range w.contents {
		// The second may be the short error in the place of a refused result.
		if len(texts) > 2 || len(texts) == 2 && w.poison[id] == 0 && !w.replaceable(id) {
			w.problem("invariant 3: %s was sent with %d different results", id, len(texts))
		}
	}
	for id, c := range w.api {
		if c.accepts > 1 {
			w.problem("invariant 2: %s has %d accepted results", id, c.accepts)
		}
	}
}

// stops reports whether a run was stopped, and ends when its write to the journal does.
func (w *world) stops(id string) bool {
	r := w.runs[id]
	return r != nil && r.stopped != nil && !r.told
}

// replaceable reports whether a short error may be sent in the place of a call's
// result because it does not get through to the API.
func (w *world) replaceable(id string) bool { return w.silent[id] >= loneTries }

func (w *world) underWay() bool {
	return len(w.ops) > 0 || len(w.sends) > 0 || len(w.runs) > 0
}

var errWorld = errors.New("it went wrong")

// newEvent puts an event in the log and on the wire, or only in the log.
func (w *world) newEvent(e upstream.Event, wire bool) {
	w.now = w.now.Add(time.Millisecond)
	w.ids++
	if e.ID == "" {
		e.ID = fmt.Sprintf("e%d", w.ids)
	}
	if e.ProcessedAt.IsZero() {
		e.ProcessedAt = w.now
	}
	w.log = append(w.log, e)
	if e.Type == upstream.TypeCall {
		c := &apiCall{event: e, allowed: e.Permission == "" || e.Permission == upstream.PermissionAllow}
		c.denied = e.Permission == upstream.PermissionDeny
		c.dead = c.denied
		w.api[e.ID] = c
	}
	if wire {
		w.queued = append(w.queued, e)
	}
}

func (w *world) open() []string {
	var ids []string
	for _, e := range w.log {
		if c := w.api[e.ID]; c != nil && !c.answered && !c.dead {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// accept takes a batch, all or none, as the API does.
func (w *world) accept(batch []upstream.Answer) bool {
	for _, a := range batch {
		c := w.api[a.CallID]
		if w.over || c == nil || c.answered || c.dead || !c.allowed {
			return false
		}
		if w.poison[a.CallID] > 0 {
			return false
		}
	}
	for _, a := range batch {
		c := w.api[a.CallID]
		c.answered, c.content = true, string(a.Content)
		c.accepts++
		w.newEvent(upstream.Event{Type: upstream.TypeResult, CallID: a.CallID}, w.choose(4) != 3)
	}
	return true
}

func okResult(id string) tools.Result { return content.Text("result of " + id) }

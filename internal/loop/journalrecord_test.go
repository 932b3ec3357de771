package loop

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/run"
	"toolhand/internal/tools"
)

// record is what is seen of a worker from outside, whatever it remembers itself:
// which tools were started and what they said, what the store was given. What an
// invariant forbids at any time is a problem the moment that it happens.
type record struct {
	o *outside

	mu     sync.Mutex
	calls  map[string]*seen
	order  []string
	looks  time.Time // when the last answered look at the history had begun
	cutoff time.Time // the last interrupt
}

// seen is all that is known of one call.
type seen struct {
	id, tool   string
	idempotent bool
	deadline   time.Duration
	made       time.Time
	poisoned   bool
	elsewhere  bool
	runs       []*run1
	starts     map[int]bool // lives whose start is in the store
	results    []string     // that the store was given, one after another
	given      time.Time    // when it was given the last
	doubt      time.Time    // when a send of it began whose outcome is not known
	doubtful   bool
	reports    []run.Outcome
}

// run1 is one run of a tool.
type run1 struct {
	life         int
	text         string
	begun, ended time.Time
	deadline     time.Time
}

func newRecord(o *outside) *record { return &record{o: o, calls: map[string]*seen{}} }

func (r *record) made(c *seen) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.made, c.starts = time.Now(), map[int]bool{}
	r.calls[c.id] = c
	r.order = append(r.order, c.id)
}

// run enters a run, unless its process is dead.
func (r *record) run(l *life, call tools.Call) *run1 {
	accepted := r.o.accepted(call.ID)
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.isDead() {
		return nil
	}
	c := r.calls[call.ID]
	n := len(c.runs) + 1
	run := &run1{life: l.n, text: call.ID + " run " + string(rune('0'+n)), begun: time.Now(), deadline: call.Deadline}
	c.runs = append(c.runs, run)
	r.o.trace("life %d runs %s (%s)", l.n, call.ID, c.tool)
	switch {
	case c.idempotent:
	case n > 1:
		r.o.problem("invariant 1: %s is started %d times", c.id, n)
	case !c.starts[l.n]:
		r.o.problem("invariant 1: %s is started, and its start is not in the store", c.id)
	}
	if len(c.results) > 0 {
		r.o.problem("invariant 3: %s is run again, and its result is in the store", c.id)
	}
	if accepted && !c.elsewhere {
		r.o.problem("invariant 3: %s is run, and its result was accepted", c.id)
	}
	return run
}

func (r *record) stopped(run *run1) {
	r.mu.Lock()
	defer r.mu.Unlock()
	run.ended = time.Now()
}

// started enters what became of a start in the store.
func (r *record) started(l *life, e journal.Entry, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.calls[e.Call]
	if err == nil {
		c.starts[l.n] = true
	}
	if err == nil && len(c.starts) > 1 {
		r.o.problem("invariant 8: %s is started by lives %v", c.id, c.starts)
	}
}

// finished enters a result that the store was given.
func (r *record) finished(e journal.Entry, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.calls[e.Call]
	if err != nil {
		r.o.problem("the store takes no result of %s: %v", e.Call, err)
		return
	}
	text := saidBy(e.Content)
	if n := len(c.results); n > 0 && c.results[n-1] != text && !c.poisoned {
		r.o.problem("invariant 3: the result of %s was %q and is made %q", c.id, c.results[n-1], text)
	}
	if len(c.results) == 0 || c.results[len(c.results)-1] != text {
		c.results, c.given = append(c.results, text), time.Now()
	}
}

// forgetting checks that nobody waits for calls whose entries are dropped.
func (r *record) forgetting(l *life, ids []string) {
	open := r.o.session.Open()
	for _, id := range ids {
		if slices.Contains(open, id) {
			r.o.problem("invariant 2: life %d drops the entry of %s, which is not answered", l.n, id)
		}
	}
}

// sending checks that a result whose last send may have arrived is not sent
// again before the history was looked at.
func (r *record) sending(l *life, ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		c := r.calls[id]
		if c.doubtful && !r.looks.After(c.doubt) && !l.isDead() {
			r.o.problem("life %d sends %s again, and its last send may have arrived", l.n, id)
		}
		if n := len(c.runs); n > 0 && len(c.results) == 0 && !l.isDead() {
			run := c.runs[n-1]
			if now := time.Now(); !run.ended.IsZero() && now.Before(run.ended.Add(writeGrace)) && now.Before(run.deadline) {
				r.o.problem("invariant 3: life %d sends %s before its result is in the store", l.n, id)
			}
		}
		c.doubt, c.doubtful = time.Now(), true
	}
	if len(ids) > 0 {
		r.o.trace("life %d sends %v", l.n, ids)
	}
}

// sent enters the end of a send. Where its outcome is not known it counts as
// under way until now.
func (r *record) sent(ids []string, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		r.calls[id].doubtful = !known
		r.calls[id].doubt = time.Now()
	}
}

// looked enters an answered look at the history that began at a time.
func (r *record) looked(begun time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looks = later(r.looks, begun)
}

func (r *record) report(l *life, p run.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.calls[p.ID]; c != nil && !l.isDead() {
		c.reports = append(c.reports, p.Outcome)
	}
}

func saidBy(content []byte) string {
	var blocks []struct{ Text string }
	if json.Unmarshal(content, &blocks) != nil || len(blocks) != 1 {
		return string(content)
	}
	return blocks[0].Text
}

// judge checks each call when all is over.
func (r *record) judge() {
	open := r.o.session.Open()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range r.order {
		c := r.calls[id]
		res, ok := r.o.session.Result(id)
		switch {
		case ok && c.elsewhere:
		case ok:
			r.judgeResult(c, res.Text(), res.At)
		case slices.Contains(open, id):
			if !c.poisoned || !slices.Contains(c.reports, run.Quarantined) {
				r.o.problem("invariant 2: %s is open, and nothing says why (%v)", id, c.reports)
			}
		case c.made.After(r.cutoff):
			r.o.problem("invariant 2: %s has no result and was not interrupted", id)
		}
		for _, run := range c.runs {
			if run.ended.After(run.deadline) && !strings.HasPrefix(c.tool, "deaf") {
				r.o.problem("invariant 4: %s ran until %s after its deadline", id, run.ended.Sub(run.deadline))
			}
		}
	}
	for _, refused := range r.o.session.Refusals() {
		for _, id := range refused.Calls {
			if res, ok := r.o.session.Result(id); ok && res.Request < refused.Request && !r.calls[id].elsewhere {
				r.o.problem("invariant 2: %s is sent again, and was accepted", id)
			}
		}
	}
}

// restarted is what the answer says for a call that a dead process had started.
const restarted = "was interrupted by a worker restart: its outcome is unknown"

// judgeResult checks that an accepted result is one that may be.
func (r *record) judgeResult(c *seen, text string, at time.Time) {
	// A result that the store did not take in time was sent all the same, and
	// the process died: the next one writes its own answer over the start, and
	// then finds in the history that the call is answered.
	late := len(c.results) == 1 && strings.Contains(c.results[0], restarted) && at.Before(c.given)
	if len(c.results) > 0 && !slices.Contains(c.results, text) && !late {
		r.o.problem("invariant 3: the store has %q of %s, and accepted is %q", c.results, c.id, text)
	}
	if len(c.results) > 1 && !c.poisoned {
		r.o.problem("invariant 3: %s has results %q", c.id, c.results)
	}
	said := ""
	for _, run := range c.runs {
		if strings.Contains(text, run.text) {
			said = run.text
		}
	}
	switch {
	case said != "":
	case strings.Contains(text, restarted):
		if len(c.starts) == 0 || c.idempotent {
			r.o.problem("%s is answered with %q, and no start of it was written", c.id, text)
		}
	case strings.Contains(text, "did not finish within its deadline"):
	case strings.Contains(text, "handler panicked") && len(c.runs) > 0:
	case strings.Contains(text, "the API refused its result") && c.poisoned:
	default:
		r.o.problem("%s is answered with %q", c.id, text)
	}
}

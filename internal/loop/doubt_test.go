package loop

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/testkit"
	"toolhand/internal/upstream"
)

// doubter is a ledger whose journal was damaged, stepped by hand.
type doubter struct {
	t     *testing.T
	l     *ledger
	now   time.Time
	tools map[string]*registry.Tool
	outs  []Output // all so far
}

func newDoubter(t *testing.T, doubt bool) *doubter {
	d := &doubter{t: t, now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), tools: map[string]*registry.Tool{
		"pay": testTool("pay", false, time.Minute), "look": testTool("look", true, time.Minute), "job": queueTool("job", time.Minute),
	}}
	d.l = newLedger(Settings{Session: "s", Owner: "o", Doubt: doubt, IgnoreUnknown: true,
		Lookup: func(name string) (*registry.Tool, bool) { t, ok := d.tools[name]; return t, ok }})
	return d
}

func (d *doubter) step(in Input) {
	outs, _ := d.l.Step(d.now, in)
	d.outs = append(d.outs, outs...)
}

// reads answers the read that is under way.
func (d *doubter) reads(events ...upstream.Event) {
	d.t.Helper()
	if !d.l.reading.busy {
		d.t.Fatal("no read is under way")
	}
	d.step(history{seq: d.l.reading.seq, events: events})
}

func (d *doubter) queued(id string) (n int) {
	for _, o := range d.outs {
		if g, ok := o.(give); ok && g.call.ID == id {
			n++
		}
	}
	return n
}

// runs checks that a call is run, once.
func (d *doubter) runs(id string) {
	d.t.Helper()
	if n := d.queued(id); n != 1 {
		d.t.Errorf("%s is run %d times, want once", id, n)
	}
}

// unknown checks that a call is not run, and answered as unknown (invariant 1).
func (d *doubter) unknown(id string) {
	d.t.Helper()
	c := d.l.byID[id]
	if c == nil || c.state != finished || c.answer.Outcome != run.UnknownOutcome || !strings.Contains(string(c.answer.Result.Content), "its outcome is unknown") {
		d.t.Errorf("%s is %+v, want an unknown outcome", id, c)
	}
	if n := d.queued(id); n != 0 {
		d.t.Errorf("invariant 1: %s is run", id)
	}
}

func callAt(id, tool string, at time.Time) upstream.Event {
	return upstream.Event{Type: upstream.TypeCall, ID: id, Name: tool, Input: []byte(`{}`), ProcessedAt: at}
}

// What the API's clock says of a call has no say in whether it is doubted.
func TestDoubtGoesByNoClock(t *testing.T) {
	for _, ahead := range []time.Duration{0, -time.Second, time.Second, -48 * time.Hour, 48 * time.Hour, -50 * 365 * 24 * time.Hour, 50 * 365 * 24 * time.Hour} {
		t.Run(fmt.Sprint(ahead), func(t *testing.T) {
			d := newDoubter(t, true)
			at := d.now.Add(ahead)
			d.step(attached{})
			d.step(received{callAt("live0", "pay", at)})
			d.reads(callAt("old", "pay", at), callAt("oldjob", "job", at), callAt("oldlook", "look", at), callAt("live0", "pay", at))
			d.step(received{callAt("live", "pay", at)})
			d.unknown("old")
			d.unknown("oldjob")
			d.runs("oldlook")
			d.runs("live0")
			d.runs("live")
		})
	}
}

// Where a time of the API after the damage is known, only calls from before it are
// doubted, whatever this machine's clock shows.
func TestDoubtEndsAtATimeOfTheAPI(t *testing.T) {
	for _, ahead := range []time.Duration{0, -50 * 365 * 24 * time.Hour, 50 * 365 * 24 * time.Hour} {
		t.Run(fmt.Sprint(ahead), func(t *testing.T) {
			d := newDoubter(t, true)
			until := d.now.Add(ahead)
			d.l.set.DoubtUntil = until
			d.step(attached{})
			d.reads(callAt("older", "pay", until.Add(-time.Nanosecond)), callAt("then", "pay", until),
				callAt("younger", "pay", until.Add(time.Nanosecond)), callAt("untimed", "pay", time.Time{}))
			d.unknown("older")
			d.unknown("then")
			d.runs("younger")
			d.unknown("untimed")
		})
	}
}

// Only what comes live is told of: the history has events from before the damage.
func TestLiveTimesAreTold(t *testing.T) {
	var mu sync.Mutex
	var told []time.Time
	r := newRig(t, func(o *options) {
		o.lateStart = true
		o.live = func(at time.Time) { mu.Lock(); defer mu.Unlock(); told = append(told, at) }
	})
	r.echo("pay")
	r.session.CallTool("pay", `{}`)
	r.session.RequireAction()
	before := len(r.session.History())
	r.start()
	r.attach()
	testkit.Eventually(r.t, "a live event", func() bool { mu.Lock(); defer mu.Unlock(); return len(told) > 0 })
	var live []time.Time
	for _, e := range r.session.History()[before:] {
		live = append(live, e.ProcessedAt)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, at := range told {
		if !slices.ContainsFunc(live, at.Equal) {
			t.Errorf("%s is told, which is no time of a live event: %v", at, live)
		}
	}
}

// Only the first read looks at what was before: what a later one finds came while
// the session was served, and was missed.
func TestDoubtEndsWithTheFirstRead(t *testing.T) {
	d := newDoubter(t, true)
	d.step(attached{})
	d.reads()
	d.step(attached{})
	d.reads(callAt("missed", "pay", d.now))
	d.runs("missed")
}

func TestNoDoubtWithoutDamage(t *testing.T) {
	d := newDoubter(t, false)
	d.step(attached{})
	d.reads(callAt("old", "pay", d.now))
	d.runs("old")
}

// A name that is not known at the first read may have been one of ours when the
// call was started.
func TestDoubtOutlivesAReload(t *testing.T) {
	d := newDoubter(t, true)
	d.step(attached{})
	d.reads(callAt("old", "late", d.now))
	d.step(received{callAt("live", "late", d.now)})
	d.tools["late"] = testTool("late", false, time.Minute)
	d.step(reloaded{})
	d.reads(callAt("old", "late", d.now), callAt("live", "late", d.now))
	d.unknown("old")
	d.runs("live")
}

// An entry's times are by the clock of whoever wrote it: wherever they lie, a
// resumed call has at most its tool's deadline from now, and a result that waits
// for others waits no longer (invariants 4 and 5).
func TestRecoveredDeadlinesHaveACeiling(t *testing.T) {
	for _, ahead := range []time.Duration{0, time.Second, 30 * time.Second, time.Minute, time.Hour, 50 * 365 * 24 * time.Hour, -time.Hour} {
		d := newDoubter(t, false)
		entry := func(id, tool string, done bool) journal.Entry {
			return journal.Entry{Session: "s", Call: id, Tool: tool, Owner: "earlier", Finished: done, Outcome: string(run.OK),
				Received: d.now.Add(ahead), Deadline: d.now.Add(ahead)}
		}
		d.step(recovered{[]journal.Entry{entry("job", "job", false), entry("done", "pay", true), entry("gone", "nobody", true)}})
		want := min(max(ahead, resumeGrace), time.Minute)
		if got := d.l.byID["job"].deadline.Sub(d.now); got != want {
			t.Errorf("%s: a resumed call has %s, want %s", ahead, got, want)
		}
		for id, limit := range map[string]time.Duration{"done": time.Minute, "gone": unknownDeadline} {
			if got := d.l.byID[id].deadline.Sub(d.now); got > limit {
				t.Errorf("%s: the result %s may wait for %s", ahead, id, got)
			}
		}
		for _, c := range d.l.calls {
			if r := c.report(d.now, c.answer.Outcome); r.Duration < 0 {
				t.Errorf("%s: %s lasts %s", ahead, c.id, r.Duration)
			}
		}
	}
	// A deadline that is shorter than the time to look for a result stands.
	d := newDoubter(t, false)
	d.tools["job"] = queueTool("job", time.Second)
	d.step(recovered{[]journal.Entry{{Session: "s", Call: "job", Tool: "job", Deadline: d.now.Add(-time.Hour)}}})
	if got := d.l.byID["job"].deadline.Sub(d.now); got != time.Second {
		t.Errorf("a resumed call has %s, want its tool's second", got)
	}
}

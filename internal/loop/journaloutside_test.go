package loop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/sim"
)

// outside is everything outside of the worker's process, which outlives it: the
// API, the store, the tools' effects. A plan says what goes wrong where.
type outside struct {
	t       *testing.T
	store   *store
	sim     *sim.Server
	session *sim.Session
	net     *pipes
	web     *http.Server
	record  *record
	tools   []registry.Manifest
	slots   int
	plan    func(point) fate
	down    func(life int) time.Duration // how long the worker is down after a life
	reopen  func(life int) bool          // whether the server is started anew too

	stop chan struct{}
	done sync.WaitGroup

	mu       sync.Mutex
	calm     bool           // guarded by mu; nothing goes wrong any more
	life     *life          // guarded by mu; the last one
	lives    []*life        // guarded by mu
	problems []string       // guarded by mu
	lines    []string       // guarded by mu; the trace
	ids      int            // guarded by mu
	tally    map[string]int // guarded by mu; what went wrong, and how often
}

// specs are the tools. Their handler is each life's own.
func specs() []registry.Manifest {
	spec := func(name string, idempotent bool, deadline time.Duration) registry.Manifest {
		return registry.Manifest{Name: name, Idempotent: idempotent, Deadline: deadline, DeadlineText: deadline.String()}
	}
	return []registry.Manifest{
		spec("pay", false, 10*time.Second), spec("long", false, 60*time.Second),
		spec("look", true, 20*time.Second), spec("deaf", false, 5*time.Second),
	}
}

// newOutside makes a world whose session is named id. close must be called.
func newOutside(t *testing.T, s *store, id string) *outside {
	o := &outside{t: t, store: s, net: newPipes(), tools: specs(), stop: make(chan struct{}),
		plan: func(point) fate { return fate{} }, down: func(int) time.Duration { return time.Second },
		reopen: func(int) bool { return false }, tally: map[string]int{}}
	o.sim = sim.New(sim.Options{})
	o.session = o.sim.NewSession(sim.SessionSpec{ID: id})
	o.record = newRecord(o)
	o.web = &http.Server{Handler: o.sim.Handler()}
	o.done.Go(func() {
		if err := o.web.Serve(o.net); !errors.Is(err, http.ErrServerClosed) {
			o.problem("%v", err)
		}
	})
	return o
}

// serve boots life after life.
func (o *outside) serve() {
	o.begin(1)
	o.done.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-o.last().died:
			case <-o.stop:
				return
			}
			select {
			case <-time.After(max(time.Millisecond, o.down(n))):
			case <-o.stop:
				return
			}
			if o.reopen(n) {
				o.store.close()
				o.store.open()
			}
			o.begin(n + 1)
		}
	})
}

func (o *outside) begin(n int) {
	l := o.boot(n)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.life = l
	o.lives = append(o.lives, l)
}

func (o *outside) last() *life {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.life
}

// close ends everything, and checks that each life has ended soon after it was
// told to.
func (o *outside) close() {
	o.mu.Lock()
	o.calm = true
	o.mu.Unlock()
	close(o.stop)
	o.last().die()
	for _, l := range o.lives {
		begun := later(time.Now(), l.diedAt)
		select {
		case <-l.joined:
		case <-time.After(time.Minute):
			o.problem("invariant 5: life %d is still served", l.n)
		}
		if d := time.Since(begun); d > run.JoinGrace+time.Second {
			o.problem("invariant 5: life %d ended %s after its death", l.n, d)
		}
		l.wg.Wait()
		l.web.CloseIdleConnections()
	}
	o.sim.Close()
	o.web.Close()
	o.done.Wait()
}

// fateOf asks the plan, as long as it is not calm.
func (o *outside) fateOf(p point) fate {
	o.mu.Lock()
	calm := o.calm
	o.mu.Unlock()
	if calm {
		return fate{}
	}
	f := o.plan(p)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tally[fmt.Sprintf("%s %s", p.op, f.how)]++
	if f.interrupt != never {
		o.tally[fmt.Sprintf("%s %s", p.op, f.interrupt)]++
	}
	return f
}

func (o *outside) trace(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = append(o.lines, time.Now().Format("04:05.000 ")+fmt.Sprintf(format, args...))
}

func (o *outside) problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	o.trace("PROBLEM %s", text)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.problems = append(o.problems, text)
}

// accepted reports whether the API has a result of a call.
func (o *outside) accepted(call string) bool {
	_, ok := o.session.Result(call)
	return ok
}

// call lets the agent call a tool.
func (o *outside) call(tool string, do task) string {
	o.mu.Lock()
	o.ids++
	c := &seen{id: fmt.Sprintf("%s_%d", strings.Replace(o.session.ID(), "sesn", "sevt", 1), o.ids), tool: tool}
	o.mu.Unlock()
	for _, s := range o.tools {
		if s.Name == tool {
			c.idempotent, c.deadline = s.Idempotent, s.Deadline
		}
	}
	o.record.made(c)
	input, err := json.Marshal(do)
	if err != nil {
		o.t.Fatal(err)
	}
	o.trace("agent calls %s %s %s", tool, c.id, input)
	o.session.Call(sim.CallSpec{Name: tool, ID: c.id, Input: input})
	return c.id
}

// poison makes the API refuse a call's result for good.
func (o *outside) poison(id string) {
	o.record.mu.Lock()
	o.record.calls[id].poisoned = true
	o.record.mu.Unlock()
	o.session.Poison(id, http.StatusBadRequest)
}

// ask ends the agent's part of the turn: it waits for what is open.
func (o *outside) ask() {
	if open := o.session.Open(); len(open) > 0 {
		o.trace("agent waits for %v", open)
		o.session.RequireAction(open...)
	}
}

func (o *outside) interrupt() {
	o.record.mu.Lock()
	o.record.cutoff = time.Now()
	o.record.mu.Unlock()
	o.trace("the user interrupts")
	if err := o.session.Interrupt(""); err != nil {
		o.problem("%v", err)
	}
}

// elsewhere lets another client answer a call.
func (o *outside) elsewhere(id string) {
	o.record.mu.Lock()
	defer o.record.mu.Unlock()
	if err := o.session.Answer(id, "elsewhere"); err == nil {
		o.record.calls[id].elsewhere = true
		o.trace("%s is answered elsewhere", id)
	}
}

// watch lets time pass and looks at the worker meanwhile (invariant 4).
func (o *outside) watch(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(min(time.Second, time.Until(end)))
		l := o.last()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		st, ok := l.served.Status(ctx)
		cancel()
		if l.isDead() {
			continue
		}
		if !ok {
			o.problem("invariant 5: life %d does not tell its status", l.n)
		}
		for _, c := range st.Calls {
			if (c.State == pending.String() || c.State == running.String()) && time.Since(c.Deadline) > 0 {
				o.problem("invariant 4: %s is %s %s after its deadline", c.ID, c.State, time.Since(c.Deadline))
			}
		}
	}
}

// waiting are the calls that wait for an answer of ours and are not set aside.
func (o *outside) waiting() (ids []string) {
	o.record.mu.Lock()
	defer o.record.mu.Unlock()
	for _, id := range o.session.Open() {
		if c := o.record.calls[id]; !c.poisoned || len(c.reports) == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// entries are what the store holds of the session.
func (o *outside) entries() []journal.Entry {
	found, err := o.store.journal().Recover(context.Background(), o.session.ID(), nil)
	if err != nil {
		o.problem("the store can't be read: %v", err)
	}
	return found
}

// rest lets nothing go wrong any more, waits until all is quiet, and judges.
func (o *outside) rest() {
	o.mu.Lock()
	o.calm = true
	o.mu.Unlock()
	o.trace("calm")
	o.ask()
	for begun := time.Now(); len(o.waiting()) > 0; o.watch(time.Second) {
		if time.Since(begun) > 5*time.Minute {
			o.problem("invariant 5: after 5 minutes of calm %v wait for an answer", o.waiting())
			break
		}
	}
	o.watch(time.Second)
	o.probe()
	o.leftovers()
	o.record.judge()
}

// probe is a turn in the calm: it must go as if nothing had been (invariants 4
// and 6).
func (o *outside) probe() {
	o.watch(10 * time.Second) // what was under way at the calm may still kill
	for begun := time.Now(); o.last().isDead(); time.Sleep(time.Second) {
		if time.Since(begun) > 5*time.Minute {
			o.problem("the worker stays down")
			return
		}
	}
	o.watch(15 * time.Second) // what is left of waits and attaches
	sends, begun := o.sim.Count(o.session.ID(), sim.Send), time.Now()
	o.call("pay", task{MS: 20})
	o.call("look", task{MS: 2000})
	last := o.call("pay", task{MS: 3000})
	o.ask()
	o.watch(4 * time.Second)
	if res, ok := o.session.Result(last); !ok || res.At.Sub(begun) != 3*time.Second {
		o.problem("invariant 4: the probe %s is answered (%t) after %s", last, ok, res.At.Sub(begun))
	}
	if n := o.sim.Count(o.session.ID(), sim.Send) - sends; n != 1 {
		o.problem("invariant 6: a turn costs %d sends", n)
	}
	begun = time.Now()
	slow := o.call("pay", task{MS: 30_000})
	o.ask()
	o.watch(11 * time.Second)
	if res, ok := o.session.Result(slow); !ok || res.At.Sub(begun) != 10*time.Second {
		o.problem("invariant 4: the probe %s is answered (%t) after %s, its deadline being 10s", slow, ok, res.At.Sub(begun))
	}
}

// leftovers checks that the store holds nothing but what is set aside.
func (o *outside) leftovers() {
	for range 10 {
		left := 0
		for _, e := range o.entries() {
			if e.Quarantined == "" {
				left++
			}
		}
		if left == 0 {
			break
		}
		o.watch(time.Second)
	}
	for _, e := range o.entries() {
		switch c := o.record.calls[e.Call]; {
		case e.Quarantined == "":
			o.problem("the entry of %s is left: finished %t, revision %d", e.Call, e.Finished, e.Revision)
		case !c.poisoned:
			o.problem("%s is set aside: %s", e.Call, e.Quarantined)
		}
	}
}

// failed tells what went wrong, and what had happened.
func (o *outside) failed() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.problems) == 0 {
		return ""
	}
	tail := o.lines[max(0, len(o.lines)-400):]
	return strings.Join(o.problems, "\n") + "\nafter:\n" + strings.Join(tail, "\n")
}

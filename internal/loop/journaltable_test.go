package loop

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"toolhand/internal/testkit"
)

// wrong is one way in which one write of one call goes wrong.
type wrong struct {
	tool      string
	op        string
	how       how
	dies      bool // the process dies before it could try again
	interrupt interrupt
	reopened  bool // the server is started anew with the next process
}

func (w wrong) String() string {
	s := fmt.Sprintf("%s/%s/%s", w.tool, w.op, w.how)
	if w.dies {
		s += "/and dies"
	}
	if w.interrupt != never {
		s += "/" + w.interrupt.String()
	}
	return strings.ReplaceAll(s, " ", "_")
}

// wrongs are all of them.
func wrongs() (all []wrong) {
	for _, tool := range []string{"pay", "look"} {
		for _, op := range []string{"start", "finish", "send", "forget"} {
			for h := lost; h <= diesAfter; h++ {
				for _, dies := range []bool{false, true} {
					for i := never; i <= afterDone; i++ {
						if tool == "look" && op == "start" || dies && h >= diesBefore || i == afterDone && h == diesBefore {
							continue // there is no such thing
						}
						all = append(all, wrong{tool: tool, op: op, how: h, dies: dies, interrupt: i, reopened: len(all)%4 == 3})
					}
				}
			}
		}
	}
	return all
}

// done reports whether the write takes place, and dead whether the process ends
// with it.
func (w wrong) done() bool { return w.how == persisted || w.how == doneAndHangs || w.how == diesAfter }
func (w wrong) dead() bool { return w.dies || w.how >= diesBefore }

// wants is what must come of it: how often the tool is started, and what the
// agent is told; empty: nothing, as it has interrupted.
func (w wrong) wants() (runs int, text string) {
	switch {
	case w.op == "start" && w.interrupt != never:
		return 0, ""
	case w.op == "start" && w.dead() && w.done():
		return 0, restarted
	case w.op == "finish" && w.interrupt != never:
		return 1, ""
	case w.op == "finish" && w.dead() && !w.done() && w.tool == "pay":
		return 1, restarted
	case w.op == "finish" && w.dead() && !w.done():
		return 2, "run 2"
	case w.op == "send" && w.interrupt != never && !(w.interrupt == afterDone && w.done()):
		return 1, ""
	}
	return 1, "run 1"
}

// TestInvariants1To6EveryWriteFailsTwice: each write of a call (its start, its
// finish, its send, its forget) is lost, or done and reported lost, at once or
// by a timeout; the process goes on, or dies and is started anew on the same
// store; the user interrupts meanwhile, or does not. All is real but the time:
// session, client, HTTP, journal, NATS server.
func TestInvariants1To6EveryWriteFailsTwice(t *testing.T) {
	all := wrongs()
	inStore(t, func(t *testing.T, s *store) {
		for i, w := range all {
			if !testkit.Full() && rand.IntN(3) > 0 {
				continue // a third of them, and others each time
			}
			o := newOutside(t, s, fmt.Sprintf("sesn_t%d", i))
			fired := make(chan struct{}, 1)
			o.plan = func(p point) fate {
				if p.life != 1 || p.op != w.op || p.n != 1 {
					return fate{}
				}
				fired <- struct{}{}
				f := fate{how: w.how, after: 50 * time.Millisecond, interrupt: w.interrupt}
				if w.dies {
					f.dies = 100 * time.Millisecond
				}
				return f
			}
			o.reopen = func(int) bool { return w.reopened }
			o.serve()
			o.watch(time.Second)
			id := o.call(w.tool, task{MS: 100})
			o.ask()
			o.watch(30 * time.Second)
			o.expect(id, w)
			o.rest()
			o.close()
			if len(fired) == 0 {
				o.problem("nothing went wrong")
			}
			if why := o.failed(); why != "" {
				t.Errorf("%s: %s", w, why)
			}
		}
	})
}

func (o *outside) expect(id string, w wrong) {
	runs, text := w.wants()
	o.record.mu.Lock()
	if n := len(o.record.calls[id].runs); n != runs {
		o.problem("the tool is started %d times, want %d", n, runs)
	}
	o.record.mu.Unlock()
	res, ok := o.session.Result(id)
	switch {
	case text == "" && ok:
		o.problem("the agent is told %q, and has interrupted", res.Text())
	case text != "" && !strings.Contains(res.Text(), text):
		o.problem("the agent is told %q, want %q", res.Text(), text)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if dead := len(o.lives) > 1; dead != w.dead() {
		o.t.Errorf("%s: there were %d lives", w, len(o.lives))
	}
}

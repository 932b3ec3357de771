package loop

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/registry"
	"toolhand/internal/sim"
	"toolhand/internal/sim/faults"
)

// Draining sends what is finished at once, lets run what runs, and takes nothing
// new.
func TestDrainLetsRunningCallsFinish(t *testing.T) {
	scenario(t, func(o *options) { o.slots = 1 }, func(t *testing.T, r *rig) {
		n := r.slow("slow", 10*time.Second)
		done := r.counted("a")
		finished := r.session.CallTool("a", `{}`)
		after(0)
		running := r.session.CallTool("slow", `{}`)
		after(0)
		waits := r.session.CallTool("slow", `{}`)
		r.session.RequireAction()
		after(time.Second)
		r.unanswered(finished) // its turn is not done
		r.served.Drain()
		begun := time.Now()
		r.answered(finished)
		if time.Since(begun) != 0 {
			t.Errorf("the finished result went out after %s", time.Since(begun))
		}
		late := r.session.CallTool("a", `{}`)
		r.over(ReasonDrained)
		if d := time.Since(begun); d != 9*time.Second {
			t.Errorf("drained after %s", d)
		}
		r.result(running)
		r.unanswered(waits, late)
		r.ran(n, 1)
		r.ran(done, 1)
		if r.slots.Held() != 0 || r.journal.Len() != 0 {
			t.Errorf("%d slots, %d entries", r.slots.Held(), r.journal.Len())
		}
	})
}

func TestDrainOfAQuietSessionEndsAtOnce(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		begun := time.Now()
		r.served.Drain()
		r.over(ReasonDrained)
		if time.Since(begun) != 0 {
			t.Errorf("drained after %s", time.Since(begun))
		}
	})
}

// Shutting down is never an answer: at the end of the grace the tool is stopped,
// and its call stays in the journal as started.
func TestShuttingDownIsNeverAnAnswer(t *testing.T) {
	scenario(t, func(o *options) { o.slots = 1 }, func(t *testing.T, r *rig) {
		n := r.slow("slow", time.Hour, deadline(2*time.Hour, "2h"))
		running := r.session.CallTool("slow", `{}`)
		after(0)
		waits := r.session.CallTool("slow", `{}`)
		r.session.RequireAction()
		after(time.Second)
		r.served.Drain()
		after(30 * time.Second)
		r.stays()
		r.stop()
		r.over(ReasonStopped)
		if !errors.Is(n.cause(), errDrained) {
			t.Errorf("the tool was stopped with %v", n.cause())
		}
		r.unanswered(running, waits)
		r.requests(sim.Send, 0)
		entries, err := r.journal.Recover(t.Context(), sessionID, nil)
		if err != nil || len(entries) != 1 || entries[0].Call != running || entries[0].Finished {
			t.Errorf("the journal holds %+v, %v", entries, err)
		}
	})
}

// A process that is stopped without a drain hands over the same.
func TestStopWithoutDrainIsNoAnswer(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		r.slow("slow", time.Hour, deadline(2*time.Hour, "2h"))
		id := r.session.CallTool("slow", `{}`)
		after(time.Second)
		r.stop()
		r.over(ReasonStopped)
		r.unanswered(id)
		if r.journal.Len() != 1 {
			t.Errorf("the journal holds %d entries", r.journal.Len())
		}
	})
}

// The next process answers for what ran, and never runs it again; what was not
// started is run for the first time.
func TestNextProcessRecovers(t *testing.T) {
	scenario(t, func(o *options) { o.slots = 1 }, func(t *testing.T, r *rig) {
		n := r.slow("slow", time.Minute)
		running := r.session.CallTool("slow", `{}`)
		after(0)
		waits := r.session.CallTool("slow", `{}`)
		r.session.RequireAction()
		after(time.Second)
		r.stop()
		r.over(ReasonStopped)

		cfg := r.served.cfg
		cfg.Owner = "another"
		r.served = New(cfg)
		r.start()
		r.answered(running, waits)
		if res := r.result(running); !res.IsError || res.Text() != `Tool "slow" was interrupted by a worker restart: its outcome is unknown` {
			t.Errorf("result %q", res.Text())
		}
		if res := r.result(waits); res.IsError {
			t.Errorf("result %q", res.Text())
		}
		after(time.Minute)
		r.ran(n, 2)
		if r.journal.Len() != 0 {
			t.Errorf("the journal holds %d entries", r.journal.Len())
		}
	})
}

// A result that could not be sent before the stop is sent by the next process,
// and not computed again (invariant 3).
func TestFinishedResultOutlivesTheSession(t *testing.T) {
	for _, accepted := range []bool{false, true} {
		name := map[bool]string{false: "not sent", true: "sent, but its answer was lost"}[accepted]
		t.Run(name, func(t *testing.T) {
			scenario(t, nil, func(t *testing.T, r *rig) {
				n := r.counted("a")
				r.sim.Arm(sim.Fault{Endpoint: sim.Stream, Times: -1, Do: faults.WithholdTypes("user.custom_tool_result")})
				r.session.CutStreams(false)
				after(2 * time.Second)
				do := sim.Refuse(503)
				if accepted {
					do = r.sim.HangAfter()
				}
				fault := r.sim.Arm(sim.Fault{Endpoint: sim.Send, Times: -1, Do: do})
				id := r.session.CallTool("a", `{"n":1}`)
				r.session.RequireAction()
				after(5 * time.Second)
				r.stop()
				r.over(ReasonStopped)
				fault.Disarm()
				sends := r.count(sim.Send)

				cfg := r.served.cfg
				cfg.Owner = "another"
				r.served = New(cfg)
				r.start()
				r.answered(id)
				after(time.Minute)
				if got := r.result(id).Text(); got != `{"n":1}` {
					t.Errorf("result %q", got)
				}
				r.ran(n, 1)
				if want := map[bool]int{false: 1, true: 0}[accepted]; r.count(sim.Send)-sends != want {
					t.Errorf("%d sends by the next process, want %d", r.count(sim.Send)-sends, want)
				}
				if r.journal.Len() != 0 {
					t.Errorf("the journal holds %d entries", r.journal.Len())
				}
			})
		})
	}
}

// A drain while sends fail goes on trying until the grace is over.
func TestDrainTriesUntilTheGraceIsOver(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		r.counted("a")
		r.sim.Arm(sim.Fault{Endpoint: sim.Send, Times: 3, Do: sim.Refuse(503)})
		id := r.session.CallTool("a", `{}`)
		after(100 * time.Millisecond)
		r.served.Drain()
		r.over(ReasonDrained)
		r.result(id)
	})
}

// broken is a journal whose bucket is gone, from when it is told so.
type broken struct {
	journal.Memory
	gone atomic.Bool
}

var errNoBucket = errors.New("the bucket is gone")

func (b *broken) Start(ctx context.Context, e journal.Entry) (uint64, error) {
	if b.gone.Load() {
		return 0, errNoBucket
	}
	return b.Memory.Start(ctx, e)
}

func (b *broken) Finish(ctx context.Context, e journal.Entry) (uint64, error) {
	if b.gone.Load() {
		return 0, errNoBucket
	}
	return b.Memory.Finish(ctx, e)
}

func (b *broken) Forget(ctx context.Context, session string, calls ...string) error {
	if b.gone.Load() {
		return errNoBucket
	}
	return b.Memory.Forget(ctx, session, calls...)
}

func (b *broken) Recover(ctx context.Context, session string, have []journal.Entry) ([]journal.Entry, error) {
	if b.gone.Load() {
		return nil, errNoBucket
	}
	return b.Memory.Recover(ctx, session, have)
}

// A drain does not wait for a journal that is gone where nothing runs: neither
// before the session is attached, nor for entries that can't be dropped, nor for
// starts that can't be written.
func TestDrainWithoutAJournal(t *testing.T) {
	t.Run("not attached", func(t *testing.T) {
		b := &broken{}
		b.gone.Store(true)
		scenario(t, func(o *options) { o.journal, o.lateStart = b, true }, func(t *testing.T, r *rig) {
			r.start()
			after(10 * time.Second)
			begun := time.Now()
			r.served.Reload()
			r.served.Drain()
			r.over(ReasonDrained)
			if took := time.Since(begun); took > time.Second {
				t.Errorf("drained after %s", took)
			}
		})
	})
	t.Run("entries stay", func(t *testing.T) {
		b := &broken{}
		scenario(t, func(o *options) { o.journal = b }, func(t *testing.T, r *rig) {
			n := r.slow("slow", 10*time.Second)
			id := r.session.CallTool("slow", `{}`)
			r.session.RequireAction()
			after(time.Second)
			b.gone.Store(true)
			r.answered(id)
			after(time.Minute)
			begun := time.Now()
			r.served.Drain()
			r.over(ReasonDrained)
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("drained after %s", took)
			}
			r.ran(n, 1)
		})
	})
	t.Run("not started", func(t *testing.T) {
		b := &broken{}
		scenario(t, func(o *options) { o.journal = b }, func(t *testing.T, r *rig) {
			n := r.slow("slow", 10*time.Second)
			b.gone.Store(true)
			id := r.session.CallTool("slow", `{}`)
			r.session.RequireAction()
			after(5 * time.Second)
			begun := time.Now()
			r.served.Drain()
			r.over(ReasonDrained)
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("drained after %s", took)
			}
			r.ran(n, 0)
			r.unanswered(id)
		})
	})
}

// A journal that fails for a moment is asked again while the worker drains: the
// start of a call that did not run is taken back.
func TestDrainAsksTheJournalAgain(t *testing.T) {
	b := &broken{}
	scenario(t, func(o *options) { o.journal = b }, func(t *testing.T, r *rig) {
		a := r.away(&away{}, registry.Manifest{Retry: registry.Retry{Attempts: 2, Backoff: 30 * time.Second}})
		id := r.session.CallTool("a", `{}`)
		r.session.RequireAction()
		after(time.Second)
		b.gone.Store(true)
		r.served.Drain()
		after(500 * time.Millisecond)
		b.gone.Store(false)
		r.over(ReasonDrained)
		if b.Len() != 0 || a.tries.Load() != 1 {
			t.Errorf("%d entries, %d tries", b.Len(), a.tries.Load())
		}
		r.unanswered(id)
	})
}

package run

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/circuit"
	"toolhand/internal/loop/slots"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

type handlerFunc func(ctx context.Context, c tools.Call) (tools.Result, error)

func (f handlerFunc) Call(ctx context.Context, c tools.Call) (tools.Result, error) { return f(ctx, c) }

func newTool(t *testing.T, spec registry.Manifest) *registry.Tool {
	t.Helper()
	spec.Name, spec.Deadline, spec.DeadlineText = "x", time.Minute, "1m"
	if spec.Handler == nil {
		spec.Handler = handlerFunc(func(context.Context, tools.Call) (tools.Result, error) { return content.Text("done"), nil })
	}
	tool, err := registry.NewTool(spec)
	if err != nil {
		t.Fatal(err)
	}
	return tool
}

// writes is a journal whose starts fail so many times, and take so long.
type writes struct {
	fails, done int
	err         error
	takes       time.Duration
	began       func()
}

func (w *writes) Start(ctx context.Context, e journal.Entry) (uint64, error) {
	if w.began != nil {
		w.began()
	}
	time.Sleep(w.takes)
	if w.fails--; w.fails >= 0 {
		return 0, w.err
	}
	w.done++
	return 7, nil
}

// rig is a runner in fake time, and the ends that it tells.
type rig struct {
	Runner
	ends chan End
}

func newRig(j Starter) *rig {
	return &rig{Runner{Slots: slots.New(1), Journal: j, Log: slog.New(slog.DiscardHandler)}, make(chan End, 2)}
}

// start starts a call whose deadline is a minute away.
func (r *rig) start(ctx context.Context, tool *registry.Tool) *Run {
	now := time.Now()
	c := Call{Def: tool, Received: now, Call: tools.Call{ID: "c", Tool: "x", Session: "s", Input: json.RawMessage(`{}`), Deadline: now.Add(time.Minute)}}
	if !tool.Idempotent {
		c.Entry = &journal.Entry{Session: "s", Call: "c"}
	}
	run := r.Queue(ctx, c, func(e End) { r.ends <- e })
	go run.Do()
	return run
}

var errInterrupt = errors.New("interrupted")

// A run that is stopped is seen to be at each step of its way, and says what it began.
func TestStopBetweenTheSteps(t *testing.T) {
	never := func(ctx context.Context, _ tools.Call) (tools.Result, error) {
		<-ctx.Done()
		return tools.Result{}, context.Cause(ctx)
	}
	away := func(context.Context, tools.Call) (tools.Result, error) {
		return tools.Result{}, &tools.UnavailableError{Err: errors.New("away"), Passing: true}
	}
	for name, c := range map[string]struct {
		full    bool // no slot is free
		journal *writes
		handler handlerFunc
		want    End
	}{
		"slot":          {full: true, journal: &writes{}},
		"start":         {journal: &writes{takes: 3 * time.Second}, want: End{MayStand: true, Started: true, Revision: 7}},
		"failing start": {journal: &writes{fails: 1000, err: errors.New("disk")}, want: End{MayStand: true}},
		"handler":       {journal: &writes{}, handler: never, want: End{MayStand: true, Started: true, Revision: 7, Handled: true, Phases: Phases{Run: time.Second}}},
		"between two attempts": {journal: &writes{}, handler: away,
			want: End{MayStand: true, Started: true, Revision: 7, Handled: true, Away: errors.New("away")}},
	} {
		for how, stop := range map[string]func(*Run){
			"stop": func(r *Run) { r.Stop(errInterrupt) }, "take back": (*Run).TakeBack, "hand over": (*Run).HandOver,
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := *c.journal
					r := newRig(&w)
					if c.full {
						slot, err := r.Slots.Acquire(t.Context(), "other", "y", slots.Limit{})
						if err != nil {
							t.Fatal(err)
						}
						defer slot.Release()
					}
					run := r.start(t.Context(), newTool(t, registry.Manifest{Handler: c.handler}))
					time.Sleep(time.Second)
					synctest.Wait()
					stop(run)
					ended := how == "stop" || how == "take back" && name != "handler" || how == "hand over" && c.want.Away != nil
					if !ended {
						run.Stop(errInterrupt)
					}
					end := <-r.ends
					if want := map[bool]error{true: tools.ErrLeft, false: errInterrupt}[ended && how != "stop"]; !errors.Is(end.Err, want) || end.GoesOn || end.Outcome != "" {
						t.Errorf("ended with %+v, want %v", end, want)
					}
					if late := string(end.Late.Result.Content); !strings.Contains(late, "deadline of 1m") && !strings.Contains(late, "away") ||
						name == "failing start" && !strings.Contains(late, "can't be written: disk") {
						t.Errorf("at its deadline it would be answered with %s", late)
					}
					w1, w2 := c.want, end
					if w1.MayStand != w2.MayStand || w1.Started != w2.Started || w1.Revision != w2.Revision ||
						w1.Handled != w2.Handled || w1.Phases.Run != w2.Phases.Run || (w1.Away == nil) != (w2.Away == nil) {
						t.Errorf("began %+v, want %+v", end, c.want)
					}
					if n := r.Slots.Held(); n > 1 || n == 1 && !c.full {
						t.Errorf("%d slots are held", n)
					}
				})
			})
		}
	}
}

// At its deadline a call has its answer wherever it is, and what goes on is told when it
// ends.
func TestDeadlineAtEachStep(t *testing.T) {
	deaf := func(context.Context, tools.Call) (tools.Result, error) {
		time.Sleep(70 * time.Second)
		return content.Text("too late"), nil
	}
	for name, c := range map[string]struct {
		full    bool
		journal *writes
		handler handlerFunc
		want    string
		goesOn  time.Duration // after the deadline
	}{
		"slot":          {full: true, journal: &writes{}, want: `Tool "x" did not finish within its deadline of 1m`},
		"failing start": {journal: &writes{fails: 1000, err: errors.New("disk"), takes: 10 * time.Millisecond}, want: `it was not started, because the worker's journal can't be written: disk`},
		"silent start":  {journal: &writes{takes: 63 * time.Second}, want: `the worker's journal can't be written: it has not answered yet`, goesOn: 3 * time.Second},
		"deaf handler":  {journal: &writes{}, handler: deaf, want: `Tool "x" did not finish within its deadline of 1m`, goesOn: 10 * time.Second},
		"between two attempts": {journal: &writes{}, want: `Tool "x" is unavailable: away`, handler: func(context.Context, tools.Call) (tools.Result, error) {
			return tools.Result{}, &tools.UnavailableError{Err: errors.New("away"), Passing: true}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(c.journal)
				if c.full {
					slot, err := r.Slots.Acquire(t.Context(), "other", "y", slots.Limit{})
					if err != nil {
						t.Fatal(err)
					}
					defer slot.Release()
				}
				begun := time.Now()
				r.start(t.Context(), newTool(t, registry.Manifest{Handler: c.handler}))
				end := <-r.ends
				if text := string(end.Result.Content); !strings.Contains(strings.ReplaceAll(text, `\"`, `"`), c.want) || !end.Own {
					t.Errorf("answered with %s, want %s", text, c.want)
				}
				// What can't be done before the deadline any more is not waited for.
				if d := time.Since(begun); d > time.Minute || d < 58*time.Second || end.GoesOn != (c.goesOn > 0) {
					t.Errorf("answered after %s; it goes on: %t", d, end.GoesOn)
				}
				if end.GoesOn {
					if end = <-r.ends; end.GoesOn || time.Since(begun) != time.Minute+c.goesOn {
						t.Errorf("%+v after %s", end, time.Since(begun))
					}
				}
			})
		})
	}
}

// The slot of the process is free at the deadline, whatever the handler does; that of
// the tool when the handler has ended, or 15 s later.
func TestDeafHandlerGivesItsSlots(t *testing.T) {
	for takes, free := range map[time.Duration]time.Duration{65 * time.Second: 65 * time.Second, time.Hour: 75 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(nil)
			deaf := newTool(t, registry.Manifest{Idempotent: true, Concurrency: 1, Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
				time.Sleep(takes)
				return content.Text(""), nil
			})})
			begun := time.Now()
			r.start(t.Context(), deaf)
			<-r.ends
			synctest.Wait()
			if n := r.Slots.Held(); n != 0 || time.Since(begun) != time.Minute {
				t.Errorf("%d slots of the process are held after %s", n, time.Since(begun))
			}
			if _, err := r.Slots.Acquire(t.Context(), "s", deaf.LimitName(), LimitOf(deaf)); err != nil || time.Since(begun) != free {
				t.Errorf("the tool's slot was free after %s, want %s: %v", time.Since(begun), free, err)
			}
			<-r.ends
		})
	}
}

// The check of an input ends at the call's deadline, with the deadline and not with
// an answer of its own, and gives the call's place back.
func TestCheckEndsAtTheDeadline(t *testing.T) {
	parts := strings.Repeat(`{"type":"string"},`, 30)
	tool := newTool(t, registry.Manifest{InputSchema: json.RawMessage(
		`{"type":"object","properties":{"a":{"items":{"anyOf":[` + parts + `{"type":"number"}]}}}}`)})
	input := json.RawMessage(`{"a":[1` + strings.Repeat(`,1`, 40_000) + `]}`)
	r := newRig(nil)
	run := r.Queue(t.Context(), Call{Def: tool, Call: tools.Call{ID: "c", Tool: "x", Input: input, Deadline: time.Now()}}, func(e End) { r.ends <- e })
	run.Do()
	end := <-r.ends
	if end.GoesOn {
		end = <-r.ends
	}
	if !errors.Is(end.Err, ErrDeadline) || end.Outcome != Deadline {
		t.Errorf("ended with %+v", end)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	slot, err := r.Slots.Acquire(ctx, "s", "x", LimitOf(tool))
	if err != nil {
		t.Fatalf("the place was kept: %v", err)
	}
	slot.Release()
}

// slowLog is a log whose warnings take as long as until does.
type slowLog struct {
	slog.Handler
	until func()
}

func (s slowLog) Enabled(_ context.Context, l slog.Level) bool { return l == slog.LevelWarn }
func (s slowLog) Handle(context.Context, slog.Record) error    { s.until(); return nil }

// The deadline passes between the handler's error and what is made of it: there is an
// answer all the same.
func TestHandlersErrorAtTheDeadline(t *testing.T) {
	for range 1000 {
		r := newRig(nil)
		r.Circuits = &circuit.Circuits{}
		for range circuit.Failures - 1 {
			r.Circuits.Failed("x", errors.New("away"), false)
		}
		var run *Run
		r.Log = slog.New(slowLog{slog.DiscardHandler, func() { <-run.ctx.Done() }})
		tool := newTool(t, registry.Manifest{Idempotent: true, Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
			return tools.Result{}, &tools.UnavailableError{Err: errors.New("away")}
		})})
		now := time.Now()
		run = r.Queue(t.Context(), Call{Def: tool, Received: now, Call: tools.Call{ID: "c", Tool: "x", Session: "s", Input: []byte("{}"), Deadline: now.Add(time.Millisecond)}},
			func(e End) { r.ends <- e })
		go run.Do()
		end := <-r.ends
		if end.Outcome == "" {
			t.Fatalf("no answer at the deadline: %+v", end)
		}
		if end.GoesOn {
			<-r.ends
		}
	}
}

// silentAt is a journal that refuses each start at once, and from a time on is silent.
type silentAt struct{ at time.Time }

func (s *silentAt) Start(ctx context.Context, _ journal.Entry) (uint64, error) {
	if time.Now().Before(s.at) {
		return 0, errors.New("disk")
	}
	<-ctx.Done()
	return 0, ctx.Err()
}

// No try to write a start begins at the deadline: the answer would wait for it.
func TestNoStartBeginsAtTheDeadline(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			r := newRig(&silentAt{begun.Add(time.Minute)})
			r.start(t.Context(), newTool(t, registry.Manifest{}))
			end := <-r.ends
			if d := time.Since(begun); d > time.Minute {
				t.Fatalf("answered after %s", d)
			}
			if end.GoesOn {
				<-r.ends
			}
		})
	}
}

// A call that stands in the row for its second attempt is handed over at once.
func TestHandOverInTheRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tool := newTool(t, registry.Manifest{Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
			return tools.Result{}, &tools.UnavailableError{Err: errors.New("away"), Passing: true}
		})})
		drain := make(chan struct{})
		r := newRig(nil)
		once := Once{Runner: r.Runner, Lookup: func(string) (*registry.Tool, bool) { return tool, true }, Drain: drain}
		done := make(chan error, 1)
		go func() {
			_, err := once.Call(t.Context(), tools.Call{ID: "c", Tool: "x", Session: "s", Input: []byte("{}")})
			done <- err
		}()
		synctest.Wait()
		slot, err := r.Slots.Acquire(t.Context(), "other", "y", slots.Limit{})
		if err != nil {
			t.Fatal(err)
		}
		defer slot.Release()
		time.Sleep(time.Second)
		close(drain)
		begun := time.Now()
		var over *HandedOverError
		if err := <-done; !errors.As(err, &over) || time.Since(begun) > 0 {
			t.Errorf("after %s: %v", time.Since(begun), err)
		}
	})
}

// channelLock is a lock that one waits for in fake time.
type channelLock chan struct{}

func (c channelLock) Lock()   { c <- struct{}{} }
func (c channelLock) Unlock() { <-c }

// Two calls are stopped at once: the second does not begin in the slot that the first
// gives back before it is stopped itself.
func TestGateHoldsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(channelLock, 1)
		r := newRig(&writes{})
		r.Gate = gate
		begun := 0
		tool := newTool(t, registry.Manifest{Handler: handlerFunc(func(ctx context.Context, _ tools.Call) (tools.Result, error) {
			begun++
			<-ctx.Done()
			return tools.Result{}, context.Cause(ctx)
		})})
		first := r.start(t.Context(), tool)
		synctest.Wait()
		second := r.start(t.Context(), tool)
		synctest.Wait()
		gate.Lock()
		first.Stop(errInterrupt)
		synctest.Wait()
		second.Stop(errInterrupt)
		gate.Unlock()
		<-r.ends
		<-r.ends
		if begun != 1 {
			t.Errorf("%d calls began, want the first alone", begun)
		}
	})
}

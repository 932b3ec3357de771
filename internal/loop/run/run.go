package run

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"toolhand/internal/journal"
	"toolhand/internal/loop/circuit"
	"toolhand/internal/loop/slots"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
)

const (
	// slotGrace is how long a handler that ignores its context keeps its tool's slot
	// after it was told to stop. It is longer than a process tree can take to be
	// killed.
	slotGrace = 15 * time.Second
	// journalTimeout bounds one try to write a start.
	journalTimeout = 5 * time.Second
	// journalRetry is how long it takes until the next.
	journalRetry = 500 * time.Millisecond
)

// Runner is what calls run with. It may be used by many goroutines.
type Runner struct {
	Slots *slots.Slots
	// Circuits know which tools can't be reached; nil: no call is kept from trying.
	Circuits *circuit.Circuits
	// Journal is told of starts. It is needed by calls with an entry.
	Journal Starter
	// Gate is held by who stops several runs, so that none of them begins in the slot
	// that another gives back; nil: nobody does.
	Gate sync.Locker
	Log  *slog.Logger
	// Jitter spreads a wait; nil leaves it as it is.
	Jitter func(time.Duration) time.Duration
}

// Starter writes that a call starts. It succeeds for one owner only: any other gets
// [journal.ErrOwned]. With any other error the entry may or may not stand.
type Starter interface {
	Start(ctx context.Context, e journal.Entry) (revision uint64, err error)
}

// Call is a call that is to be run.
type Call struct {
	tools.Call
	Def      *registry.Tool // in force when it was received
	Received time.Time
	// Entry is written to the journal before the handler has the call; nil: nothing
	// is.
	Entry *journal.Entry
	// Resume says that an earlier process started it: only its result is waited for.
	Resume bool
}

// An End is what a run has come to.
type End struct {
	// Answer is the call's; without an outcome there is none, and Err says why: the
	// cause with which the run was stopped, or [journal.ErrOwned].
	Answer
	Err error
	// Late is what the call is answered with where its deadline passes before somebody
	// else runs it. It is set where there is an Err.
	Late Answer
	// Away is why the last attempt could not reach the tool, or lost its answer, where
	// another one was to follow.
	Away error
	// Started says that the journal has the call's entry, with this revision;
	// otherwise it may have it where MayStand is set.
	Started, MayStand bool
	Revision          uint64
	// Handled says that the handler had the call, and Phases what its time went into.
	Handled bool
	Phases  Phases
	// GoesOn says that the handler, or the write to the journal, goes on all the same:
	// its end is told too.
	GoesOn bool
}

// MayRunAgain reports whether a run that was stopped left the call to another one: it
// surely did not run, or may run twice.
func (e End) MayRunAgain() bool { return e.Outcome == "" && (!e.Handled || e.Away != nil) }

// phase is what a run does.
type phase uint8

const (
	waiting  phase = iota // for its slot, or between two attempts
	checking              // its input
	starting              // writes to the journal
	handling              // the handler has it
)

// Run is a call on its way. Its methods may be called by any goroutine.
type Run struct {
	Runner
	call  Call
	tell  func(End)
	ctx   context.Context // ends at the deadline, or with the cause that the run is stopped for
	stop  context.CancelCauseFunc
	free  func()        // of ctx
	bound chan struct{} // closed when the end of ctx was told

	// Owned by Do.
	ticket   *slots.Ticket
	attempts int
	waits    *backoff.ExponentialBackOff // nil: there was one attempt at most

	mu       sync.Mutex
	phase    phase       // guarded by mu
	since    time.Time   // guarded by mu; when the phase began
	slot     *slots.Slot // guarded by mu
	handOver bool        // guarded by mu; no attempt follows this one
	end      End         // guarded by mu; what is known so far
	noStart  error       // guarded by mu; why its start is not written
}

// Queue gives a call its place in the row for a slot, and returns its run, on which
// [Run.Do] is to be called once. tell is told the end, twice where it goes on.
func (r Runner) Queue(ctx context.Context, c Call, tell func(End)) *Run {
	stopped, stop := context.WithCancelCause(ctx)
	bound, free := context.WithDeadlineCause(stopped, c.Deadline, ErrDeadline)
	a := &Run{Runner: r, call: c, tell: tell, ctx: bound, stop: stop, free: free, bound: make(chan struct{}), since: time.Now()}
	a.queue()
	return a
}

func (r *Run) queue() {
	r.ticket = r.Slots.Queue(r.call.Session, r.call.Def.LimitName(), LimitOf(r.call.Def))
}

// LimitOf is what bounds a tool's calls in this process.
func LimitOf(t *registry.Tool) slots.Limit {
	calls, per := t.Rate.Window()
	return slots.Limit{Concurrency: t.Concurrency, Calls: calls, Per: per}
}

// Stop ends the run, and its tool with it, for a cause. Its slot of the process is free
// at once, and that of its tool when nothing of it runs any more; a handler that
// ignores its context can't keep it for ever.
func (r *Run) Stop(cause error) { r.stop(cause) }

// HandOver leaves the next attempt to others: a run that waits for one, or would, ends
// with [tools.ErrLeft].
func (r *Run) HandOver() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.handOver = true; r.end.Handled && r.phase == waiting {
		r.stop(tools.ErrLeft)
	}
}

// TakeBack ends the run with [tools.ErrLeft] where the handler does not have it, and
// leaves the next attempt to others where it has.
func (r *Run) TakeBack() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.handOver = true; r.phase != handling {
		r.stop(tools.ErrLeft)
	}
}

// Handling reports whether the handler has the call.
func (r *Run) Handling() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.phase == handling
}

// Do goes the whole way. It returns when nothing of the run goes on any more.
func (r *Run) Do() {
	defer r.stop(nil)
	defer r.free()
	unbind := context.AfterFunc(r.ctx, r.atEnd)
	answer, err := r.line()
	if !unbind() {
		<-r.bound
	}
	end := r.ending(err)
	if err == nil {
		end.Answer = answer
	}
	r.tell(end)
}

// atEnd is called when the run's context ends: its slot becomes free, and at the
// deadline what may not end with the context is answered for.
func (r *Run) atEnd() {
	defer close(r.bound)
	r.mu.Lock()
	slot, waits := r.slot, r.phase == waiting
	r.mu.Unlock()
	if slot != nil {
		slot.ReleaseShared()
		time.AfterFunc(slotGrace, slot.Release)
	}
	if err := context.Cause(r.ctx); !waits && errors.Is(err, ErrDeadline) {
		end := r.ending(err)
		end.GoesOn = true
		r.tell(end)
	}
}

// ending is the end of a run with an error; nil: without one.
func (r *Run) ending(err error) End {
	r.mu.Lock()
	defer r.mu.Unlock()
	end := r.end
	end.Err = err
	end.Phases.add(r.phase, time.Since(r.since))
	switch {
	case err == nil:
		return end
	case r.noStart != nil:
		end.Late = unjournalled(r.call.Def, r.noStart)
	case r.phase == waiting:
		end.Late = AnswerLate(r.call.Def, end.Away)
	default:
		end.Late = AnswerLate(r.call.Def, nil)
	}
	if errors.Is(err, ErrDeadline) {
		end.Answer = end.Late
	}
	return end
}

// line is the way of a call through all attempts. An error says why there is no answer.
func (r *Run) line() (Answer, error) {
	if a, err := r.check(); a.Outcome != "" || err != nil {
		r.ticket.Leave()
		return a, err
	}
	for {
		a, wait, err := r.attempt()
		if wait == 0 {
			return a, err
		}
		if err := r.pause(wait); err != nil {
			return Answer{}, err
		}
		r.queue() // for the next attempt
	}
}

// attempt takes the call through its slot, its start and its handler. A wait says that
// another attempt follows.
func (r *Run) attempt() (a Answer, wait time.Duration, err error) {
	slot, err := r.ticket.Wait(r.ctx)
	if err != nil {
		return a, 0, err
	}
	r.hold(slot)
	defer slot.Release()
	if err := r.start(); err != nil {
		return a, 0, err
	}
	if err := r.hand(); err != nil {
		return a, 0, err
	}
	a, err = r.handle()
	r.handled()
	if err == nil || errors.Is(err, context.Cause(r.ctx)) {
		return a, 0, err
	}
	a, wait = r.again(err)
	return a, wait, nil
}

func (r *Run) hold(s *slots.Slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slot = s
}

// pause waits between two attempts, and holds no slot meanwhile.
func (r *Run) pause(wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

// start writes to the journal that the call starts, again and again until the deadline.
// A try that was begun is carried to its end, since its outcome matters: what ends the
// run meanwhile is seen afterwards.
func (r *Run) start() error {
	if r.call.Entry == nil || r.end.Started {
		return nil
	}
	for {
		if err := r.starts(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), journalTimeout)
		revision, err := r.Journal.Start(ctx, *r.call.Entry)
		cancel()
		r.started(revision, err)
		if err == nil || errors.Is(err, journal.ErrOwned) {
			return err
		}
		select {
		case <-time.After(journalRetry):
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		}
	}
}

func (r *Run) starts() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	r.move(starting)
	r.end.MayStand = true
	r.noStart = cmp.Or(r.noStart, errSilent)
	return nil
}

func (r *Run) started(revision uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.move(waiting)
	switch {
	case err == nil:
		r.end.Started, r.end.Revision, r.noStart = true, revision, nil
	case errors.Is(err, journal.ErrOwned):
		r.end.MayStand, r.noStart = false, nil // it is somebody else's entry
	default:
		r.noStart = err
	}
}

// hand gives the call to the handler, unless the run was stopped.
func (r *Run) hand() error {
	if r.Gate != nil {
		r.Gate.Lock()
		defer r.Gate.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	r.move(handling)
	r.end.Handled, r.end.Away = true, nil
	if r.attempts++; r.attempts == 1 { // of the next ones a line was told
		r.Log.LogAttrs(r.ctx, slog.LevelInfo, "call started", slog.String("tool", r.call.Def.Name), slog.String("call", r.call.ID),
			slog.Int("bytes", len(r.call.Input)), slog.Float64("waited_ms", milliseconds(time.Since(r.call.Received))))
	}
	return nil
}

func (r *Run) handled() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.move(waiting)
	r.slot = nil
}

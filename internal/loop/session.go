package loop

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/circuit"
	"toolhand/internal/loop/run"
	"toolhand/internal/loop/slots"
	"toolhand/internal/tools"
	"toolhand/internal/upstream"
)

// Config is what a session is served with. All fields without a default in their
// comment are required.
type Config struct {
	Settings
	Client *upstream.Client
	Slots  *slots.Slots
	// Circuits know which tools can't be reached; nil: no call is kept from
	// trying.
	Circuits *circuit.Circuits
	Journal  Journal
	// StopLeft stops what still runs of calls that another worker has started, or
	// says that it could not look for them: nothing is served before it could; nil:
	// nothing does. It is called before anything of them is answered.
	StopLeft func([]tools.Call) error
	Log      *slog.Logger
	// StreamIdle is how long a stream may be silent; zero means 90s.
	StreamIdle time.Duration
	// Report is told of each call that has ended; nil: nobody is.
	Report func(run.Report)
	// Live is told when the API has processed an event that comes live, by the API's
	// clock; nil: nobody is. It must return at once.
	Live func(processedAt time.Time)
}

// inputBuffer is how many inputs may wait for the session's goroutine, which
// never waits for anything itself.
const inputBuffer = 16

// sendGrace is how long a send that is under way when its session is over may
// still take: its outcome says whether the calls were answered.
const sendGrace = 2 * time.Second

// Session serves one session. Make it with [New].
type Session struct {
	cfg    Config
	inputs chan Input
	asks   chan chan Status
	closed chan struct{} // closed when Serve takes no more inputs
	leave  chan struct{} // closed by the first Drain
	left   sync.Once     // closes leave
	urgent atomic.Bool   // a call of ours is open
	last   atomic.Pointer[Status]
	stream streamState

	// Owned by serve.
	ledger   *ledger
	runner   run.Runner
	stopping sync.Mutex // the runner's gate
	running  map[string]*run.Run
	ctx      context.Context // ends with the session, or the grace
	lasting  context.Context // ctx without its end
	wg       sync.WaitGroup
}

// New makes a session that is not served yet.
func New(cfg Config) *Session {
	if cfg.StreamIdle <= 0 {
		cfg.StreamIdle = 90 * time.Second
	}
	cfg.Log = cfg.Log.With("session", cfg.Session)
	s := &Session{
		cfg: cfg, inputs: make(chan Input, inputBuffer), asks: make(chan chan Status),
		closed: make(chan struct{}), leave: make(chan struct{}), running: map[string]*run.Run{},
	}
	s.ledger = newLedger(cfg.Settings)
	s.runner = run.Runner{Slots: cfg.Slots, Circuits: cfg.Circuits, Journal: cfg.Journal, Gate: &s.stopping, Log: cfg.Log, Jitter: cfg.Jitter}
	return s
}

// Drain lets the session take no new calls, finish what runs and send what is
// finished; then Serve returns. It may be called at any time.
func (s *Session) Drain() {
	s.left.Do(func() { close(s.leave) })
	s.post(drain{})
}

// Reload tells the session that the set of tools has changed.
func (s *Session) Reload() { s.post(reloaded{}) }

// post hands an input to the session's goroutine. After the end it goes nowhere.
func (s *Session) post(in Input) {
	select {
	case s.inputs <- in:
	case <-s.closed:
	}
}

// Serve serves the session until it is over, quiet for long enough, drained, or
// ctx ends: then what runs is stopped, and stays in the journal as it is. It is
// called once. The goroutines it starts are:
//
//   - follow (stream.go): the event stream, until the end
//   - one a call (run), one a write of the journal (work), one a send, one a
//     read of the history: each reports back as an input, and ends
//
// All are joined before it returns, except handlers that ignore their context.
func (s *Session) Serve(ctx context.Context) Reason {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(errDrained)
	s.ctx, s.lasting = work, context.WithoutCancel(work)
	defer s.panicked(cancel)
	if reason := s.recover(ctx); reason != "" {
		s.finish(cancel, reason)
		return reason
	}
	s.spawn(func() { s.follow(work) })
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	stopped := ctx.Done()
	for {
		var in Input
		select {
		case in = <-s.inputs:
		case <-timer.C:
			in = tick{}
		case ask := <-s.asks:
			ask <- s.status()
			continue
		case <-stopped:
			in, stopped = abandon{}, nil
		}
		outs, wake := s.next(in)
		reason := s.perform(outs)
		s.urgent.Store(s.ledger.owed() > 0)
		if reason != "" {
			s.finish(cancel, reason)
			return reason
		}
		timer.Reset(untilWake(wake))
	}
}

// next is one step of the ledger.
func (s *Session) next(in Input) ([]Output, time.Time) {
	if r, ok := in.(ran); ok && !r.end.GoesOn {
		delete(s.running, r.id)
	}
	return s.ledger.Step(time.Now(), in)
}

// untilWake is how long to wait for a wake of the ledger; zero means that it
// asks for none, and an hour does no harm.
func untilWake(wake time.Time) time.Duration {
	if wake.IsZero() {
		return time.Hour
	}
	return max(0, time.Until(wake))
}

// recover takes in the journal's entries before anything else. Until they are
// known nothing is served: a call that the journal holds as started must not run
// again. It reports why the session ends where ctx does first, or where it is
// drained while the journal is read: nothing of it runs then.
func (s *Session) recover(ctx context.Context) Reason {
	wait := newBackoff()
	var entries []journal.Entry
	for fails := 0; ; fails++ {
		var err, left error
		done := make(chan struct{})
		bound, cancel := context.WithCancel(ctx)
		s.spawn(func() {
			defer close(done)
			if entries, err = s.cfg.Journal.Recover(bound, s.cfg.Session, entries); err == nil {
				left = s.stopLeft(entries)
			}
		})
		reason := s.waitAsked(ctx, done)
		cancel()
		<-done
		if reason != "" {
			return reason
		}
		if err == nil && left == nil {
			s.failed(nil)
			break
		}
		s.failed(cmp.Or(err, left))
		switch {
		case fails%10 != 0:
		case err != nil:
			s.cfg.Log.Error("the journal can't be read; nothing is served before it can", "error", err, "fails", fails+1, "read", len(entries))
		default:
			s.cfg.Log.Error("what another worker started may still run; nothing is served before that is known", "error", left, "fails", fails+1)
		}
		pause := make(chan struct{})
		timer := time.AfterFunc(wait.NextBackOff(), func() { close(pause) })
		if reason := s.waitAsked(ctx, pause); reason != "" {
			timer.Stop()
			return reason
		}
	}
	if len(entries) > 0 {
		s.cfg.Log.Info("recovering calls from the journal", "calls", len(entries))
		outs, _ := s.ledger.Step(time.Now(), recovered{entries})
		s.perform(outs)
		s.urgent.Store(s.ledger.owed() > 0)
	}
	return ""
}

// stopLeft stops what still runs of the calls that entries say were started.
func (s *Session) stopLeft(entries []journal.Entry) error {
	var left []tools.Call
	for _, e := range entries {
		if !e.Finished {
			left = append(left, tools.Call{ID: e.Call, Tool: e.Tool, Session: e.Session, Thread: e.Thread, Deadline: e.Deadline})
		}
	}
	if s.cfg.StopLeft == nil || len(left) == 0 {
		return nil
	}
	return s.cfg.StopLeft(left)
}

// waitAsked waits for done, and says meanwhile what the session is doing. It
// reports why the session ends where it is to end first.
func (s *Session) waitAsked(ctx context.Context, done <-chan struct{}) Reason {
	for {
		select {
		case <-done:
			return ""
		case <-ctx.Done():
			return ReasonStopped
		case <-s.leave:
			return ReasonDrained
		case ask := <-s.asks:
			ask <- s.status()
		}
	}
}

// finish joins what the session started: reports that still come are taken in,
// so that the journal is left as it should be.
func (s *Session) finish(cancel context.CancelCauseFunc, reason Reason) {
	last := func() Status {
		st := s.status()
		st.State = "ended: " + string(reason)
		if s.ledger.why != "" {
			st.State = "ended: " + s.ledger.why
		}
		return st
	}
	// What the joined have reported counts in the last status.
	defer func() {
		st := last()
		for _, c := range s.ledger.calls {
			if c.state.open() {
				s.cfg.Log.Warn("call left without an answer", "tool", c.name, "call", c.id, "state", c.state.String())
			}
		}
		s.last.Store(&st)
		close(s.closed)
	}()
	if reason == ReasonOver {
		cancel(errOver)
	} else {
		cancel(errDrained)
	}
	joined := s.joined()
	bound := time.NewTimer(run.JoinGrace)
	defer bound.Stop()
	for {
		select {
		case in := <-s.inputs:
			s.clean(in)
		case ask := <-s.asks:
			ask <- last()
		case <-joined:
			return
		case <-bound.C:
			s.cfg.Log.Error("handlers ignore that they were told to stop; left behind", "calls", s.ledger.alive())
			return
		}
	}
}

// clean takes in what reports back after the end. An entry that was written
// meanwhile for a session that is over is dropped again.
func (s *Session) clean(in Input) {
	outs, _ := s.ledger.Step(time.Now(), in)
	for _, out := range outs {
		f, ok := out.(forget)
		if !ok {
			s.tell(out)
			continue
		}
		ctx, cancel := s.journalContext()
		if err := s.cfg.Journal.Forget(ctx, s.cfg.Session, f.ids...); err != nil {
			s.cfg.Log.Warn("entries of a session that is over can't be dropped", "error", err)
		}
		cancel()
	}
}

// panicked ends what a session has started whose own goroutine panics, and lets
// the panic go on: nobody will read what the others report.
func (s *Session) panicked(cancel context.CancelCauseFunc) {
	p := recover()
	if p == nil {
		return
	}
	cancel(errDrained)
	s.last.Store(&Status{ID: s.cfg.Session, State: "ended: panic"})
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	joined := s.joined()
	bound := time.NewTimer(run.JoinGrace)
	defer bound.Stop()
	select {
	case <-joined:
	case <-bound.C:
	}
	panic(p)
}

// joined is closed when all that was spawned has ended.
func (s *Session) joined() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	return done
}

// spawn runs f beside the session, and lets the end wait for it.
func (s *Session) spawn(f func()) { s.wg.Go(f) }

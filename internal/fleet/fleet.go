package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"toolhand/internal/loop"
)

const (
	// reattachWait is how long a session that panicked stays detached.
	reattachWait = time.Second
	// joinGrace is how long sessions may take to end once they are stopped.
	joinGrace = 5 * time.Second
	// maxEnded is how many sessions that ended are still shown.
	maxEnded = 100
)

// Errors of Attach.
var (
	// ErrFull says that max_active sessions are served already.
	ErrFull = errors.New("as many sessions as sessions.max_active allows are served already")
	// ErrLeaving says that the session has been detached and has not ended yet.
	ErrLeaving = errors.New("being detached")
	// ErrDraining says that the worker shuts down.
	ErrDraining = errors.New("the worker shuts down")
)

// Session is what the fleet needs of a session; *loop.Session is one.
type Session interface {
	Serve(ctx context.Context) loop.Reason
	Drain()
	Reload()
	Status(ctx context.Context) (loop.Status, bool)
}

// Config is what a fleet is made with.
type Config struct {
	// New makes a session that is not served yet. A permanent one is never
	// detached for being quiet.
	New func(id string, permanent bool) Session
	// MaxActive bounds the sessions that are served at once; 0: no bound.
	MaxActive int
	// Ended is told of each session that ended, in a goroutine that must not wait. Nil:
	// nobody is.
	Ended func(loop.Status)
	Log   *slog.Logger
}

// Fleet is the set of sessions that are served. Make it with [New] and run
// Serve; the other methods may be called by any goroutine while it runs, and do
// nothing after.
type Fleet struct {
	cfg  Config // immutable
	cmds chan func()
	done chan struct{} // closed when Serve has ended

	// Owned by Serve.
	members  map[string]*member
	ended    []loop.Status          // the last maxEnded, oldest first
	settled  map[string]loop.Status // permanent ones that ended: as many as are configured
	exits    chan exit
	draining bool
	hard     context.Context
	intake   context.Context // ends with the drain: nothing is attached after
	close    context.CancelFunc
	wg       sync.WaitGroup
}

type member struct {
	session   Session
	by        string // why it is served
	permanent bool
	cancel    context.CancelFunc
	detached  bool // told to go: it does not come back
}

type exit struct {
	id     string
	member *member
	reason loop.Reason
	panic  string
}

// New makes a fleet without sessions.
func New(cfg Config) *Fleet {
	return &Fleet{cfg: cfg, cmds: make(chan func()), done: make(chan struct{}),
		members: map[string]*member{}, settled: map[string]loop.Status{}, exits: make(chan exit)}
}

// do runs a function in the owner's goroutine and waits for it. It does not run
// where the fleet or ctx has ended.
func (f *Fleet) do(ctx context.Context, run func()) {
	ran := make(chan struct{})
	select {
	case f.cmds <- func() { run(); close(ran) }:
		<-ran
	case <-f.done:
	case <-ctx.Done():
	}
}

// Attach serves a session from now on; by says why. One that is served already stays as
// it is: fresh is false then.
func (f *Fleet) Attach(ctx context.Context, id, by string, permanent bool) (fresh bool, err error) {
	err = ErrDraining
	f.do(ctx, func() { fresh, err = f.attach(id, by, permanent) })
	return fresh, err
}

func (f *Fleet) attach(id, by string, permanent bool) (fresh bool, err error) {
	switch m := f.members[id]; {
	case f.draining:
		return false, ErrDraining
	case m != nil && !m.detached:
		return false, nil
	case m != nil:
		return false, fmt.Errorf("session %s is %w: try again when it has ended", id, ErrLeaving)
	case f.cfg.MaxActive > 0 && len(f.members) >= f.cfg.MaxActive:
		return false, ErrFull
	}
	ctx, cancel := context.WithCancel(f.hard)
	m := &member{session: f.cfg.New(id, permanent), by: by, permanent: permanent, cancel: cancel}
	f.members[id] = m
	f.ended = slices.DeleteFunc(f.ended, func(s loop.Status) bool { return s.ID == id })
	delete(f.settled, id)
	f.wg.Go(func() {
		e := exit{id: id, member: m}
		defer func() {
			if p := recover(); p != nil {
				e.panic = fmt.Sprintf("%v\n%s", p, debug.Stack())
			}
			cancel()
			select {
			case f.exits <- e:
			case <-f.done:
			}
		}()
		e.reason = m.session.Serve(ctx)
	})
	return true, nil
}

// Detach ends the service of a session: what runs is finished and sent first. It
// reports whether the session was served.
func (f *Fleet) Detach(ctx context.Context, id string) bool {
	was := false
	f.do(ctx, func() {
		if m := f.members[id]; m != nil {
			was, m.detached = true, true
			// Beside the owner: a session takes its inputs in its own time.
			f.wg.Go(m.session.Drain)
		}
	})
	return was
}

// Reload tells all sessions that the set of tools has changed.
func (f *Fleet) Reload(ctx context.Context) {
	f.do(ctx, func() {
		for _, m := range f.members {
			f.wg.Go(m.session.Reload)
		}
	})
}

// Statuses returns a snapshot of all sessions by id, those that ended lately
// included, and those that ended although they are permanent. A session that does not say in time what it does is left out,
// and complete is false.
func (f *Fleet) Statuses(ctx context.Context) (all []loop.Status, complete bool) {
	var members []*member
	f.do(ctx, func() {
		all = slices.AppendSeq(slices.Clone(f.ended), maps.Values(f.settled))
		members = slices.Collect(maps.Values(f.members))
	})
	complete = true
	for _, m := range members {
		st, ok := m.session.Status(ctx)
		if !ok {
			complete = false
			continue
		}
		st.AttachedBy = m.by
		all = append(all, st)
	}
	slices.SortFunc(all, func(a, b loop.Status) int { return strings.Compare(a.ID, b.ID) })
	return all, complete
}

// Serve owns the fleet until drain ends, then lets what runs finish for the
// length of grace, stops the rest, and returns how many calls are left without
// an accepted answer. The end of hard stops everything at once. It is called
// once.
func (f *Fleet) Serve(drain, hard context.Context, grace time.Duration) (left int) {
	stop, cancel := context.WithCancel(hard)
	defer cancel()
	f.hard = stop
	f.intake, f.close = context.WithCancel(stop)
	defer f.close()
	defer close(f.done)
	draining, bound := drain.Done(), (<-chan time.Time)(nil)
	for !f.draining || len(f.members) > 0 {
		select {
		case run := <-f.cmds:
			run()
		case e := <-f.exits:
			left += f.exited(e)
		case <-draining:
			draining = nil
			f.drain()
			timer := time.NewTimer(grace)
			defer timer.Stop()
			bound = timer.C
		case <-bound:
			f.cfg.Log.Warn("the grace is over: stopping what still runs", "grace", grace.String(), "sessions", len(f.members))
			cancel()
			return left + f.join()
		case <-hard.Done():
			f.draining = true
			cancel()
			return left + f.join()
		}
	}
	f.wg.Wait()
	return left
}

// join takes in the exits of sessions that were stopped.
func (f *Fleet) join() (left int) {
	bound := time.After(joinGrace)
	for len(f.members) > 0 {
		select {
		case e := <-f.exits:
			left += f.exited(e)
		case run := <-f.cmds:
			run()
		case <-bound:
			f.cfg.Log.Error("sessions did not end when they were stopped; left behind", "sessions", len(f.members))
			return left
		}
	}
	f.wg.Wait()
	return left
}

func (f *Fleet) drain() {
	f.draining = true
	f.close()
	f.cfg.Log.Info("draining: no new calls; running ones finish", "sessions", len(f.members))
	for _, m := range f.members {
		f.wg.Go(m.session.Drain)
	}
}

// exited takes in the end of a session, and returns how many calls it left.
func (f *Fleet) exited(e exit) (left int) {
	delete(f.members, e.id)
	if e.panic != "" {
		f.cfg.Log.Error("a session panicked; attaching it again", "session", e.id, "panic", e.panic)
		if !f.draining && !e.member.detached {
			f.wg.Go(func() { f.reattach(e) })
		}
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	st, _ := e.member.session.Status(ctx)
	for _, c := range st.Calls {
		if c.Owed {
			left++
		}
	}
	f.cfg.Log.Info("session detached", "session", e.id, "reason", string(e.reason), "calls_left", left)
	st.ID, st.AttachedBy = e.id, e.member.by
	if f.cfg.Ended != nil {
		f.cfg.Ended(st)
	}
	if e.member.permanent {
		f.settled[e.id] = st
		return left
	}
	f.ended = append(f.ended, st)
	if len(f.ended) > maxEnded {
		f.ended = slices.Delete(f.ended, 0, len(f.ended)-maxEnded)
	}
	return left
}

func (f *Fleet) reattach(e exit) {
	t := time.NewTimer(reattachWait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-f.intake.Done():
		return
	}
	// At the drain nobody takes commands any more, and its end waits for this one.
	if _, err := f.Attach(f.intake, e.id, e.member.by, e.member.permanent); err != nil && f.intake.Err() == nil {
		f.cfg.Log.Error("session can't be attached again", "session", e.id, "error", err)
	}
}

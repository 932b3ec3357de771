package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// player plays a script in one session.
type player struct {
	srv    *Server
	script *Script
	sess   *Session
	round  int

	threads map[string]*Thread // by the script's names
	ids     map[string]string  // of calls, by the script's ids
}

// Prepare makes the script's agent and sessions, which [Server.Play] then
// drives: a client may ask for them from now on. Sessions that exist stay.
func (s *Server) Prepare(script *Script) {
	s.mu.RLock()
	old := s.agents[script.Agent.ID]
	s.mu.RUnlock()
	if old == nil {
		s.Agent(script.Agent)
	}
	for _, id := range script.Places() {
		s.mu.RLock()
		missing := s.sessions[id] == nil
		s.mu.RUnlock()
		if missing {
			s.newPlayed(script, id)
		}
	}
}

func (s *Server) newPlayed(script *Script, id string) *Session {
	return s.NewSession(SessionSpec{ID: id, Agent: script.Agent.ID, PrimaryThread: script.threads})
}

// Play plays a script in all of its sessions and returns when they are at its
// end, with all that went wrong: a result that did not come or was not as
// expected, or the end of the context.
func (s *Server) Play(ctx context.Context, script *Script) error {
	s.Prepare(script)
	ids := script.Places()
	errs := make([]error, len(ids))
	var all sync.WaitGroup
	for i, id := range ids {
		all.Go(func() { errs[i] = s.playOne(ctx, script, id) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// playOne plays all rounds of a script in one session. One that has ended makes
// room for a new one with the same id.
func (s *Server) playOne(ctx context.Context, script *Script, id string) error {
	for round := 1; script.Repeat == 0 || round <= script.Repeat; round++ {
		sess := s.Session(id)
		sess.mu.Lock()
		ended := sess.over() || !sess.archived.IsZero()
		sess.mu.Unlock()
		if ended {
			sess.CutStreams(false)
			sess = s.newPlayed(script, id)
		}
		p := &player{srv: s, script: script, sess: sess, round: round, threads: map[string]*Thread{}, ids: map[string]string{}}
		if err := p.play(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *player) play(ctx context.Context) error {
	if p.script.Attach {
		err := p.sess.wait(ctx, func() string { return "an open stream" }, func() bool { return len(p.sess.streams) > 0 })
		if err != nil {
			return err
		}
	}
	if !p.script.asked {
		p.sess.Run()
	}
	for _, st := range p.script.steps {
		if err := pause(ctx, p.script.Pace); err != nil {
			return fmt.Errorf("%s: session %s: %w", st.at, p.sess.id, err)
		}
		if err := st.do(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", st.at, err)
		}
	}
	return nil
}

// unique makes an id of the script one of this session and round, where there
// are several, and of this server where that is asked for.
func (p *player) unique(id string) string {
	if p.script.Sessions > 1 {
		id += strings.TrimPrefix(p.sess.id, p.script.Session)
	}
	if p.script.Repeat != 1 {
		id += fmt.Sprintf("_r%d", p.round)
	}
	if p.srv.opts.FreshIDs {
		id += "_" + p.srv.mark
	}
	return id
}

// onThread does something to a thread that the script names; empty means the
// primary one.
func (p *player) onThread(name string, do func(*Thread)) error {
	t := p.threads[name]
	if name == "" {
		t = p.sess.Primary()
	}
	if t == nil {
		return fmt.Errorf("no thread %q: a step `thread: {id: %s}` has to come before", name, name)
	}
	do(t)
	return nil
}

// expect ends the turn of each thread that has open calls, and waits for their
// results.
func (p *player) expect(ctx context.Context, e expectation) error {
	within := cmp.Or(e.Within, defaultExpect)
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("nothing after %s", within))
	defer cancel()
	for _, t := range p.waiters() {
		t.RequireAction()
	}
	if ids := p.expected(e); len(ids) > 0 {
		if err := p.sess.WaitAnswered(ctx, ids...); err != nil {
			return err
		}
	}
	for _, want := range e.Results {
		if err := p.verify(want); err != nil {
			return err
		}
	}
	return nil
}

// expected are the calls whose results are waited for: those that are open, but
// of those that wait for a confirmation only the ones that are named.
func (p *player) expected(e expectation) []string {
	p.sess.mu.Lock()
	defer p.sess.mu.Unlock()
	var ids []string
	for _, c := range p.sess.open {
		named := slices.ContainsFunc(e.Results, func(r expectedResult) bool { return p.ids[r.Call] == c.id })
		if !c.asks || !c.custom() || named {
			ids = append(ids, c.id)
		}
	}
	return ids
}

// waiters are the threads with open calls.
func (p *player) waiters() []*Thread {
	p.sess.mu.Lock()
	defer p.sess.mu.Unlock()
	var out []*Thread
	for _, t := range p.sess.allThreads() {
		if len(p.sess.openLocked(t)) > 0 {
			out = append(out, t)
		}
	}
	return out
}

func (p *player) verify(want expectedResult) error {
	id, known := p.ids[want.Call]
	if !known {
		return fmt.Errorf("no call %q has been made", want.Call)
	}
	r, ok := p.sess.Result(id)
	switch {
	case !ok:
		return fmt.Errorf("call %s has no result", id)
	case want.IsError != nil && r.IsError != *want.IsError:
		return fmt.Errorf("call %s: is_error is %t, expected %t: %s", id, r.IsError, *want.IsError, r.Text())
	case !strings.Contains(r.Text(), want.Contains):
		return fmt.Errorf("call %s: the result lacks %q: %s", id, want.Contains, r.Text())
	}
	return nil
}

func (p *player) awaitUser(ctx context.Context) error {
	p.sess.mu.Lock()
	n := len(p.sess.log.byType["user.message"])
	p.sess.mu.Unlock()
	return p.sess.WaitMessage(ctx, n+1)
}

// pause waits unless the context ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Package slots shares the slots in which calls run: so many in the process, so
// many of a tool, so many of it in a span of time. All limits are taken together,
// so that a call which waits for its tool holds no slot of the process; sessions
// take turns, so that one with a thousand calls does not starve the others.
package slots

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Slots hands out slots. It is safe for use by many goroutines.
type Slots struct {
	mu       sync.Mutex
	total    int                // immutable; 0: no limit
	used     int                // guarded by mu
	limits   map[string]int     // guarded by mu; by tool; 0: no limit
	running  map[string]int     // guarded by mu; by tool
	rates    map[string]*window // guarded by mu; by tool; nil: no limit
	sessions []*session         // guarded by mu; those that wait, in the order of their turns
	byID     map[string]*session
	arrivals uint64
	timer    *time.Timer // guarded by mu; nil: no rate holds anybody up
}

// Limit is what bounds the calls of one tool. Its zero value bounds nothing.
type Limit struct {
	// Concurrency is how many run at once; 0: any number.
	Concurrency int
	// Calls may begin in any span of time that is Per long; 0: any number.
	Calls int
	Per   time.Duration
}

// session is the calls of one session that wait, by tool.
type session struct {
	id    string
	tools []*line
}

type line struct {
	tool    string
	waiting []*waiter
}

type waiter struct {
	arrival uint64
	granted chan struct{}
}

// New allows total slots in all; 0 or less means no limit.
func New(total int) *Slots {
	return &Slots{total: max(0, total), limits: map[string]int{}, running: map[string]int{}, rates: map[string]*window{}, byID: map[string]*session{}}
}

// Slot is a slot that is held. Its methods may be called more than once, by any
// goroutine.
type Slot struct {
	slots  *Slots
	tool   string
	shared bool // guarded by slots.mu: its part of the process's slots is held
	own    bool // guarded by slots.mu: its part of the tool's slots is held
}

// Ticket is a place in the row for a slot.
type Ticket struct {
	slot      *Slot
	sessionID string
	w         *waiter
}

// Queue takes a place in the row for a slot of the process and of the tool.
// limit is the tool's own; the last one given for a name is in force. Whoever has
// a ticket calls Wait or Leave, once.
func (s *Slots) Queue(sessionID, tool string, limit Limit) *Ticket {
	w := &waiter{granted: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit(tool, limit)
	s.arrivals++
	w.arrival = s.arrivals
	s.enter(sessionID, tool, w)
	s.grant()
	return &Ticket{&Slot{slots: s, tool: tool, shared: true, own: true}, sessionID, w}
}

// Wait waits for the slot. It returns ctx's cause when ctx ends first.
func (t *Ticket) Wait(ctx context.Context) (*Slot, error) {
	select {
	case <-t.w.granted:
		return t.slot, nil
	case <-ctx.Done():
		t.Leave()
		return nil, context.Cause(ctx)
	}
}

// Leave gives the place up, and the slot if it was granted.
func (t *Ticket) Leave() {
	s := t.slot.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-t.w.granted:
		s.release(t.slot, true)
	default:
		s.leave(t.sessionID, t.slot.tool, t.w)
	}
}

// Acquire waits for a slot: Queue and Wait in one.
func (s *Slots) Acquire(ctx context.Context, sessionID, tool string, limit Limit) (*Slot, error) {
	return s.Queue(sessionID, tool, limit).Wait(ctx)
}

// Limit changes a tool's limit. Slots that are held stay held, and what has begun
// counts for the rate.
func (s *Slots) Limit(tool string, limit Limit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit(tool, limit)
	s.grant()
}

func (s *Slots) limit(tool string, limit Limit) {
	s.limits[tool] = limit.Concurrency
	if limit.Calls <= 0 {
		delete(s.rates, tool)
		return
	}
	s.rates[tool] = s.rates[tool].resized(limit.Calls, limit.Per)
}

// Load is what of one tool runs and waits.
type Load struct{ Running, Waiting int }

// Load gives the tools of which something runs or waits, by name.
func (s *Slots) Load() map[string]Load {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]Load, len(s.running))
	for tool, n := range s.running {
		out[tool] = Load{Running: n}
	}
	for _, q := range s.sessions {
		for _, l := range q.tools {
			load := out[l.tool]
			load.Waiting += len(l.waiting)
			out[l.tool] = load
		}
	}
	return out
}

// Held is how many slots of the process are in use.
func (s *Slots) Held() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// Release gives the slot back.
func (h *Slot) Release() {
	h.slots.mu.Lock()
	defer h.slots.mu.Unlock()
	h.slots.release(h, true)
}

// ReleaseShared gives back the process's part of the slot only: the call was
// answered for, but its tool still runs.
func (h *Slot) ReleaseShared() {
	h.slots.mu.Lock()
	defer h.slots.mu.Unlock()
	h.slots.release(h, false)
}

func (s *Slots) release(h *Slot, own bool) {
	if h.shared {
		h.shared = false
		s.used--
	}
	if own && h.own {
		h.own = false
		if s.running[h.tool]--; s.running[h.tool] == 0 {
			delete(s.running, h.tool)
		}
	}
	s.grant()
}

func (s *Slots) enter(sessionID, tool string, w *waiter) {
	q := s.byID[sessionID]
	if q == nil {
		q = &session{id: sessionID}
		s.byID[sessionID] = q
		s.sessions = append(s.sessions, q)
	}
	for _, l := range q.tools {
		if l.tool == tool {
			l.waiting = append(l.waiting, w)
			return
		}
	}
	q.tools = append(q.tools, &line{tool: tool, waiting: []*waiter{w}})
}

func (s *Slots) leave(sessionID, tool string, w *waiter) {
	q := s.byID[sessionID]
	if q == nil {
		return
	}
	for _, l := range q.tools {
		if l.tool == tool {
			l.waiting = slices.DeleteFunc(l.waiting, func(x *waiter) bool { return x == w })
		}
	}
	s.prune(q)
}

// prune drops lines, and the session itself, where nobody waits any more. It
// reports whether the session is still there.
func (s *Slots) prune(q *session) bool {
	q.tools = slices.DeleteFunc(q.tools, func(l *line) bool { return len(l.waiting) == 0 })
	if len(q.tools) > 0 {
		return true
	}
	delete(s.byID, q.id)
	s.sessions = slices.DeleteFunc(s.sessions, func(x *session) bool { return x == q })
	return false
}

// grant gives out what is free, one slot a session in turn.
func (s *Slots) grant() {
	var next time.Time // when a rate lets somebody through who waits for nothing else
	now := time.Now()
	for i := 0; i < len(s.sessions) && (s.total == 0 || s.used < s.total); {
		q := s.sessions[i]
		l := s.first(q, now, &next)
		if l == nil {
			i++
			continue
		}
		s.rates[l.tool].begin(now)
		s.used++
		s.running[l.tool]++
		close(l.waiting[0].granted)
		l.waiting = l.waiting[1:]
		// Its turn is over: it goes to the end of the row.
		if s.prune(q) {
			s.sessions = append(slices.Delete(s.sessions, i, i+1), q)
		}
		// Those before i wait for tools that are full; a grant frees none.
	}
	s.wakeAt(now, next)
}

// wakeAt lets grant run again when a rate allows it.
func (s *Slots) wakeAt(now, next time.Time) {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if !next.IsZero() {
		s.timer = time.AfterFunc(next.Sub(now), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.grant()
		})
	}
}

// first is the line of the session whose call has waited longest among those
// whose tool has a slot. Where only rates stand in the way, next becomes the
// earliest time at which one lets a call through.
func (s *Slots) first(q *session, now time.Time, next *time.Time) *line {
	var best *line
	for _, l := range q.tools {
		if limit := s.limits[l.tool]; limit > 0 && s.running[l.tool] >= limit {
			continue
		}
		if at := s.rates[l.tool].next(); at.After(now) {
			if next.IsZero() || at.Before(*next) {
				*next = at
			}
			continue
		}
		if best == nil || l.waiting[0].arrival < best.waiting[0].arrival {
			best = l
		}
	}
	return best
}

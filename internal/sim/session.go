package sim

import (
	"encoding/json"
	"slices"
	"sync"
	"time"
)

// Event is one event as a stream shows it.
type Event struct {
	// Session is the id of the session that it belongs to.
	Session string
	ID      string
	Type    string
	// ProcessedAt is zero for a client's event that is queued.
	ProcessedAt time.Time
	// Data is the event's JSON.
	Data json.RawMessage
}

// SessionSpec says how a session begins.
type SessionSpec struct {
	// ID names it. Empty means an id of the server's making.
	ID string
	// Agent is the id of its agent. Empty means agent_sim. An agent that does
	// not exist yet is made, without tools.
	Agent string
	Title string
	// PrimaryThread makes the session tell the primary thread's status too, by
	// session.thread_status_* events with the sthr_ id of the primary thread.
	// A session with subagents needs it from its beginning.
	PrimaryThread bool
}

// Session is a session of the simulation. Its methods are what the agent and
// the API's other side do; they may be called at any time by any goroutine.
type Session struct {
	srv     *Server
	id      string // immutable, as are the next four
	agent   *agent // the version that it was created with
	title   string
	created time.Time
	nth     int64 // creation order

	mu       sync.Mutex // guards what follows, and the threads and calls
	updated  time.Time
	status   string // idle, running, terminated
	archived time.Time
	deleted  bool
	last     time.Time // the latest processed_at
	seq      int64
	log      history
	calls    map[string]*call
	open     []*call // those that wait, in the order they were made
	primary  *Thread
	threads  map[string]*Thread
	streams  map[*subscriber]struct{}
	hold     bool
	held     []*clientEvent
	poisoned map[string]int
	refusals []Refusal
	changed  chan struct{} // closed and forgotten at each change; nil while nobody waits
}

// NewSession makes a session, which begins idle. An id that exists already
// replaces that session.
func (s *Server) NewSession(spec SessionSpec) *Session {
	if spec.ID == "" {
		spec.ID = s.newID("sesn")
	}
	if spec.Agent == "" {
		spec.Agent = "agent_sim"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newSessionLocked(spec)
}

func (s *Server) newSessionLocked(spec SessionSpec) *Session {
	a := s.agents[spec.Agent]
	if a == nil {
		a = newAgent(AgentSpec{ID: spec.Agent, Name: spec.Agent}, nil)
		s.agents[spec.Agent] = a
	}
	now := time.Now().Truncate(time.Microsecond) // as precise as it is shown
	sess := &Session{
		srv: s, id: spec.ID, agent: a, title: spec.Title, created: now, nth: s.ids.Add(1),
		updated: now, status: "idle",
		calls:   map[string]*call{},
		threads: map[string]*Thread{},
		streams: map[*subscriber]struct{}{},
	}
	sess.primary = &Thread{session: sess, id: s.newID("sthr"), agent: a.spec.Name, primary: true, told: spec.PrimaryThread}
	if old := s.sessions[spec.ID]; old != nil {
		s.order = slices.DeleteFunc(s.order, func(x *Session) bool { return x == old })
	}
	s.sessions[spec.ID] = sess
	s.order = append(s.order, sess)
	return sess
}

// Session returns the session with this id; one that does not exist is made as
// by [Server.NewSession].
func (s *Server) Session(id string) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sess := s.sessions[id]; sess != nil {
		return sess
	}
	return s.newSessionLocked(SessionSpec{ID: id, Agent: "agent_sim"})
}

// ID returns the session's id.
func (s *Session) ID() string { return s.id }

// Status returns the status that the API shows.
func (s *Session) Status() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *Session) isDeleted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deleted
}

// now is the processed_at of what happens now: later than any before it.
func (s *Session) now() time.Time {
	t := time.Now().UTC().Truncate(time.Microsecond)
	if !t.After(s.last) {
		t = s.last.Add(time.Microsecond)
	}
	s.last = t
	s.updated = t
	return t
}

// emit makes an event of the agent's side, stores it and shows it. pairs are
// its own fields.
func (s *Session) emit(typ, id string, pairs ...any) (at time.Time) {
	if id == "" {
		id = s.srv.newID("sevt")
	}
	at = s.now()
	data := object(append([]any{"type", typ, "id", id, "processed_at", at}, pairs...)...)
	s.store(typ, id, at, data)
	return at
}

// store puts an event in the history and shows it.
func (s *Session) store(typ, id string, at time.Time, data json.RawMessage) {
	s.seq++
	s.log.add(&entry{seq: s.seq, at: at, typ: typ, id: id, data: data})
	s.show(typ, id, at, data)
}

// show gives an event to the open streams.
func (s *Session) show(typ, id string, at time.Time, data json.RawMessage) {
	for sub := range s.streams {
		sub.push(frame{typ: typ, data: data})
	}
	if s.srv.opts.OnEvent != nil {
		s.srv.opts.OnEvent(Event{Session: s.id, ID: id, Type: typ, ProcessedAt: at, Data: data})
	}
	s.wake()
}

// wake lets those look again who wait for something of this session.
func (s *Session) wake() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

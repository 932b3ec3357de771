package sim

import (
	"encoding/json"
	"slices"
)

// Thread is a thread of a session: its primary one, or a subagent's. Its
// methods may be called at any time by any goroutine.
type Thread struct {
	session *Session
	id      string
	agent   string
	primary bool

	// Guarded by the session's mutex.
	told    bool     // session.thread_status_* events are emitted for it
	over    bool     // it was terminated
	waiting []string // what its last idle event still waits for
}

// Thread creates a subagent's thread, which runs. Empty id means one of the
// server's making.
func (s *Session) Thread(agentName, id string) *Thread {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == "" {
		id = s.srv.newID("sthr")
	}
	t := &Thread{session: s, id: id, agent: agentName, told: true}
	s.threads[id] = t
	s.emit("session.thread_created", "", "agent_name", agentName, "session_thread_id", id, "workflow_run_id", nil)
	s.threadStatus(t, "running")
	return t
}

// Primary returns the primary thread.
func (s *Session) Primary() *Thread { return s.primary }

// thread finds a thread by its id; empty means the primary one.
func (s *Session) thread(id string) *Thread {
	if id == "" || id == s.primary.id {
		return s.primary
	}
	return s.threads[id]
}

// ID returns the thread's id (sthr_…); the primary thread has one too.
func (t *Thread) ID() string { return t.id }

// threadStatus emits a thread's status where it is told. The session is locked.
func (s *Session) threadStatus(t *Thread, status string, pairs ...any) {
	if t.told {
		pairs = append([]any{"session_thread_id", t.id, "agent_name", t.agent}, pairs...)
		s.emit("session.thread_status_"+status, "", pairs...)
	}
}

// Run emits that the thread runs; on the primary thread, that the session does.
func (t *Thread) Run() {
	t.session.mu.Lock()
	defer t.session.mu.Unlock()
	t.run()
}

func (t *Thread) run() {
	s := t.session
	t.waiting = nil
	s.threadStatus(t, "running")
	if t.primary {
		s.status = "running"
		s.emit("session.status_running", "")
	}
}

// Message emits what the agent says.
func (t *Thread) Message(text string) {
	t.session.mu.Lock()
	defer t.session.mu.Unlock()
	if t.primary {
		t.session.status = "running"
	}
	t.session.emit("agent.message", "", "content", textBlocks(text))
}

// Call makes the thread's agent call a tool, and returns the event's id.
func (t *Thread) Call(spec CallSpec) string {
	t.session.mu.Lock()
	defer t.session.mu.Unlock()
	if t.primary {
		t.session.status = "running"
	}
	return t.session.callOn(t, spec)
}

// RequireAction ends the thread's turn: it is idle until these calls are
// answered; without ids, until all of its open calls are. Where all have been
// answered already, it runs on instead.
func (t *Thread) RequireAction(ids ...string) {
	s := t.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(ids) == 0 {
		ids = s.openLocked(t)
	}
	t.waiting = slices.Clone(ids)
	s.idleAgain(t)
}

// idleAgain emits the thread's idle event with what it still waits for, or that
// it runs where nothing is left.
func (s *Session) idleAgain(t *Thread) {
	t.waiting = slices.DeleteFunc(t.waiting, func(id string) bool {
		c := s.calls[id]
		return c != nil && !c.pending()
	})
	if len(t.waiting) == 0 {
		t.run()
		return
	}
	s.idle(t, object("type", "requires_action", "event_ids", t.waiting))
}

// EndTurn ends the turn for good: the thread is idle and waits for nothing.
func (t *Thread) EndTurn() { t.Idle("end_turn") }

// Idle ends the turn with a stop reason such as end_turn, retries_exhausted,
// budget_reached, refusal, or one that has not been invented yet.
func (t *Thread) Idle(reason string) {
	t.session.mu.Lock()
	defer t.session.mu.Unlock()
	t.waiting = nil
	t.session.idle(t, object("type", reason))
}

func (s *Session) idle(t *Thread, reason json.RawMessage) {
	s.threadStatus(t, "idle", "stop_details", nil, "stop_reason", reason)
	if t.primary {
		s.status = "idle"
		s.emit("session.status_idle", "", "stop_details", nil, "stop_reason", reason)
	}
}

// Terminate ends the thread: its open calls are pointless. It is not for the
// primary thread, which ends with its session.
func (t *Thread) Terminate() {
	s := t.session
	s.mu.Lock()
	defer s.mu.Unlock()
	t.over = true
	t.waiting = nil
	for _, c := range slices.Clone(s.open) {
		if c.thread == t {
			s.settle(c, callInterrupted)
		}
	}
	s.threadStatus(t, "terminated")
}

// Run emits that the session runs.
func (s *Session) Run() { s.primary.Run() }

// Message emits what the agent says.
func (s *Session) Message(text string) { s.primary.Message(text) }

// RequireAction is [Thread.RequireAction] of the primary thread. ids may name
// calls of other threads too.
func (s *Session) RequireAction(ids ...string) { s.primary.RequireAction(ids...) }

// EndTurn is [Thread.EndTurn] of the primary thread.
func (s *Session) EndTurn() { s.primary.EndTurn() }

// Idle is [Thread.Idle] of the primary thread.
func (s *Session) Idle(reason string) { s.primary.Idle(reason) }

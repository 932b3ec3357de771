package sim

import (
	"encoding/json"
	"fmt"
	"time"
)

// Terminate ends the session with session.status_terminated. Its open streams
// stay open, without further events.
func (s *Session) Terminate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = "terminated"
	s.forsake()
	s.emit("session.status_terminated", "")
}

// forsake gives up all that the session waits for.
func (s *Session) forsake() {
	for _, c := range s.open {
		c.state = callInterrupted
	}
	s.open = nil
	s.primary.waiting = nil
	for _, t := range s.threads {
		t.waiting = nil
	}
}

// Delete deletes the session: its streams show session.deleted and end, and
// every request about it gets a 404.
func (s *Session) Delete() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forsake()
	s.emit("session.deleted", "")
	s.deleted = true
	for sub := range s.streams {
		sub.cut(cutClean)
	}
	s.wake()
}

// Archive makes the session read-only: it takes no more events.
func (s *Session) Archive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.archived.IsZero() {
		s.archived = s.now()
		s.forsake()
		s.wake()
	}
}

// Error emits a session.error, after which the session goes on.
func (s *Session) Error(message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.emit("session.error", "", "error", object("type", "unknown_error", "message", message,
		"retry_status", object("type", "retrying")))
}

// Reschedule emits session.status_rescheduled, after which the session goes on.
func (s *Session) Reschedule() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.emit("session.status_rescheduled", "")
}

// Emit puts an event of any form in the history and on the streams, exactly as
// it is, without any effect on the session's state. It is ordered by its
// processed_at where it has one, by its arrival otherwise. It fails where data
// is no JSON object.
func (s *Session) Emit(data json.RawMessage) error { return s.emitRaw(data, true) }

// Show puts an event on the streams that are open, and not in the history: a
// preview such as event_start, or an event that the history has already.
func (s *Session) Show(typ string, data json.RawMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.show(typ, "", time.Time{}, data)
}

// Bury puts an event in the history and not on the streams: what happened
// while nobody was attached. It is ordered as by [Session.Emit].
func (s *Session) Bury(data json.RawMessage) error { return s.emitRaw(data, false) }

func (s *Session) emitRaw(data json.RawMessage, shown bool) error {
	var head struct {
		Type        string     `json:"type"`
		ID          string     `json:"id"`
		ProcessedAt *time.Time `json:"processed_at"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("emit an event: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var at time.Time
	if head.ProcessedAt == nil {
		at = s.now()
	} else if at = *head.ProcessedAt; at.After(s.last) {
		s.last = at
	}
	s.seq++
	s.log.add(&entry{seq: s.seq, at: at, typ: head.Type, id: head.ID, data: data})
	if shown {
		s.show(head.Type, head.ID, at, data)
	}
	return nil
}

package sim

import (
	"encoding/json"
	"fmt"
)

// HoldQueue keeps clients' events queued: they are accepted, echoed and listed
// with processed_at null, and nothing comes of them until [Session.Process].
func (s *Session) HoldQueue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = true
}

// Process processes what is queued and ends [Session.HoldQueue].
func (s *Session) Process() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = false
	s.process()
}

// User takes a user's message, as if another client had sent it.
func (s *Session) User(text string) error {
	return s.client(object("type", "user.message", "content", textBlocks(text)))
}

// Interrupt takes a user.interrupt of a thread, as if another client had sent
// it. Empty means all threads.
func (s *Session) Interrupt(thread string) error {
	if thread == "" {
		return s.client(object("type", "user.interrupt"))
	}
	return s.client(object("type", "user.interrupt", "session_thread_id", thread))
}

// Answer takes a text as the result of a call, as if another client had sent it.
func (s *Session) Answer(callID, text string) error {
	return s.client(object("type", "user.custom_tool_result", "custom_tool_use_id", callID,
		"content", textBlocks(text), "is_error", false))
}

// Confirm takes a user's confirmation (allow, deny) of a call that asks for it.
func (s *Session) Confirm(callID, verdict string) error {
	return s.client(object("type", "user.tool_confirmation", "tool_use_id", callID, "result", verdict))
}

// Deny is Confirm with deny, and why.
func (s *Session) Deny(callID, message string) error {
	return s.client(object("type", "user.tool_confirmation", "tool_use_id", callID, "result", "deny", "deny_message", message))
}

// client takes one event as a send would. It is not among the requests.
func (s *Session) client(event json.RawMessage) error {
	if problem := byType(s.srv.events)("event", event); problem != "" {
		return fmt.Errorf("session %s: %s", s.id, problem)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deleted {
		return fmt.Errorf("session %s is deleted", s.id)
	}
	batch, err := s.admit([]sent{decodeSent(event)})
	if err != nil {
		return fmt.Errorf("session %s: %w", s.id, err)
	}
	s.accept(batch, 0)
	return nil
}

package sim

import (
	"encoding/json"
	"net/url"
)

// eventTypes are the values of types[]. session.deleted is not among them.
func eventTypes() []string {
	return []string{
		"user.message", "user.interrupt", "user.tool_confirmation", "user.custom_tool_result",
		"user.define_outcome", "user.tool_result", "system.message",
		"agent.custom_tool_use", "agent.message", "agent.thinking", "agent.mcp_tool_use",
		"agent.mcp_tool_result", "agent.tool_use", "agent.tool_result",
		"agent.thread_message_received", "agent.thread_message_sent", "agent.thread_context_compacted",
		"session.error", "session.status_rescheduled", "session.status_running", "session.status_idle",
		"session.status_terminated", "session.thread_created", "session.thread_status_running",
		"session.thread_status_idle", "session.thread_status_terminated",
		"session.thread_status_rescheduled", "session.updated", "session.usage",
		"span.outcome_evaluation_start", "span.outcome_evaluation_end", "span.outcome_evaluation_ongoing",
		"span.model_request_start", "span.model_request_end",
		"workflow_run.created", "workflow_run.status_running", "workflow_run.status_idle",
		"workflow_run.status_ended", "workflow_run.error", "workflow_run.phase_started",
		"workflow_run.phase_ended",
	}
}

// serveList answers with a page of the history.
func (s *Session) serveList(q url.Values) (json.RawMessage, *apiError) {
	if err := checkQuery(q, append(timeNames(), "limit", "page", "order", "types[]")...); err != nil {
		return nil, err
	}
	limit, err := queryLimit(q, maxPage)
	if err != nil {
		return nil, err
	}
	desc, err := queryOrder(q, "asc")
	if err != nil {
		return nil, err
	}
	types, err := queryEnum(q, "types[]", eventTypes())
	if err != nil {
		return nil, err
	}
	w, err := queryWindow(q)
	if err != nil {
		return nil, err
	}
	if err := w.turn(q, desc); err != nil {
		return nil, err
	}
	s.mu.Lock()
	entries, more := s.log.page(w, types, desc, limit)
	s.mu.Unlock()
	items := make([]json.RawMessage, len(entries))
	for i, e := range entries {
		items[i] = e.data
	}
	return object("data", list(items), "next_page", nextPage(entries, more, desc)), nil
}

func nextPage(entries []*entry, more, desc bool) any {
	if !more {
		return nil
	}
	return cursor(desc, entries[len(entries)-1].key())
}

// History returns the session's history, oldest first, queued events last.
func (s *Session) History() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries, _ := s.log.page(allTime(), nil, false, len(s.log.all)+len(s.log.queued))
	out := make([]Event, len(entries))
	for i, e := range entries {
		out[i] = Event{Session: s.id, ID: e.id, Type: e.typ, ProcessedAt: e.at, Data: e.data}
	}
	return out
}

package sim

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
)

// resource is the session as the API shows it.
func (s *Session) resource() json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	none := json.RawMessage("[]")
	var title any
	if s.title != "" {
		title = s.title
	}
	return object(
		"type", "session", "id", s.id, "status", s.status,
		"created_at", s.created, "updated_at", s.updated, "archived_at", s.archived,
		"environment_id", "env_sim", "title", title, "metadata", struct{}{},
		"agent", object(s.agent.pairs()...),
		"resources", none, "vault_ids", none, "outcome_evaluations", none,
		"usage", struct{}{}, "stats", struct{}{}, "budget", nil,
	)
}

// serveSessions answers with a page of sessions, newest first unless asked
// otherwise.
func (s *Server) serveSessions(q url.Values) (json.RawMessage, *apiError) {
	names := []string{"limit", "page", "order", "agent_id", "agent_version", "statuses[]", "include_archived"}
	if err := checkQuery(q, append(timeNames(), names...)...); err != nil {
		return nil, err
	}
	limit, err := queryLimit(q, defaultSessions)
	if err != nil {
		return nil, err
	}
	desc, err := queryOrder(q, "desc")
	if err != nil {
		return nil, err
	}
	statuses, err := queryEnum(q, "statuses[]", []string{"rescheduling", "running", "idle", "terminated"})
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
	found, more := s.selectSessions(w, desc, limit, func(sess *Session) bool { return sess.matches(q, statuses) })
	items := make([]json.RawMessage, len(found))
	for i, sess := range found {
		items[i] = sess.resource()
	}
	var next any
	if more {
		next = cursor(desc, found[len(found)-1].key())
	}
	return object("data", list(items), "next_page", next, "prev_page", nil), nil
}

// key orders sessions by their creation.
func (s *Session) key() key { return key{s.created.UnixNano(), s.nth} }

// selectSessions returns up to limit sessions in the window that match, and
// whether there are more.
func (s *Server) selectSessions(w window, desc bool, limit int, match func(*Session) bool) ([]*Session, bool) {
	s.mu.RLock()
	order := slices.Clone(s.order)
	s.mu.RUnlock()
	if desc {
		slices.Reverse(order)
	}
	var found []*Session
	for _, sess := range order {
		k := sess.key()
		if !w.low.less(k) || !k.less(w.high) || !match(sess) {
			continue
		}
		if len(found) == limit {
			return found, true
		}
		found = append(found, sess)
	}
	return found, false
}

func (s *Session) matches(q url.Values, statuses []string) bool {
	if id := q.Get("agent_id"); id != "" && id != s.agent.spec.ID {
		return false
	}
	if v := q.Get("agent_version"); v != "" && q.Has("agent_id") && v != strconv.Itoa(s.agent.version) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.deleted &&
		(s.archived.IsZero() || q.Get("include_archived") == "true") &&
		(len(statuses) == 0 || slices.Contains(statuses, s.status))
}

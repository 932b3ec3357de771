package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// clientEvent is an event that a client sent, or would have sent.
type clientEvent struct {
	typ    string
	id     string
	call   *call   // what a result or a confirmation is for
	thread *Thread // what an interrupt is for; nil: all

	verdict string // of a confirmation
	pairs   []any  // the event's fields without id and processed_at
}

// data renders the event; a zero time means queued.
func (e *clientEvent) data(at time.Time) json.RawMessage {
	return object(append([]any{"type", e.typ, "id", e.id, "processed_at", at}, e.pairs...)...)
}

// allows reports whether a user lets a custom tool's call run.
func (e *clientEvent) allows() bool {
	return e.typ == "user.tool_confirmation" && e.call.custom() && e.verdict == "allow"
}

// serveSend takes a batch of events whole, or refuses it whole.
func (s *Session) serveSend(q *Request) (json.RawMessage, *apiError) {
	if err := checkQuery(q.Query); err != nil {
		return nil, err
	}
	fields, problem := members("", q.Body, s.srv.send)
	if problem != "" {
		return nil, refuse(http.StatusBadRequest, "%s", problem)
	}
	var raw []json.RawMessage
	_ = json.Unmarshal(fields["events"], &raw) // it was just seen to be an array
	if len(raw) == 0 {
		return nil, refuse(http.StatusBadRequest, "events: must hold at least one event")
	}
	events := make([]sent, len(raw))
	for i, r := range raw {
		events[i] = decodeSent(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	batch, err := s.admit(events)
	if err != nil {
		s.refusals = append(s.refusals, Refusal{
			Session: s.id, Request: q.N, Calls: resultIDs(events), Message: err.message,
		})
		return nil, err
	}
	return object("data", list(s.accept(batch, q.N))), nil
}

func resultIDs(events []sent) []string {
	var ids []string
	for _, e := range events {
		if id := e.callID(); id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// sent is a client's event, decoded after its form was checked.
type sent struct {
	Type            string          `json:"type"`
	CustomToolUseID string          `json:"custom_tool_use_id"`
	ToolUseID       string          `json:"tool_use_id"`
	Content         json.RawMessage `json:"content"`
	IsError         *bool           `json:"is_error"`
	SessionThreadID string          `json:"session_thread_id"`
	Result          json.RawMessage `json:"result"`
	DenyMessage     json.RawMessage `json:"deny_message"`
}

func decodeSent(raw json.RawMessage) sent {
	var e sent
	_ = json.Unmarshal(raw, &e) // its form was checked
	return e
}

func (e sent) callID() string { return e.CustomToolUseID + e.ToolUseID }

// admit checks a batch against the session's state, without changing it.
func (s *Session) admit(events []sent) ([]*clientEvent, *apiError) {
	switch {
	case s.status == "terminated":
		return nil, refuse(http.StatusBadRequest, "session %s is terminated", s.id)
	case !s.archived.IsZero():
		return nil, refuse(http.StatusBadRequest, "session %s is archived", s.id)
	}
	for _, id := range resultIDs(events) {
		if status := s.poisoned[id]; status != 0 {
			return nil, refuse(status, "the result of %s can't be processed", id)
		}
	}
	var batch []*clientEvent
	seen := map[string]bool{}
	for i, e := range events {
		ev, err := s.admitOne(fmt.Sprintf("events.%d", i), e)
		if err != nil {
			return nil, err
		}
		if once := e.Type + e.callID(); e.callID() != "" {
			if seen[once] {
				return nil, refuse(http.StatusBadRequest, "events.%d: %s is answered twice in this request", i, e.callID())
			}
			seen[once] = true
		}
		batch = append(batch, ev)
	}
	return batch, nil
}

func (s *Session) admitOne(path string, e sent) (*clientEvent, *apiError) {
	ev := &clientEvent{typ: e.Type}
	bad := func(format string, args ...any) (*clientEvent, *apiError) {
		return nil, refuse(http.StatusBadRequest, "%s: %s", path, fmt.Sprintf(format, args...))
	}
	switch e.Type {
	case "user.message", "system.message":
		ev.pairs = []any{"content", e.Content}
	case "user.interrupt":
		if e.SessionThreadID == "" {
			break
		}
		if ev.thread = s.thread(e.SessionThreadID); ev.thread == nil {
			return bad("session_thread_id: no thread %s", e.SessionThreadID)
		}
		ev.pairs = []any{"session_thread_id", e.SessionThreadID}
	default:
		c := s.calls[e.callID()]
		if problem := answerable(c, e); problem != "" {
			return bad("%s %s", e.callID(), problem)
		}
		ev.call = c
		ev.verdict, _ = stringOf(e.Result)
		ev.pairs = answerPairs(c, e)
	}
	return ev, nil
}

// answerable says what speaks against this answer to a call.
func answerable(c *call, e sent) string {
	confirms := e.Type == "user.tool_confirmation"
	switch {
	case c == nil,
		!confirms && c.custom() != (e.Type == "user.custom_tool_result"):
		return "is not a tool use event of this session that waits for " + e.Type
	case c.thread.over:
		return "belongs to a thread that has ended"
	case c.state == callInterrupted:
		return "was interrupted"
	case !c.pending() || c.state == callQueued:
		return "already has a result"
	case confirms != c.asks:
		return "does not wait for " + e.Type
	}
	return ""
}

func answerPairs(c *call, e sent) []any {
	ref := "tool_use_id"
	if e.Type == "user.custom_tool_result" {
		ref = "custom_tool_use_id"
	}
	pairs := []any{ref, c.id}
	if e.Type == "user.tool_confirmation" {
		pairs = append(pairs, "result", e.Result, "deny_message", e.DenyMessage)
	} else {
		if e.Content != nil {
			pairs = append(pairs, "content", e.Content)
		}
		pairs = append(pairs, "is_error", e.IsError)
	}
	if !c.thread.primary {
		pairs = append(pairs, "session_thread_id", c.thread.id)
	}
	return pairs
}

// accept queues the batch, echoes it, and processes it unless that is held.
// It returns the queued events.
func (s *Session) accept(batch []*clientEvent, request int64) []json.RawMessage {
	var queued []json.RawMessage
	for _, ev := range batch {
		ev.id = s.srv.newID("sevt")
		data := ev.data(time.Time{})
		queued = append(queued, data)
		s.seq++
		s.log.queued = append(s.log.queued, &entry{seq: s.seq, typ: ev.typ, id: ev.id, data: data})
		if ev.typ == "user.custom_tool_result" || ev.typ == "user.tool_result" {
			ev.call.take(ev, request, s.id)
		}
		s.show(ev.typ, ev.id, time.Time{}, data)
	}
	s.held = append(s.held, batch...)
	if !s.hold {
		s.process()
	}
	return queued
}

// take keeps an accepted result.
func (c *call) take(ev *clientEvent, request int64, session string) {
	now := time.Now()
	c.state = callQueued
	c.result = &Result{
		CallID: c.id, EventID: ev.id, Session: session, At: now, Took: now.Sub(c.at), Request: request,
	}
	for i := 0; i+1 < len(ev.pairs); i += 2 {
		switch v := ev.pairs[i+1].(type) {
		case json.RawMessage:
			c.result.Content = slices.Clone(v)
		case *bool:
			c.result.IsError = v != nil && *v
		}
	}
}

// process works off what is queued, then lets each thread go on that got what
// it waited for.
func (s *Session) process() {
	held := s.held
	s.held = nil
	touched := map[*Thread]bool{}
	for _, ev := range held {
		at := s.now()
		s.log.unqueue(ev.id)
		s.store(ev.typ, ev.id, at, ev.data(at))
		for _, t := range s.apply(ev, at) {
			touched[t] = true
		}
	}
	for _, t := range s.allThreads() {
		if touched[t] && !s.over() && !t.over && len(t.waiting) > 0 {
			s.idleAgain(t)
		}
	}
}

// allThreads returns the threads in an order that does not change: by id.
func (s *Session) allThreads() []*Thread {
	out := []*Thread{s.primary}
	for _, id := range sortedNames(s.threads) {
		out = append(out, s.threads[id])
	}
	return out
}

// apply gives a processed event its effect, and returns the threads that wait
// for the call that it settled.
func (s *Session) apply(ev *clientEvent, at time.Time) []*Thread {
	switch ev.typ {
	case "user.message":
		if s.status == "idle" && len(s.primary.waiting) == 0 {
			s.primary.run()
		}
	case "user.interrupt":
		s.interrupt(ev.thread, at)
	case "user.tool_confirmation", "user.custom_tool_result", "user.tool_result":
		if ev.allows() {
			ev.call.asks = false // its result is waited for now
		} else {
			s.settle(ev.call, callAnswered)
		}
		var waiting []*Thread
		for _, t := range s.allThreads() {
			if slices.Contains(t.waiting, ev.call.id) {
				waiting = append(waiting, t)
			}
		}
		return waiting
	}
	return nil
}

// interrupt makes every unanswered call of the thread (nil: of all) pointless
// that was made up to then. A thread that waited for some of them is idle with
// its turn ended.
func (s *Session) interrupt(t *Thread, at time.Time) {
	for _, c := range slices.Clone(s.open) {
		if c.state == callOpen && !c.at.After(at) && (t == nil || c.thread == t) {
			s.settle(c, callInterrupted)
		}
	}
	for _, x := range s.allThreads() {
		if (t == nil || x == t) && len(x.waiting) > 0 {
			x.waiting = nil
			s.idle(x, object("type", "end_turn"))
		}
	}
}

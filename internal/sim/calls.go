package sim

import (
	"encoding/json"
	"slices"
	"time"
)

// callState is how far a call has come.
type callState int

const (
	callOpen        callState = iota
	callQueued                // a result was accepted and is not processed yet
	callAnswered              // the result is processed
	callInterrupted           // an interrupt made it pointless
)

// call is a custom tool call, or the call of a tool that is not custom and
// waits for a user. Guarded by its session's mutex.
type call struct {
	id     string
	kind   string // the event's type
	name   string // the tool's
	thread *Thread
	at     time.Time
	state  callState
	asks   bool // it waits for a confirmation, and there is none yet
	result *Result
}

// pending reports whether the session waits for a result of this call.
func (c *call) pending() bool { return c.state == callOpen || c.state == callQueued }

// CallSpec is a call of a tool by the agent. Only Name is required.
type CallSpec struct {
	// Name is the tool's name.
	Name string
	// Input is the input, shown byte for byte. Empty means {}.
	Input json.RawMessage
	// ID is the event's id. Empty means one of the server's making.
	ID string
	// Permission makes it an agent.tool_use, a tool of the API's own, with this
	// evaluated_permission (allow, ask, deny); with ask it waits for a
	// user.tool_confirmation. Empty means a custom tool.
	Permission string
	// Evaluated is the evaluated_permission of a custom tool's call. Empty: it
	// has none; allow: it may be answered; deny: nobody waits for it; anything
	// else: it takes a result only after a user.tool_confirmation that allows it.
	Evaluated string
}

// asks reports whether the call waits for a user's confirmation.
func (c CallSpec) asks() bool {
	if c.Permission != "" {
		return c.Permission == "ask"
	}
	return c.Evaluated != "" && c.Evaluated != "allow" && c.Evaluated != "deny"
}

// custom reports whether a client gives the call's result.
func (c *call) custom() bool { return c.kind == "agent.custom_tool_use" }

// Result is a result that was accepted.
type Result struct {
	// CallID is the id of the call.
	CallID string
	// EventID is the id of the event that brought it.
	EventID string
	// Session is the session's id.
	Session string
	// Content is the result's content as it was sent, nil when it was absent.
	Content json.RawMessage
	IsError bool
	// At is when it was accepted; Took is the time since the call was made.
	At   time.Time
	Took time.Duration
	// Request is the number of the request that brought it.
	Request int64
}

// Refusal is a send that was refused by the API itself, not by a fault.
type Refusal struct {
	Session string
	// Request is the number of the request.
	Request int64
	// Calls are the calls that it held results for.
	Calls   []string
	Message string
}

// Text returns the text blocks of the content, joined by line ends.
func (r Result) Text() string {
	var blocks []struct{ Text string }
	_ = json.Unmarshal(r.Content, &blocks) // it was checked when it was accepted
	var out string
	for i, b := range blocks {
		if i > 0 {
			out += "\n"
		}
		out += b.Text
	}
	return out
}

// Call makes the agent call a tool on the primary thread, and returns the
// event's id. The session is running afterwards.
func (s *Session) Call(spec CallSpec) string { return s.primary.Call(spec) }

// CallTool is Call with a custom tool's name and an input.
func (s *Session) CallTool(name, input string) string {
	return s.Call(CallSpec{Name: name, Input: json.RawMessage(input)})
}

// callOn emits the call. The session is locked.
func (s *Session) callOn(t *Thread, spec CallSpec) string {
	kind, pairs := "agent.custom_tool_use", []any{"name", spec.Name}
	if len(spec.Input) == 0 {
		spec.Input = json.RawMessage("{}")
	}
	pairs = append(pairs, "input", spec.Input)
	if spec.Permission != "" {
		kind = "agent.tool_use"
		pairs = append(pairs, "evaluated_permission", spec.Permission)
	} else if spec.Evaluated != "" {
		pairs = append(pairs, "evaluated_permission", spec.Evaluated)
	}
	if !t.primary {
		pairs = append(pairs, "session_thread_id", t.id)
	}
	id := spec.ID
	if id == "" {
		id = s.srv.newID("sevt")
	}
	c := &call{id: id, kind: kind, name: spec.Name, thread: t, asks: spec.asks()}
	if spec.Permission == "" && spec.Evaluated != "deny" || c.asks {
		s.calls[id] = c
		s.open = append(s.open, c)
		s.srv.mu.Lock()
		s.srv.calls[id] = s
		s.srv.mu.Unlock()
	}
	c.at = s.emit(kind, id, pairs...)
	return id
}

// openLocked returns the calls that wait for a result or a confirmation, in the
// order they were made, of one thread (nil: of all).
func (s *Session) openLocked(t *Thread) []string {
	var ids []string
	for _, c := range s.open {
		if t == nil || c.thread == t {
			ids = append(ids, c.id)
		}
	}
	return ids
}

// settle gives a call its end, after which nothing waits for it.
func (s *Session) settle(c *call, state callState) {
	c.state = state
	s.open = slices.DeleteFunc(s.open, func(o *call) bool { return o == c })
}

// Open returns the ids of the calls that wait for a result or a confirmation,
// in the order they were made.
func (s *Session) Open() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.openLocked(nil)
}

// Result returns the result that was accepted for a call of this session. There
// is never a second one: it would be refused.
func (s *Session) Result(callID string) (Result, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls[callID]
	if c == nil || c.result == nil {
		return Result{}, false
	}
	return *c.result, true
}

// Result returns the result that was accepted for a call of any session.
func (s *Server) Result(callID string) (Result, bool) {
	s.mu.RLock()
	sess := s.calls[callID]
	s.mu.RUnlock()
	if sess == nil {
		return Result{}, false
	}
	return sess.Result(callID)
}

// Refusals returns the sends of the session that the API itself refused.
func (s *Session) Refusals() []Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.refusals)
}

// Poison makes the API refuse every send that holds a result for this call with
// a status such as 400, for good. Zero lifts it.
func (s *Session) Poison(callID string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poisoned == nil {
		s.poisoned = map[string]int{}
	}
	s.poisoned[callID] = status
}

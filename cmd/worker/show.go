package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/sim"
	"toolhand/internal/upstream"
)

// show shows the session of an agent as it is played, readable at a glance. Its
// methods may be called by many goroutines.
type show struct {
	*screen
	// results has results shown when the session has them; else whoever knows more
	// of them calls result.
	results bool
	// many names the session of each event, since there are several.
	many bool
	// called is told of each call. It returns soon. Nil: nobody is.
	called func(id, tool string)

	mu       sync.Mutex
	calls    map[string]shownCall // made and not answered; guarded by mu
	outcomes map[string]int       // guarded by mu
}

// shownCall is a call as it was shown.
type shownCall struct {
	tool string
	at   time.Time
}

func newShow(s *screen) *show {
	return &show{screen: s, calls: map[string]shownCall{}, outcomes: map[string]int{}}
}

// told is what is shown of an event.
type told struct {
	Name       string
	Input      json.RawMessage
	CallID     string                `json:"custom_tool_use_id"`
	Content    json.RawMessage       // of a message or a result
	IsError    bool                  `json:"is_error"`
	StopReason struct{ Type string } `json:"stop_reason"`
	Error      struct{ Message string }
}

// event shows what happens in a session.
func (s *show) event(e sim.Event) {
	var v told
	if e.ProcessedAt.IsZero() || json.Unmarshal(e.Data, &v) != nil {
		return // queued: it comes again
	}
	from := ""
	if s.many {
		from = e.Session + "  "
	}
	switch e.Type {
	case "user.message":
		s.say(part{bold, from + "user    "}, part{plain, textOf(v.Content)})
	case "agent.message":
		s.print(append([][]part{nil}, s.below(part{blue, from + "agent   "}, part{plain, textOf(v.Content)})...)...)
	case upstream.TypeCall:
		s.call(from, e.ID, v)
	case upstream.TypeResult:
		s.answered(from, v)
	case "user.interrupt":
		s.line(part{bold, from + "user    "}, part{yellow, "(interrupts: open calls are not wanted any more)"})
	case "session.error":
		s.line(part{red, from + "error   "}, part{plain, v.Error.Message})
	case upstream.TypeIdle:
		if v.StopReason.Type != upstream.StopRequiresAction {
			s.print(nil, []part{{blue, from + "agent   "}, {dim, "(" + strings.ReplaceAll(v.StopReason.Type, "_", " ") + ")"}})
		}
	}
}

// request shows each send.
func (s *show) request(r sim.Request) {
	var body struct {
		Events []struct{ Type string }
	}
	if r.Endpoint != sim.Send || json.Unmarshal(r.Body, &body) != nil {
		return
	}
	n := 0
	for _, e := range body.Events {
		if e.Type == upstream.TypeResult {
			n++
		}
	}
	if n > 0 {
		s.line(part{bold, "  send    "}, part{plain, plural(n, "result") + " in one request"})
	}
}

func (s *show) call(from, id string, v told) {
	s.line(part{bold, from + "  call    "}, part{plain, fmt.Sprintf("%-14s ", v.Name)}, part{dim, string(v.Input)})
	s.mu.Lock()
	s.calls[id] = shownCall{v.Name, time.Now()}
	s.mu.Unlock()
	if s.called != nil {
		s.called(id, v.Name)
	}
}

// answered shows a result that the session has.
func (s *show) answered(from string, v told) {
	if !s.results {
		return
	}
	s.mu.Lock()
	c := s.calls[v.CallID]
	delete(s.calls, v.CallID)
	s.mu.Unlock()
	outcome := run.OK
	if v.IsError {
		outcome = run.Failed
	}
	s.result(from, c.tool, outcome, "after "+time.Since(c.at).Round(time.Millisecond).String(), v.Content)
}

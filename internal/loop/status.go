package loop

import (
	"context"
	"slices"
	"time"
)

// Status is what a session says of itself.
type Status struct {
	ID    string `json:"id"`
	State string `json:"state"` // attaching, attached, reconnecting, forbidden, draining, ended: …
	// AttachedBy says why it is served: configuration, or by hand.
	AttachedBy string `json:"attached_by,omitempty"`
	// Attached reports that the first attach has ended, well or for good.
	Attached bool `json:"-"`
	// TurnEnded reports that the session waits for nobody.
	TurnEnded bool `json:"turn_ended"`
	// TurnEnd is why, where the stream told it: end_turn, budget_reached, or the
	// type of the error that ended it.
	TurnEnd string `json:"turn_end,omitempty"`
	// LastByte is when the stream last gave a byte.
	LastByte time.Time `json:"last_byte,omitzero"`
	// Opened is how often the stream was opened.
	Opened int64 `json:"streams_opened"`
	// LastError is why it can't be attached, or its stream not be opened; empty while
	// all is well.
	LastError string `json:"last_error,omitempty"`
	// NotFound reports that the API knew no such session at the first attach.
	NotFound bool         `json:"not_found,omitempty"`
	Calls    []CallStatus `json:"calls"`
	Kept     []KeptStatus `json:"quarantined,omitempty"`
}

// CallStatus is what is known of a call that has not ended.
type CallStatus struct {
	ID       string    `json:"id"`
	Tool     string    `json:"tool"`
	Thread   string    `json:"thread,omitempty"`
	State    string    `json:"state"`
	Received time.Time `json:"received"`
	Deadline time.Time `json:"deadline,omitzero"`
	// Owed reports that it waits for an answer of ours.
	Owed bool `json:"-"`
	// Held reports that it waits for permission.
	Held bool `json:"-"`
}

// KeptStatus is a result that the API refused for good, and that the journal keeps
// for people.
type KeptStatus struct {
	ID    string    `json:"id"`
	Tool  string    `json:"tool"`
	At    time.Time `json:"at"`
	Bytes int       `json:"bytes"`
}

// Status asks the session what it is doing. It waits for the session's goroutine,
// or until ctx ends.
func (s *Session) Status(ctx context.Context) (Status, bool) {
	ask := make(chan Status, 1)
	select {
	case s.asks <- ask:
		return <-ask, true
	case <-s.closed:
		return *s.last.Load(), true
	case <-ctx.Done():
		return Status{}, false
	}
}

// status is a snapshot by value; only serve calls it.
func (s *Session) status() Status {
	l := s.ledger
	st := Status{ID: s.cfg.Session, TurnEnded: l.turn.ended, TurnEnd: l.turn.end, Opened: s.stream.opened.Load(), Calls: []CallStatus{}}
	open := s.stream.open.Load()
	if open != nil {
		st.LastByte = open.LastByte()
	}
	first := !l.reading.last.IsZero()
	switch {
	case l.draining:
		st.State = "draining"
	case s.stream.refused.Load():
		st.State = "forbidden"
	case !first:
		st.State = "attaching"
	case open == nil:
		st.State = "reconnecting"
	default:
		st.State = "attached"
	}
	if why := s.stream.lastErr.Load(); why != nil && st.State != "attached" {
		st.LastError = *why
	}
	st.NotFound = l.gone && !first
	st.Attached = first || st.State == "forbidden" || l.over
	for _, c := range l.calls {
		if c.state == ended {
			continue
		}
		st.Calls = append(st.Calls, CallStatus{
			ID: c.id, Tool: c.name, Thread: c.thread, State: s.stateOf(c),
			Received: c.received, Deadline: c.deadline, Owed: c.state.open(), Held: c.state == held,
		})
	}
	st.Kept = slices.Clone(l.kept)
	return st
}

// stateOf names the state of a call as people see it: it is pending until its handler
// has it.
func (s *Session) stateOf(c *call) string {
	if r := s.running[c.id]; c.state == running && r != nil && !r.Handling() {
		return pending.String()
	}
	return c.state.String()
}

// alive counts the goroutines of calls that have not ended.
func (l *ledger) alive() int {
	n := 0
	for _, c := range l.calls {
		if c.alive {
			n++
		}
	}
	return n
}

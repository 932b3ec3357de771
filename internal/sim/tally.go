package sim

import (
	"slices"
	"strings"
	"time"
)

// Tally is what became of the calls of a script's sessions.
type Tally struct {
	// Calls counts those that a client answers; Answered those that have a result,
	// Pointless those that an interrupt or the end of their session has ended.
	Calls, Answered, Pointless int
	// Open are the others, oldest first.
	Open []OpenCall
	// Streams counts the streams that are open now, Opened the requests for one.
	Streams, Opened int
}

// OpenCall is a call that has no result.
type OpenCall struct {
	Session, ID, Tool string
	Since             time.Time
	// Asks reports whether it waits for a user's permission, and takes no result before.
	Asks bool
	// Refused is why the last result for it was refused. Empty: there was none.
	Refused string
}

// Tally counts the calls of a script's sessions.
func (s *Server) Tally(script *Script) Tally {
	var t Tally
	places, sessions := map[string]bool{}, map[*Session]bool{}
	for _, id := range script.Places() {
		places[id] = true
	}
	s.mu.RLock()
	for id := range places {
		sessions[s.sessions[id]] = true
	}
	for _, of := range s.calls { // those that were replaced, too
		sessions[of] = places[of.id]
	}
	s.mu.RUnlock()
	for sess, played := range sessions {
		if sess != nil && played {
			sess.tally(&t)
		}
	}
	for id := range places {
		t.Opened += s.Count(id, Stream)
	}
	slices.SortFunc(t.Open, func(a, b OpenCall) int {
		if n := a.Since.Compare(b.Since); n != 0 {
			return n
		}
		return strings.Compare(a.ID, b.ID)
	})
	return t
}

func (s *Session) tally(t *Tally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Streams += len(s.streams)
	for _, c := range s.calls {
		if !c.custom() {
			continue
		}
		t.Calls++
		switch {
		case c.result != nil:
			t.Answered++
		case c.state == callInterrupted || s.over():
			t.Pointless++
		default:
			t.Open = append(t.Open, OpenCall{Session: s.id, ID: c.id, Tool: c.name, Since: c.at, Asks: c.asks, Refused: s.refusedLocked(c.id)})
		}
	}
}

// refusedLocked is why the last send with a result for the call was refused.
func (s *Session) refusedLocked(id string) string {
	for _, r := range slices.Backward(s.refusals) {
		if slices.Contains(r.Calls, id) {
			return r.Message
		}
	}
	return ""
}

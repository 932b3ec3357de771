package admin

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxCalls is how many calls are kept.
	maxCalls = 1000
	// maxName and maxCause bound what is kept of a text that others chose, in bytes:
	// so all calls together take a few MB at most.
	maxName  = 256
	maxCause = 512
)

// Call is a call that has ended.
type Call struct {
	ID      string `json:"id"`
	Session string `json:"session"`
	Thread  string `json:"thread,omitempty"`
	Tool    string `json:"tool"`
	Outcome string `json:"outcome"`
	// Cause says why the outcome is not ok; empty where it is.
	Cause string `json:"cause,omitempty"`
	// Received is when the worker got it, and Duration the milliseconds from then to
	// its end.
	Received time.Time `json:"received"`
	Duration float64   `json:"duration_ms"`
}

// Calls keeps the last thousand calls of a process, with nothing of what went into
// a tool or came out of it. Its zero value is empty and ready; its methods may be
// called by many goroutines.
type Calls struct {
	mu   sync.Mutex
	ring []Call // guarded by mu
	next int    // guarded by mu; where the oldest stands once the ring is full
}

// Add keeps a call, in the place of the oldest where there are a thousand.
func (c *Calls) Add(call Call) {
	for _, name := range []*string{&call.ID, &call.Session, &call.Thread, &call.Tool, &call.Outcome} {
		*name = shorten(*name, maxName)
	}
	call.Cause = shorten(call.Cause, maxCause)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ring) < maxCalls {
		c.ring = append(c.ring, call)
		return
	}
	c.ring[c.next] = call
	c.next = (c.next + 1) % maxCalls
}

// shorten is a text of at most so many bytes, cut between characters. It shares no
// memory with a longer one.
func shorten(s string, max int) string {
	if len(s) <= max {
		return s
	}
	const mark = "…"
	return strings.ToValidUTF8(s[:max-len(mark)], "") + mark
}

// last are the calls that match, the last one first.
func (c *Calls) last(match func(Call) bool) []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := []Call{}
	for i := range c.ring {
		call := c.ring[(c.next+len(c.ring)-1-i)%len(c.ring)]
		if match(call) {
			found = append(found, call)
		}
	}
	return found
}

// Calls registers what /api/v1/calls shows, and which outcomes there are.
func (s *Server) Calls(c *Calls, outcomes []string) { s.calls, s.outcomes = c, outcomes }

// serveCalls shows the last calls, those alone that the query asks for.
func (s *Server) serveCalls(w http.ResponseWriter, r *http.Request) {
	match, err := s.matching(r.URL.RawQuery)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	calls := []Call{}
	if s.calls != nil {
		calls = s.calls.last(match)
	}
	reply(w, http.StatusOK, map[string][]Call{"calls": calls})
}

// matching reads a query: which calls it asks for.
func (s *Server) matching(query string) (func(Call) bool, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("the query can't be read: %w", err)
	}
	fields := map[string]func(Call) string{
		"tool":    func(c Call) string { return c.Tool },
		"session": func(c Call) string { return c.Session },
		"outcome": func(c Call) string { return c.Outcome },
	}
	for key, given := range values {
		if fields[key] == nil {
			return nil, fmt.Errorf("unknown key %q in the query, expected %s", key, strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
		}
		if len(given) != 1 || given[0] == "" {
			return nil, fmt.Errorf("%s has no value or several, expected one", key)
		}
		if key == "outcome" && !slices.Contains(s.outcomes, given[0]) {
			return nil, fmt.Errorf("unknown outcome %q, expected one of %s", given[0], strings.Join(s.outcomes, ", "))
		}
	}
	return func(c Call) bool {
		for key, given := range values {
			if fields[key](c) != shorten(given[0], maxName) {
				return false
			}
		}
		return true
	}, nil
}

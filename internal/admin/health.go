package admin

import (
	"net/http"
	"slices"
	"time"
)

// Reason is why a worker is not ready, or not alive.
type Reason struct {
	// Check names what was looked at: tools, credential, journal, nats, sessions, calls,
	// streams, lease, draining.
	Check string `json:"check"`
	// Text says what is wrong with it.
	Text string `json:"reason,omitempty"`
	// Since is since when. Zero: since the check was first seen to fail.
	Since time.Time `json:"since,omitzero"`
}

// Health is the answer of /healthz and of /readyz.
type Health struct {
	Alive   *bool    `json:"alive,omitempty"`
	Ready   *bool    `json:"ready,omitempty"`
	Reasons []Reason `json:"reasons"`
}

// Alive registers what /healthz asks: which of our own loops don't move, none if they
// all do. f is called by one goroutine at a time.
func (s *Server) Alive(f func() []Reason) { s.alive = newPart(dated(f)) }

// Ready registers what /readyz asks: why the worker is not ready, nothing if it
// is. f is called by one goroutine at a time.
func (s *Server) Ready(f func() []Reason) { s.ready = newPart(dated(f)) }

// dated remembers since when each check fails.
func dated(f func() []Reason) func() []Reason {
	since := map[string]time.Time{}
	return func() []Reason {
		now := map[string]time.Time{}
		reasons := slices.Clone(f())
		for i, r := range reasons {
			if old, known := since[r.Check]; known {
				now[r.Check] = old
			} else if now[r.Check].IsZero() {
				now[r.Check] = time.Now().UTC().Truncate(time.Second)
			}
			if r.Since.IsZero() {
				reasons[i].Since = now[r.Check]
			}
		}
		since = now
		return reasons
	}
}

func (s *Server) serveHealth(w http.ResponseWriter, r *http.Request) {
	var h Health
	h.Alive, h.Reasons = s.checked(r, "healthz", s.alive)
	s.replyHealth(w, r, h, *h.Alive)
}

func (s *Server) serveReady(w http.ResponseWriter, r *http.Request) {
	var h Health
	h.Ready, h.Reasons = s.checked(r, "readyz", s.ready)
	s.replyHealth(w, r, h, *h.Ready)
}

// checked asks why something is not well.
func (s *Server) checked(r *http.Request, name string, p *part[[]Reason]) (well *bool, reasons []Reason) {
	if p != nil {
		var err error
		if reasons, err = p.ask(r.Context()); err != nil {
			s.logPanic(name, err)
			reasons = []Reason{{Check: "worker", Text: err.Error()}}
		}
	}
	ok := len(reasons) == 0
	return &ok, reasons
}

// replyHealth shows a stranger only which checks fail.
func (s *Server) replyHealth(w http.ResponseWriter, r *http.Request, h Health, well bool) {
	shown := []Reason{}
	for _, reason := range h.Reasons {
		if !s.admits(r) {
			reason = Reason{Check: reason.Check}
		}
		shown = append(shown, reason)
	}
	h.Reasons = shown
	status := http.StatusOK
	if !well {
		status = http.StatusServiceUnavailable
	}
	reply(w, status, h)
}

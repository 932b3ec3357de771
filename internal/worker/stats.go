package worker

import (
	"maps"
	"sync"
	"time"

	"toolhand/internal/admin"
	"toolhand/internal/loop/run"
)

// stats counts how calls ended, and keeps the last ones.
type stats struct {
	started time.Time
	calls   admin.Calls

	mu       sync.Mutex
	outcomes map[run.Outcome]int64 // guarded by mu
}

func newStats() *stats {
	return &stats{started: time.Now(), outcomes: map[run.Outcome]int64{}}
}

func (s *stats) count(r run.Report) {
	s.calls.Add(admin.Call{ID: r.ID, Session: r.Session, Thread: r.Thread, Tool: r.Tool, Outcome: string(r.Outcome), Cause: r.Cause,
		Received: r.Received, Duration: float64(r.Duration.Microseconds()) / 1000})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes[r.Outcome]++
}

func (s *stats) snapshot() map[run.Outcome]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.outcomes)
}

// show registers the last calls.
func (s *stats) show(page *admin.Server) {
	var outcomes []string
	for _, o := range run.Outcomes() {
		outcomes = append(outcomes, string(o))
	}
	page.Calls(&s.calls, outcomes)
}

package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"toolhand/internal/admin"
	"toolhand/internal/bus"
	"toolhand/internal/journal"
	"toolhand/internal/loop"
	"toolhand/internal/loop/circuit"
	"toolhand/internal/loop/slots"
	"toolhand/internal/registry"
)

const (
	// askTimeout bounds what the admin address asks the sessions.
	askTimeout = 800 * time.Millisecond
	// overdue is how long past its deadline a call makes the worker unready.
	overdue = 30 * time.Second
)

// stats counts how calls ended, and keeps the last ones.
type stats struct {
	started time.Time
	calls   admin.Calls

	mu       sync.Mutex
	outcomes map[loop.Outcome]int64 // guarded by mu
}

func newStats() *stats {
	return &stats{started: time.Now(), outcomes: map[loop.Outcome]int64{}}
}

func (s *stats) count(r loop.Report) {
	s.calls.Add(admin.Call{ID: r.ID, Session: r.Session, Thread: r.Thread, Tool: r.Tool, Outcome: string(r.Outcome), Cause: r.Cause,
		Received: r.Received, Duration: float64(r.Duration.Microseconds()) / 1000})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes[r.Outcome]++
}

func (s *stats) snapshot() map[loop.Outcome]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[loop.Outcome]int64, len(s.outcomes))
	for k, v := range s.outcomes {
		out[k] = v
	}
	return out
}

// show registers the last calls.
func (s *stats) show(page *admin.Server) {
	var outcomes []string
	for _, o := range loop.Outcomes() {
		outcomes = append(outcomes, string(o))
	}
	page.Calls(&s.calls, outcomes)
}

// register tells the admin server what each part can say of itself.
func (w *worker) register(s *admin.Server) {
	s.Ready(w.unready)
	w.stats.show(s)
	s.Section("version", versionStatus)
	s.Section("worker", func() any { return w.workerStatus() })
	s.Section("sessions", func() any { return w.statuses() })
	s.Section("calls", func() any { return w.callsStatus() })
	s.Section("journal", func() any { return w.journalStatus() })
	s.Section("tools", func() any { return toolsStatus(w.registry.Set(), w.slots, w.circuits) })
}

func versionStatus() any {
	v, c := versions()
	return map[string]string{"version": v, "commit": c}
}

func (w *worker) statuses() []loop.Status {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	all, _ := w.fleet.Statuses(ctx)
	if all == nil {
		all = []loop.Status{}
	}
	return all
}

type workerStatus struct {
	PID      int              `json:"pid"`
	Started  time.Time        `json:"started"`
	Uptime   string           `json:"uptime"`
	Slots    int              `json:"slots_in_use"`
	Requests map[string]int64 `json:"requests"`
	// RefusedSince is since when the API refuses the credential.
	RefusedSince time.Time `json:"credential_refused_since,omitzero"`
}

func (w *worker) workerStatus() workerStatus {
	n := w.client.Counts()
	return workerStatus{
		PID: os.Getpid(), Started: w.stats.started, Uptime: time.Since(w.stats.started).Round(time.Second).String(),
		Slots:        w.slots.Held(),
		Requests:     map[string]int64{"stream": n.Streams, "list": n.Lists, "get": n.Gets, "send": n.Sends},
		RefusedSince: w.client.RefusedSince(),
	}
}

type journalStatus struct {
	Server bus.Status `json:"server"`
	journal.Status
	// Damage is there while the store is marked as damaged.
	Damage *damageStatus `json:"damage,omitempty"`
	// Unserved are sessions that have entries and are not served, as the last
	// look of the day found them: the first twenty of UnservedSessions.
	Unserved         []unserved `json:"unserved,omitempty"`
	UnservedSessions int        `json:"unserved_sessions,omitempty"`
}

func (w *worker) journalStatus() journalStatus {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	st := journalStatus{Server: w.bus.Status(), Damage: damageOf(w.bus)}
	var err error
	if st.Status, err = w.store.Status(ctx); err != nil {
		st.Problem = err.Error()
	}
	all := w.unservedSessions()
	st.Unserved, st.UnservedSessions = all[:min(len(all), maxNamed)], len(all)
	return st
}

type callsStatus struct {
	Open     int                    `json:"open"`
	Held     int                    `json:"held"` // wait for permission
	Outcomes map[loop.Outcome]int64 `json:"outcomes"`
}

func (w *worker) callsStatus() callsStatus {
	st := callsStatus{Outcomes: w.stats.snapshot()}
	for _, s := range w.statuses() {
		for _, c := range s.Calls {
			switch {
			case c.Owed:
				st.Open++
			case c.Held:
				st.Held++
			}
		}
	}
	return st
}

type toolStatus struct {
	Name        string       `json:"name"`
	Kind        string       `json:"handler"`
	Deadline    string       `json:"deadline"`
	Concurrency int          `json:"concurrency"`
	Idempotent  bool         `json:"idempotent"`
	File        string       `json:"file"`
	Retry       *retryStatus `json:"retry,omitempty"`
	Rate        string       `json:"rate,omitempty"`
	// AnnouncedBy are those who announce a tool that has no manifest, the first of
	// them, and Announcers is how many there are.
	AnnouncedBy []registry.Announcer `json:"announced_by,omitempty"`
	Announcers  int                  `json:"announcers,omitempty"`
	// What follows is of a worker that runs.
	Running int             `json:"running,omitempty"`
	Waiting int             `json:"waiting,omitempty"`
	Circuit *circuit.Status `json:"circuit,omitempty"`
}

type retryStatus struct {
	Attempts int    `json:"attempts"`
	Backoff  string `json:"backoff,omitempty"`
}

// statusOf is what is known of a tool without a worker.
func statusOf(t *registry.Tool) toolStatus {
	st := toolStatus{Name: t.Name, Kind: t.Kind, Deadline: t.DeadlineText, Concurrency: t.Concurrency,
		Idempotent: t.Idempotent, File: t.File, Rate: t.Rate.String()}
	st.AnnouncedBy, st.Announcers = t.Announcers()
	if t.Retry.Attempts > 0 {
		st.Retry = &retryStatus{Attempts: t.Retry.Attempts}
		if t.Retry.Backoff > 0 {
			st.Retry.Backoff = t.Retry.Backoff.String()
		}
	}
	return st
}

// toolsStatus is the tools in force, with what runs of them and their circuits.
func toolsStatus(set *registry.Set, s *slots.Slots, circuits *circuit.Circuits) []toolStatus {
	all := []toolStatus{}
	load := s.Load()
	for _, t := range set.Tools() {
		st := statusOf(t)
		st.Running, st.Waiting = load[t.LimitName()].Running, load[t.LimitName()].Waiting
		if c := circuits.Status(t.Name); c.Failures > 0 {
			st.Circuit = &c
		}
		all = append(all, st)
	}
	return all
}

// unready says why the worker is not ready: health is progress, not the process
// being up.
func (w *worker) unready() []admin.Reason {
	var reasons []admin.Reason
	add := func(check, format string, args ...any) {
		reasons = append(reasons, admin.Reason{Check: check, Text: fmt.Sprintf(format, args...)})
	}
	if since := w.client.RefusedSince(); !since.IsZero() {
		add("credential", "the API refuses the credential (401) since %s", since.Format(time.RFC3339))
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	if err := w.store.Check(ctx); err != nil {
		add("journal", "the journal can't be written: %s", err)
	}
	all, complete := w.fleet.Statuses(ctx)
	if !complete {
		add("sessions", "a session does not say what it does")
	}
	byID := map[string]loop.Status{}
	for _, s := range all {
		byID[s.ID] = s
		for _, c := range s.Calls {
			if late := time.Since(c.Deadline); c.Owed && !c.Deadline.IsZero() && late > overdue {
				add("calls", "call %s of session %s is %s past its deadline", c.ID, s.ID, late.Round(time.Second))
			}
		}
	}
	for _, id := range w.cfg.Sessions.IDs {
		if s, ok := byID[id]; complete && (!ok || !s.Attached) {
			add("sessions", "session %s is not attached yet", id)
		}
	}
	return reasons
}

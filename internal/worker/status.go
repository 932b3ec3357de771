package worker

import (
	"context"
	"fmt"
	"os"
	"time"

	"toolhand/internal/admin"
	"toolhand/internal/bus"
	"toolhand/internal/journal"
	"toolhand/internal/loop"
	"toolhand/internal/loop/circuit"
	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/serve"
)

const (
	// statusTimeout bounds what the admin address asks the sessions.
	statusTimeout = 800 * time.Millisecond
	// overdue is how long past its deadline a call makes the worker unready.
	overdue = 30 * time.Second
)

// Status is what a worker says of itself at its admin address. One for the Fleet has no
// Journal and no Sessions, one for Sessions no NATS.
type Status struct {
	Version  map[string]string `json:"version"`
	Worker   *ProcessStatus    `json:"worker,omitempty"`
	Journal  *JournalStatus    `json:"journal,omitempty"`
	NATS     *bus.Status       `json:"nats,omitempty"`
	Sessions []SessionStatus   `json:"sessions"`
	Calls    CallsStatus       `json:"calls"`
	Tools    []ToolStatus      `json:"tools"`
}

// SessionStatus is what a session says of itself.
type SessionStatus = loop.Status

// ProcessStatus is the process, and what it has asked of the API.
type ProcessStatus struct {
	PID      int              `json:"pid"`
	Started  time.Time        `json:"started"`
	Uptime   string           `json:"uptime"`
	Slots    int              `json:"slots_in_use"`
	Requests map[string]int64 `json:"requests,omitempty"`
	// RefusedSince is since when the API refuses the credential.
	RefusedSince time.Time `json:"credential_refused_since,omitzero"`
}

// JournalStatus is the journal and its server.
type JournalStatus struct {
	Server bus.Status `json:"server"`
	journal.Status
	// Damage is there while the store is marked as damaged.
	Damage *Damage `json:"damage,omitempty"`
	// Unserved are sessions that have entries and are not served, as the last
	// look of the day found them: the first twenty of UnservedSessions.
	Unserved         []journal.Unserved `json:"unserved,omitempty"`
	UnservedSessions int                `json:"unserved_sessions,omitempty"`
}

// CallsStatus counts calls.
type CallsStatus struct {
	Open     int                   `json:"open"`
	Held     int                   `json:"held"` // wait for permission
	Outcomes map[run.Outcome]int64 `json:"outcomes"`
	// Serving are the open calls of a worker for the Fleet.
	Serving []serve.OpenCall `json:"calls,omitempty"`
}

// ToolStatus is a tool in force.
type ToolStatus struct {
	Name        string       `json:"name"`
	Kind        string       `json:"handler"`
	Deadline    string       `json:"deadline"`
	Concurrency int          `json:"concurrency"`
	Idempotent  bool         `json:"idempotent"`
	File        string       `json:"file"`
	Retry       *RetryStatus `json:"retry,omitempty"`
	Rate        string       `json:"rate,omitempty"`
	// AnnouncedBy are those who announce a tool that has no manifest, the first of
	// them, and Announcers is how many there are.
	AnnouncedBy []registry.Announcer `json:"announced_by,omitempty"`
	Announcers  int                  `json:"announcers,omitempty"`
	// What follows is of a worker that serves.
	Running int             `json:"running,omitempty"`
	Waiting int             `json:"waiting,omitempty"`
	Circuit *circuit.Status `json:"circuit,omitempty"`
}

// RetryStatus is how a tool is tried again.
type RetryStatus struct {
	Attempts int    `json:"attempts"`
	Backoff  string `json:"backoff,omitempty"`
}

// Tools is the status of the tools in force: what runs of each, and its circuit.
func (w *Worker) Tools() []ToolStatus {
	all := []ToolStatus{}
	load := w.slots.Load()
	for _, t := range w.Set().Tools() {
		st := ToolStatus{Name: t.Name, Kind: t.Kind, Deadline: t.DeadlineText, Concurrency: t.Concurrency,
			Idempotent: t.Idempotent, File: t.File, Rate: t.Rate.String(),
			Running: load[t.LimitName()].Running, Waiting: load[t.LimitName()].Waiting}
		st.AnnouncedBy, st.Announcers = t.Announcers()
		if t.Retry.Attempts > 0 {
			st.Retry = &RetryStatus{Attempts: t.Retry.Attempts}
			if t.Retry.Backoff > 0 {
				st.Retry.Backoff = t.Retry.Backoff.String()
			}
		}
		if c := w.circuits.Status(t.Name); c.Failures > 0 {
			st.Circuit = &c
		}
		all = append(all, st)
	}
	return all
}

func (s *sessions) show(page *admin.Server) {
	s.actions(page)
	page.Section("worker", func() any { return s.processStatus() })
	page.Section("sessions", func() any { return s.statuses() })
	page.Section("calls", func() any { return s.callsStatus() })
	if s.store != nil {
		page.Section("journal", func() any { return s.journalStatus() })
	}
}

func (s *sessions) statuses() []loop.Status {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	all, _ := s.fleet.Statuses(ctx)
	if all == nil {
		all = []loop.Status{}
	}
	return all
}

// processStatus is that of any worker.
func (w *Worker) processStatus() ProcessStatus {
	return ProcessStatus{PID: os.Getpid(), Started: w.stats.started,
		Uptime: time.Since(w.stats.started).Round(time.Second).String(), Slots: w.slots.Held()}
}

func (s *sessions) processStatus() ProcessStatus {
	st, n := s.Worker.processStatus(), s.client.Counts()
	st.Requests = map[string]int64{"stream": n.Streams, "list": n.Lists, "get": n.Gets, "send": n.Sends}
	st.RefusedSince = s.client.RefusedSince()
	return st
}

func (s *sessions) journalStatus() JournalStatus {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	st := JournalStatus{Server: s.bus.Status(), Damage: damageOf(s.bus)}
	var err error
	if st.Status, err = s.store.Status(ctx); err != nil {
		st.Problem = err.Error()
	}
	all := s.retention.Unserved()
	st.Unserved, st.UnservedSessions = all[:min(len(all), journal.MaxNamed)], len(all)
	return st
}

func (s *sessions) callsStatus() CallsStatus {
	st := CallsStatus{Outcomes: s.stats.snapshot()}
	for _, session := range s.statuses() {
		for _, c := range session.Calls {
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

// stuckAfter is for how long a session may not say what it does, before its loop counts
// as one that does not move.
const stuckAfter = 30 * time.Second

// stuck implements service.
func (s *sessions) stuck() []admin.Reason {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	if _, complete := s.fleet.Statuses(ctx); complete {
		s.incomplete = time.Time{}
		return nil
	}
	if s.incomplete.IsZero() {
		s.incomplete = time.Now()
	}
	if time.Since(s.incomplete) < stuckAfter {
		return nil
	}
	return []admin.Reason{{Check: "sessions", Text: "a session does not say what it does", Since: s.incomplete.UTC().Truncate(time.Second)}}
}

// unready implements service: health is progress, not the process being up.
func (s *sessions) unready() []admin.Reason {
	var reasons []admin.Reason
	add := func(check, format string, args ...any) {
		reasons = append(reasons, admin.Reason{Check: check, Text: fmt.Sprintf(format, args...)})
	}
	if since := s.client.RefusedSince(); !since.IsZero() {
		add("credential", "the API refuses the credential (401) since %s", since.Format(time.RFC3339))
	}
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	if s.store != nil {
		if err := s.store.Check(ctx); err != nil {
			add("journal", "the journal can't be written: %s", err)
		}
	}
	all, complete := s.fleet.Statuses(ctx)
	if !complete {
		add("sessions", "a session does not say what it does")
	}
	byID := map[string]loop.Status{}
	for _, st := range all {
		byID[st.ID] = st
		for _, c := range st.Calls {
			if late := time.Since(c.Deadline); c.Owed && !c.Deadline.IsZero() && late > overdue {
				add("calls", "call %s of session %s is %s past its deadline", c.ID, st.ID, late.Round(time.Second))
			}
		}
	}
	for _, id := range s.named.ids() {
		switch st, ok := byID[id]; {
		case st.NotFound:
			add("sessions", "the API knows no session %s: check the id and the key's workspace", id)
		case complete && (!ok || !st.Attached) && st.LastError != "":
			add("sessions", "session %s is not attached yet: %s", id, st.LastError)
		case complete && (!ok || !st.Attached):
			add("sessions", "session %s is not attached yet", id)
		}
	}
	return reasons
}

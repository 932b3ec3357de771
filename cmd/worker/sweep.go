package main

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"toolhand/internal/upstream"
)

const (
	// keptFor is how long the journal keeps what will never be sent, since it was
	// last written.
	keptFor = 30 * 24 * time.Hour
	// sweepEvery is how often that is looked for, and at the start.
	sweepEvery = 24 * time.Hour
	// maxAsked is of how many sessions the API is asked at most in one sweep
	// whether they are over; the others have their turn on another day.
	maxAsked = 100
	// maxNamed is how many of the sessions that nobody serves are named.
	maxNamed = 20
)

// unserved is a session that has entries in the journal and is not served here.
type unserved struct {
	Session string `json:"session"`
	Entries int    `json:"entries"`
}

// sweeper looks after what the journal has of sessions that nobody serves. Its
// zero value has found nothing yet.
type sweeper struct {
	mu    sync.Mutex
	found []unserved // guarded by mu; as the last sweep found them
}

// sweepJournal sweeps at the start and every day, until ctx ends.
func (w *worker) sweepJournal(ctx context.Context) {
	for {
		w.sweep(ctx, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-time.After(sweepEvery):
		}
	}
}

// sweep tells of the entries that wait for sessions which are not served, and
// takes the room of those that will never be sent.
func (w *worker) sweep(ctx context.Context, now time.Time) {
	// What other workers serve can't be told from here.
	if w.bus.Embedded() {
		w.tellUnserved(ctx)
	}
	asked, served := 0, w.serves()
	gone, err := w.store.Expire(ctx, now.Add(-keptFor), func(session string) bool {
		if served[session] || asked == maxAsked {
			return false
		}
		asked++
		return w.isOver(ctx, session)
	})
	for _, a := range gone {
		text := "an old result that the API refused is dropped from the journal; its call stays there, and is not run again"
		if a.Dropped {
			text = "an old entry of the journal is dropped: its session is over"
		}
		w.log.Warn(text, "session", a.Entry.Session, "call", a.Entry.Call, "tool", a.Entry.Tool, "written", a.Written,
			"finished", a.Entry.Finished, "quarantined", a.Entry.Quarantined, "bytes", a.Bytes)
	}
	if err != nil && ctx.Err() == nil {
		w.log.Error("the journal can't be looked through for what is old; trying again tomorrow", "error", err)
	}
}

// isOver asks the API whether a session can take no result any more. Where it does
// not say so, the session lives.
func (w *worker) isOver(ctx context.Context, session string) bool {
	s, err := w.client.Get(ctx, session, false)
	var e *upstream.Error
	if errors.As(err, &e) {
		return e.Kind() == upstream.KindGone
	}
	return err == nil && s.Over()
}

// serves are the sessions that are served, or will be.
func (w *worker) serves() map[string]bool {
	all := map[string]bool{}
	for _, id := range w.cfg.Sessions.IDs {
		all[id] = true
	}
	for _, s := range w.statuses() {
		all[s.ID] = true
	}
	return all
}

// tellUnserved finds the sessions that have entries and are not served, and warns
// of them.
func (w *worker) tellUnserved(ctx context.Context) {
	sessions, err := w.store.Sessions(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Error("the journal's sessions can't be listed", "error", err)
		}
		return
	}
	served := w.serves()
	maps.DeleteFunc(sessions, func(id string, _ int) bool { return served[id] })
	found := make([]unserved, 0, len(sessions))
	total := 0
	for id, n := range sessions {
		found, total = append(found, unserved{id, n}), total+n
	}
	slices.SortFunc(found, func(a, b unserved) int { return cmp.Or(b.Entries-a.Entries, cmp.Compare(a.Session, b.Session)) })
	w.sweeper.mu.Lock()
	w.sweeper.found = found
	w.sweeper.mu.Unlock()
	if total == 0 {
		return
	}
	named := make([]string, 0, maxNamed)
	for _, u := range found[:min(len(found), maxNamed)] {
		named = append(named, u.Session)
	}
	w.log.Warn("the journal has entries of sessions that are not served: their results wait until somebody serves them (--session, sessions.ids)",
		"entries", total, "sessions", len(found), "named", named)
}

// unservedSessions are those of the last sweep that nobody serves meanwhile.
func (w *worker) unservedSessions() []unserved {
	w.sweeper.mu.Lock()
	found := slices.Clone(w.sweeper.found)
	w.sweeper.mu.Unlock()
	if len(found) == 0 {
		return nil
	}
	served := w.serves()
	return slices.DeleteFunc(found, func(u unserved) bool { return served[u.Session] })
}

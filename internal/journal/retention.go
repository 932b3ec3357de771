package journal

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// keptFor is how long the journal keeps what will never be sent, since it was
	// last written.
	keptFor = 30 * 24 * time.Hour
	// lookEvery is how often that is looked for, and at the start.
	lookEvery = 24 * time.Hour
	// maxAsked is of how many sessions it is asked at most in one look whether they are
	// over; the others have their turn on another day.
	maxAsked = 100
	// MaxNamed is how many of the sessions that nobody serves are named.
	MaxNamed = 20
)

// Unserved is a session that has entries in the journal and is not served here.
type Unserved struct {
	Session string `json:"session"`
	Entries int    `json:"entries"`
}

// Retention looks after what the journal has of sessions that nobody serves.
type Retention struct {
	Journal *Journal
	// Served gives the sessions that are served here, or will be.
	Served func() map[string]bool
	// Over reports whether a session can take no result any more. Where that can't be
	// told the session lives.
	Over func(ctx context.Context, session string) bool
	Log  *slog.Logger

	mu       sync.Mutex
	unserved []Unserved // guarded by mu; as the last look found them
}

// Run looks at the start and every day, until ctx ends.
func (r *Retention) Run(ctx context.Context) {
	for {
		r.Look(ctx, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery):
		}
	}
}

// Look logs the entries that wait for sessions which are not served, and takes the
// room of those that will never be sent. now is the time that they are as old by.
func (r *Retention) Look(ctx context.Context, now time.Time) {
	// What other workers serve can't be told from here.
	if r.Journal.opts.Sole {
		r.findUnserved(ctx)
	}
	asked, served := 0, r.Served()
	gone, err := r.Journal.Expire(ctx, now.Add(-keptFor), func(session string) bool {
		if served[session] || asked == maxAsked {
			return false
		}
		asked++
		return r.Over(ctx, session)
	})
	for _, a := range gone {
		text := "an old result that the API refused is dropped from the journal; its call stays there, and is not run again"
		if a.Dropped {
			text = "an old entry of the journal is dropped: its session is over"
		}
		r.Log.Warn(text, "session", a.Entry.Session, "call", a.Entry.Call, "tool", a.Entry.Tool, "written", a.Written,
			"finished", a.Entry.Finished, "quarantined", a.Entry.Quarantined, "bytes", a.Bytes)
	}
	if err != nil && ctx.Err() == nil {
		r.Log.Error("the journal can't be looked through for what is old; trying again tomorrow", "error", err)
	}
}

// findUnserved finds the sessions that have entries and are not served, and warns
// of them.
func (r *Retention) findUnserved(ctx context.Context) {
	sessions, err := r.Journal.Sessions(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.Log.Error("the journal's sessions can't be listed", "error", err)
		}
		return
	}
	served := r.Served()
	maps.DeleteFunc(sessions, func(id string, _ int) bool { return served[id] })
	found := make([]Unserved, 0, len(sessions))
	total := 0
	for id, n := range sessions {
		found, total = append(found, Unserved{id, n}), total+n
	}
	slices.SortFunc(found, func(a, b Unserved) int { return cmp.Or(b.Entries-a.Entries, cmp.Compare(a.Session, b.Session)) })
	r.mu.Lock()
	r.unserved = found
	r.mu.Unlock()
	if total == 0 {
		return
	}
	named := make([]string, 0, MaxNamed)
	for _, u := range found[:min(len(found), MaxNamed)] {
		named = append(named, u.Session)
	}
	r.Log.Warn("the journal has entries of sessions that are not served: their results wait until somebody serves them (--session, sessions.ids)",
		"entries", total, "sessions", len(found), "named", named)
}

// Unserved gives those of the last look that nobody serves meanwhile, those with the
// most entries first.
func (r *Retention) Unserved() []Unserved {
	r.mu.Lock()
	found := slices.Clone(r.unserved)
	r.mu.Unlock()
	if len(found) == 0 {
		return nil
	}
	served := r.Served()
	return slices.DeleteFunc(found, func(u Unserved) bool { return served[u.Session] })
}

package discovery

import (
	"context"
	"log/slog"
	"time"

	"toolhand/internal/registry"
)

// How often and how long services are asked.
const (
	// Interval is from one round to the next.
	Interval = 5 * time.Second
	// Window is how long answers are waited for in a round.
	Window = 2 * time.Second
	// ShortWindow is the same where somebody waits for the outcome.
	ShortWindow = time.Second
	// pause is between two rounds of First, where the answer came at once.
	pause = 200 * time.Millisecond
)

// Watch asks again and again. Its fields are set before it is used, and all but
// Swapped are required.
type Watch struct {
	// Ask is one round; see [Ask].
	Ask func(ctx context.Context, window time.Duration) (registry.Round, error)
	// Take is [registry.Registry.Announce].
	Take func(registry.Round) (changed bool)
	// Swapped is called when Run has changed the tools in force.
	Swapped func()
	Log     *slog.Logger

	told string // why nothing is known, as it was logged last; owned by First, then by Run
}

// First asks until enough says that no more need be waited for, and at most for
// bound and a window. It is for a worker that starts: calls that are open already
// want their tools. Silence counts for nothing here.
func (w *Watch) First(ctx context.Context, bound time.Duration, enough func() bool) {
	over := time.After(bound)
	for {
		if r, err := w.Ask(ctx, ShortWindow); err == nil {
			r.Partial = true
			w.Take(r)
		}
		if enough() {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-over:
			return
		case <-time.After(pause):
		}
	}
}

// Run asks every Interval, from now on, until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	next := time.NewTicker(Interval)
	defer next.Stop()
	for {
		w.once(ctx)
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
	}
}

// once is one round.
func (w *Watch) once(ctx context.Context) {
	r, err := w.Ask(ctx, Window)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		if text := err.Error(); text != w.told {
			w.told = text
			w.Log.Warn("services can't be asked for tools: those that were announced stay", "error", err)
		}
	default:
		if w.told != "" {
			w.Log.Info("services are asked for tools again")
		}
		w.told = ""
		if w.Take(r) && w.Swapped != nil {
			w.Swapped()
		}
	}
}

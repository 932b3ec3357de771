package run

import (
	"context"
	"log/slog"
	"time"

	"toolhand/internal/tools"
)

// Report is what is said of a call when it ends.
type Report struct {
	Session  string
	ID       string
	Tool     string
	Thread   string
	Outcome  Outcome
	Received time.Time
	Duration time.Duration // from its receipt to now
	Phases   Phases        // of it
	Bytes    int           // of its result
	Result   tools.Result
	// Cause says why the outcome is not ok, with nothing of what went into the tool
	// or came out of it. Empty where it is.
	Cause string
	// Reason is as that of an [Answer].
	Reason string
}

// Take makes an answer that of the report.
func (r *Report) Take(a Answer) {
	r.Outcome, r.Result, r.Reason, r.Bytes, r.Cause = a.Outcome, a.Result, a.Reason, len(a.Result.Content), a.Cause()
}

// Phases are what the time of a call went into.
type Phases struct {
	Queued   time.Duration // for a slot, and between two attempts
	Validate time.Duration // the check of its input
	Journal  time.Duration // the writing of its start
	Run      time.Duration // in its handler
	Send     time.Duration // from its result to the API's acceptance
}

func (p *Phases) add(to phase, d time.Duration) {
	switch to {
	case waiting:
		p.Queued += d
	case checking:
		p.Validate += d
	case starting:
		p.Journal += d
	case handling:
		p.Run += d
	}
}

// milliseconds is a duration as logs have it.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Log writes the report to a log, its result at the debug level alone.
func (r Report) Log(log *slog.Logger, text string) {
	attrs := append(make([]slog.Attr, 0, 12), slog.String("tool", r.Tool), slog.String("call", r.ID), slog.String("outcome", string(r.Outcome)),
		slog.Float64("duration_ms", milliseconds(r.Duration)), slog.Int("bytes", r.Bytes))
	for _, p := range [...]struct {
		name string
		took time.Duration
	}{{"queued_ms", r.Phases.Queued}, {"validate_ms", r.Phases.Validate}, {"journal_ms", r.Phases.Journal}, {"run_ms", r.Phases.Run}, {"send_ms", r.Phases.Send}} {
		if p.took > 0 {
			attrs = append(attrs, slog.Float64(p.name, milliseconds(p.took)))
		}
	}
	if r.Thread != "" {
		attrs = append(attrs, slog.String("thread", r.Thread))
	}
	if r.Cause != "" {
		attrs = append(attrs, slog.String("cause", r.Cause))
	}
	level := slog.LevelInfo
	if r.Outcome == UnknownOutcome {
		level = slog.LevelWarn
	}
	log.LogAttrs(context.Background(), level, text, attrs...)
	if log.Enabled(context.Background(), slog.LevelDebug) { // or the content is copied for nothing
		log.Debug("result", "call", r.ID, "content", string(r.Result.Content))
	}
}

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
	Ran      time.Duration // in its handler; 0 where it did not run
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

// Log writes the report to a log, its result at the debug level alone.
func (r Report) Log(log *slog.Logger, text string) {
	args := []any{"tool", r.Tool, "call", r.ID, "outcome", string(r.Outcome),
		"duration", r.Duration.Round(time.Microsecond).String(), "bytes", r.Bytes}
	if r.Thread != "" {
		args = append(args, "thread", r.Thread)
	}
	if r.Cause != "" {
		args = append(args, "cause", r.Cause)
	}
	log.Info(text, args...)
	if log.Enabled(context.Background(), slog.LevelDebug) { // or the content is copied for nothing
		log.Debug("result", "call", r.ID, "content", string(r.Result.Content))
	}
}

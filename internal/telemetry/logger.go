package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"github.com/mattn/go-isatty"
)

// NewLogger makes a logger that writes a line for each record to w, in one
// Write. level is debug, info, warn or error. format is json, tint (text is the
// same) or auto: tint if isTerminal, json else. Both may be empty, for info and
// auto. A terminal gets colours unless NO_COLOR is set; anything else gets none.
func NewLogger(w io.Writer, level, format string, isTerminal bool) (*slog.Logger, error) {
	var min slog.Level
	switch level {
	case "debug":
		min = slog.LevelDebug
	case "info", "":
		min = slog.LevelInfo
	case "warn":
		min = slog.LevelWarn
	case "error":
		min = slog.LevelError
	default:
		return nil, fmt.Errorf("log level %q is unknown, expected debug, info, warn or error", level)
	}
	if format == "" || format == "auto" {
		format = "json"
		if isTerminal {
			format = "tint"
		}
	}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: min})), nil
	case "tint", "text":
		return slog.New(tint.NewTextHandler(w, &tint.Options{
			Level:      min,
			TimeFormat: time.TimeOnly + ".000",
			NoColor:    !isTerminal || os.Getenv("NO_COLOR") != "",
		})), nil
	}
	return nil, fmt.Errorf("log format %q is unknown, expected auto, tint, text or json", format)
}

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool {
	return isatty.IsTerminal(f.Fd())
}

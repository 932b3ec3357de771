package exec_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"toolhand/internal/tools"
	toolexec "toolhand/internal/tools/exec"
	"toolhand/internal/tools/handlertest"
)

// TestStderr: it is logged for debugging, whatever the call came to, and told to who
// watches where the result does not show it.
func TestStderr(t *testing.T) {
	procs := handlertest.Processes(t)
	for name, c := range map[string]struct {
		line    string
		watched string
	}{
		"success":  {`printf 'an aside\n' >&2`, "an aside\n"},
		"failure":  {`printf 'an aside\n' >&2; exit 1`, ""},
		"deadline": {`printf 'an aside\n' >&2; sleep 100`, "an aside\n"},
		"nothing":  {`:`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var log, watched bytes.Buffer
			h := handlertest.Shell(t, procs, c.line, func(_ *toolexec.Config, common *tools.Common) {
				common.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			})
			ctx := tools.WithWatcher(t.Context(), tools.Watcher{Stderr: func(text string) { watched.WriteString(text) }, Warn: func(text string) { t.Error(text) }})
			if name == "deadline" {
				var stop context.CancelFunc
				ctx, stop = context.WithTimeout(ctx, 300*time.Millisecond)
				defer stop()
			}
			r, err := h.Call(ctx, handlertest.NewCall(`{}`))
			if (err != nil) != (name == "deadline") || r.IsError != (name == "failure") {
				t.Errorf("got %s, %v", r.Content, err)
			}
			if watched.String() != c.watched {
				t.Errorf("the watcher has %q, expected %q", watched.String(), c.watched)
			}
			if logged := strings.Contains(log.String(), `level=DEBUG msg="the program wrote to stderr"`) && strings.Contains(log.String(), `stderr="an aside\n"`); logged != (name != "nothing") {
				t.Errorf("the log has %s", log.String())
			}
		})
	}
}

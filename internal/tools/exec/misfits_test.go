package exec_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"toolhand/internal/tools"
	toolexec "toolhand/internal/tools/exec"
	"toolhand/internal/tools/handlertest"
)

// TestMisfitsAreTold: an answer with wrong blocks is warned of once a tool and reason,
// or told to who watches.
func TestMisfitsAreTold(t *testing.T) {
	procs := handlertest.Processes(t)
	var log bytes.Buffer
	h := handlertest.Shell(t, procs, `cat`, func(_ *toolexec.Config, common *tools.Common) { common.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	for _, input := range []string{`{"content":[{"type":"txt"}]}`, `{"content":[{"type":"txt"}]}`, `{"content":[{"type":"image", "secret":"s3cr3t"}]}`, `{"content":[]}`, `{"a":1}`} {
		handlertest.Call(t, h, input)
	}
	if got := strings.Count(log.String(), "level=WARN"); got != 2 || !strings.Contains(log.String(), "content[0].source: is missing") || strings.Contains(log.String(), "s3cr3t") {
		t.Errorf("%d warnings, expected 2:\n%s", got, log.String())
	}
	log.Reset()
	var told []string
	ctx := tools.WithWatcher(t.Context(), tools.Watcher{Stderr: func(text string) { t.Error(text) }, Warn: func(text string) { told = append(told, text) }})
	for range 2 {
		if _, err := h.Call(ctx, handlertest.NewCall(`{"content":"x"}`)); err != nil {
			t.Fatal(err)
		}
	}
	if len(told) != 2 || told[0] != "the answer looks like content blocks, but is taken as text: content: expected a list" || log.Len() > 0 {
		t.Errorf("told %q, logged %q", told, log.String())
	}
}

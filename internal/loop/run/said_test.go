package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"toolhand/internal/loop/circuit"
	"toolhand/internal/loop/slots"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
)

// What a tool's other end has said is in the answer, and in the log at the debug level
// alone.
func TestSaidIsNotLogged(t *testing.T) {
	said := fmt.Errorf("%w; it is tried again", &tools.SaidError{Err: errors.New("it ended"), Said: "its stderr: hush-hush"})
	for name, c := range map[string]struct {
		err    error
		answer string
		logged []string
	}{
		"unavailable": {&tools.UnavailableError{Err: said, Passing: true}, `Tool "x" is unavailable: it ended; it is tried again` + "\n" + "its stderr: hush-hush",
			[]string{"call is tried again", "tool can't be reached", "call answered"}},
		"lost": {&tools.LostError{Err: said}, `Tool "x" was interrupted: its outcome is unknown: it ended; it is tried again` + "\n" + "its stderr: hush-hush",
			[]string{"call answered"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logged bytes.Buffer
				log := slog.New(slog.NewTextHandler(&logged, nil))
				tool := newTool(t, registry.Manifest{Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) { return tools.Result{}, c.err })})
				once := Once{Runner: Runner{Slots: slots.New(0), Log: log, Circuits: &circuit.Circuits{}}, Lookup: func(string) (*registry.Tool, bool) { return tool, true }}
				r, err := once.Call(t.Context(), tools.Call{ID: "c", Tool: "x", Session: "s", Input: json.RawMessage(`{}`)})
				r.Log(log, "call answered")
				var blocks []struct{ Text string }
				if e := json.Unmarshal(r.Result.Content, &blocks); err != nil || e != nil || blocks[0].Text != c.answer {
					t.Errorf("%s %v %v, expected %q", r.Result.Content, err, e, c.answer)
				}
				if cause, _, _ := strings.Cut(c.answer, "\n"); r.Cause != cause || r.Reason != "it ended; it is tried again" {
					t.Errorf("cause %q, reason %q", r.Cause, r.Reason)
				}
				for _, line := range c.logged {
					if !strings.Contains(logged.String(), line) {
						t.Errorf("%q is not logged", line)
					}
				}
				if strings.Contains(logged.String(), "hush-hush") {
					t.Errorf("the log:\n%.2000s", logged.String())
				}
			})
		})
	}
}

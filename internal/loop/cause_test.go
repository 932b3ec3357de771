package loop

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/sim"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// Each call that did not end well says why, and with no word of its input or result.
func TestReportsSayTheCause(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		r.echo("fine")
		for name, err := range map[string]error{
			"gone": &tools.UnavailableError{Err: errors.New("connection refused")},
			"lost": &tools.LostError{Err: errors.New("connection reset")},
		} {
			r.tool(registry.Manifest{Name: name, Retry: registry.Retry{Attempts: 1}, Handler: handlerFunc(
				func(context.Context, tools.Call) (tools.Result, error) { return tools.Result{}, err })})
		}
		r.tool(registry.Manifest{Name: "fails", Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
			return content.Error("hunter2"), nil
		})})
		r.tool(registry.Manifest{Name: "panics", Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) { panic("hunter2") })})
		r.tool(registry.Manifest{Name: "hangs", Deadline: time.Second, DeadlineText: "1s", Handler: handlerFunc(
			func(ctx context.Context, _ tools.Call) (tools.Result, error) {
				<-ctx.Done()
				return tools.Result{}, ctx.Err()
			})})
		r.tool(registry.Manifest{Name: "strict", InputSchema: json.RawMessage(`{"type":"object","additionalProperties":false}`), Handler: handlerFunc(echo)})
		begun := time.Now()
		wants := map[string]struct {
			outcome run.Outcome
			cause   string
		}{
			r.session.CallTool("fine", `{"a":"hunter2"}`):                 {run.OK, ""},
			r.session.CallTool("fails", `{}`):                             {run.Failed, "the result of the tool is an error"},
			r.session.CallTool("panics", `{}`):                            {run.Failed, `Tool "panics" failed: its handler panicked; the worker's log has the details`},
			r.session.CallTool("strict", `{"hunter2":1}`):                 {run.Invalid, `Invalid input for tool "strict"`},
			r.session.CallTool("missing", `{"hunter2":1}`):                {run.UnknownTool, "Unknown tool: missing"},
			r.session.CallTool("hangs", `{"hunter2":1}`):                  {run.Deadline, `Tool "hangs" did not finish within its deadline of 1s`},
			r.session.CallTool("gone", `{}`):                              {run.Unavailable, `Tool "gone" is unavailable: connection refused`},
			r.session.CallTool("lost", `{}`):                              {run.UnknownOutcome, `Tool "lost" was interrupted: its outcome is unknown: connection reset`},
			r.session.Call(sim.CallSpec{Name: "fine", Evaluated: "deny"}): {run.Denied, errDenied.Error()},
			r.session.Call(sim.CallSpec{Name: "fine", Evaluated: "ask"}):  {run.Interrupted, errInterrupted.Error()},
		}
		r.session.RequireAction()
		after(5 * time.Second)
		if err := r.session.Interrupt(""); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		for id, want := range wants {
			r.ended(id, want.outcome)
			got := r.reports[id][0]
			if got.Cause != want.cause || got.Session != sessionID || got.Received.Sub(begun).Abs() > time.Second || strings.Contains(got.Cause, "hunter2") {
				t.Errorf("%s %s: of %s, received %s, caused by %q, want %q", got.Tool, got.Outcome, got.Session, got.Received, got.Cause, want.cause)
			}
		}
		if got := strings.Count(r.log.String(), " cause="); got != len(wants)-1 {
			t.Errorf("%d lines of the log have a cause, want %d", got, len(wants)-1)
		}
	})
}

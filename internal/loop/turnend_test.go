package loop

import (
	"context"
	"strings"
	"testing"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/sim"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// A turn's end is told by the type of what ended it, not by a message.
func TestTurnsEndIsShownAsWhatItIs(t *testing.T) {
	for _, kind := range []string{"tool_use_limit_reached_error", "compaction_limit_reached_error"} {
		t.Run(kind, func(t *testing.T) {
			scenario(t, func(o *options) { o.unchecked = true }, func(t *testing.T, r *rig) {
				end := func(want string) {
					t.Helper()
					after(0)
					if st, _ := r.served.Status(t.Context()); !st.TurnEnded || st.TurnEnd != want {
						t.Errorf("turn end %q, want %q", st.TurnEnd, want)
					}
				}
				r.live(`{"type":"session.error","id":"sevt_e","processed_at":"2000-01-01T00:00:01Z","error":{"type":"` + kind + `","message":"any words","retry_status":{"type":"exhausted"}}}`)
				r.session.Idle("retries_exhausted")
				end(kind)
				if log := r.log.String(); !strings.Contains(log, "reason="+kind) {
					t.Error("the log does not name the end")
				}
				r.session.Run()
				r.session.Idle("retries_exhausted")
				end("retries_exhausted")
			})
		})
	}
}

// An archived session, whose status is idle, is told as archived.
func TestArchivedSessionIsToldAsArchived(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		stop := make(chan struct{})
		r.tool(registry.Manifest{Name: "slow", Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
			<-stop
			return content.Text("done"), nil
		})})
		id := r.session.CallTool("slow", `{}`)
		r.session.RequireAction()
		after(0)
		r.session.Archive()
		close(stop)
		r.over(ReasonOver)
		r.ended(id, run.Interrupted)
		if log := r.log.String(); !strings.Contains(log, "why=archived") {
			t.Error("the log does not say archived")
		}
		if st, _ := r.served.Status(t.Context()); st.State != "ended: archived" {
			t.Errorf("the status is %q", st.State)
		}
	})
}

// A session that was terminated is told from one that was deleted.
func TestEndOfASessionIsShownAsWhatItIs(t *testing.T) {
	for want, end := range map[string]func(*sim.Session){
		"ended: terminated": (*sim.Session).Terminate,
		"ended: deleted":    (*sim.Session).Delete,
	} {
		t.Run(want, func(t *testing.T) {
			scenario(t, nil, func(t *testing.T, r *rig) {
				end(r.session)
				r.over(ReasonOver)
				if st, _ := r.served.Status(t.Context()); st.State != want {
					t.Errorf("the status is %q", st.State)
				}
			})
		})
	}
}

// A worker that attaches later knows from the history why the turn has ended.
func TestTurnsEndIsFoundInTheHistory(t *testing.T) {
	before := func(o *options) {
		o.before = func(r *rig) {
			r.session.Run()
			r.session.Error("any words")
			r.session.Idle("retries_exhausted")
		}
	}
	scenario(t, before, func(t *testing.T, r *rig) {
		after(time.Second)
		if st, _ := r.served.Status(t.Context()); !st.TurnEnded || st.TurnEnd != "unknown_error" {
			t.Errorf("turn end %q", st.TurnEnd)
		}
	})
}

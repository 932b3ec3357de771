package loop

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/run"
	"toolhand/internal/sim"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// A session is recovered whose worker died with one call started and one finished:
// what still runs of the first, and of no other session's, is stopped before
// anything is asked for or answered.
func TestRecoverStopsWhatIsLeft(t *testing.T) {
	received := time.Now().UTC()
	entry := func(session, call string) journal.Entry {
		return journal.Entry{Session: session, Call: call, Tool: "pay", Thread: "sthr_1", Owner: "dead", Received: received, Deadline: received.Add(time.Minute)}
	}
	j := &journal.Memory{}
	before := func(o *options) { o.lateStart, o.journal = true, j }
	scenario(t, before, func(t *testing.T, r *rig) {
		r.counted("pay")
		started, finished := r.session.CallTool("pay", `{}`), r.session.CallTool("pay", `{}`)
		for _, e := range []journal.Entry{entry(sessionID, started), entry(sessionID, finished), entry("sesn_other", "sevt_other")} {
			var err error
			if e.Revision, err = j.Start(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			if e.Call != finished {
				continue
			}
			e.Finished, e.Outcome, e.Content = true, string(run.OK), content.Text("done").Content
			if _, err := j.Finish(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		var stopped [][]tools.Call
		r.served.cfg.StopLeft = func(calls []tools.Call) error {
			stopped = append(stopped, calls)
			r.requests(sim.Stream, 0)
			if len(stopped) < 3 {
				return errors.New("too many open files")
			}
			return nil
		}
		r.start()
		r.answered(started, finished)
		if len(stopped) != 3 || len(stopped[2]) != 1 {
			t.Fatalf("stopped %v, want the call that was started, at the third try", stopped)
		}
		got, want := stopped[2][0], entry(sessionID, started)
		if got.ID != want.Call || got.Tool != want.Tool || got.Session != want.Session || got.Thread != want.Thread || !got.Deadline.Equal(want.Deadline) {
			t.Errorf("stopped %+v, want that of %+v", got, want)
		}
	})
}

// A session that recovers calls goes before the quiet ones from its first request on.
func TestRecoveredSessionIsUrgent(t *testing.T) {
	j := &journal.Memory{}
	before := func(o *options) { o.lateStart, o.journal = true, j }
	scenario(t, before, func(t *testing.T, r *rig) {
		r.counted("pay")
		id := r.session.CallTool("pay", `{}`)
		e := journal.Entry{Session: sessionID, Call: id, Tool: "pay", Thread: "sthr_1", Owner: "dead", Received: time.Now().UTC(), Deadline: time.Now().UTC().Add(time.Minute)}
		if _, err := j.Start(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		urgent := false
		r.sim.Arm(sim.Fault{Endpoint: sim.Stream, Times: 1, Do: func(next http.Handler) http.Handler {
			urgent = r.served.urgent.Load()
			return next
		}})
		r.start()
		r.answered(id)
		if !urgent {
			t.Error("its stream waited with those of quiet sessions")
		}
	})
}

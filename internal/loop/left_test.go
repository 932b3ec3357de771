package loop

import (
	"testing"
	"time"

	"toolhand/internal/journal"
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
			e.Finished, e.Outcome, e.Content = true, string(OK), content.Text("done").Content
			if _, err := j.Finish(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		var stopped [][]tools.Call
		r.served.cfg.StopLeft = func(calls []tools.Call) {
			stopped = append(stopped, calls)
			r.requests(sim.Stream, 0)
		}
		r.start()
		r.answered(started, finished)
		if len(stopped) != 1 || len(stopped[0]) != 1 {
			t.Fatalf("stopped %v, want the call that was started, once", stopped)
		}
		got, want := stopped[0][0], entry(sessionID, started)
		if got.ID != want.Call || got.Tool != want.Tool || got.Session != want.Session || got.Thread != want.Thread || !got.Deadline.Equal(want.Deadline) {
			t.Errorf("stopped %+v, want that of %+v", got, want)
		}
	})
}

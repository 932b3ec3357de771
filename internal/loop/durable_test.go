package loop

import (
	"testing"
	"time"

	"toolhand/internal/tools"
)

// TestRecoverStopsWhatIsLeft recovers a session whose worker died with one call
// started and one finished: what still runs of the first, and of no other session's,
// has been stopped when the entries are known.
func TestRecoverStopsWhatIsLeft(t *testing.T) {
	inStore(t, func(t *testing.T, s *store) {
		received := time.Now().UTC()
		entry := func(session, call string) Entry {
			return Entry{Session: session, Call: call, Tool: "pay", Thread: "thread_1", Owner: "dead", Received: received, Deadline: received.Add(time.Minute)}
		}
		before := NewDurable(s.journal(), nil)
		for _, e := range []Entry{entry("sesn_left", "sevt_started"), entry("sesn_left", "sevt_finished"), entry("sesn_other", "sevt_other")} {
			var err error
			if e.Revision, err = before.Start(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			if e.Call != "sevt_finished" {
				continue
			}
			e.Finished, e.Outcome, e.Result = true, OK, tools.Text("done")
			if _, err := before.Finish(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		var stopped [][]tools.Call
		after := NewDurable(s.journal(), func(calls []tools.Call) { stopped = append(stopped, calls) })
		found, err := after.Recover(t.Context(), "sesn_left", nil)
		if err != nil || len(found) != 2 {
			t.Fatalf("recovered %v, %v", found, err)
		}
		if len(stopped) != 1 || len(stopped[0]) != 1 {
			t.Fatalf("stopped %v, want the call that was started, once", stopped)
		}
		got, want := stopped[0][0], entry("sesn_left", "sevt_started")
		if got.ID != want.Call || got.Tool != want.Tool || got.Session != want.Session || got.Thread != want.Thread || !got.Deadline.Equal(want.Deadline) {
			t.Errorf("stopped %+v, want that of %+v", got, want)
		}
	})
}

package worker

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/config"
	"toolhand/internal/fleet"
	"toolhand/internal/journal"
	"toolhand/internal/sim"
	"toolhand/internal/upstream"
)

// store opens a store of a worker, until the end of the test.
func store(t *testing.T) *journal.Journal {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{StoreDir: t.TempDir(), SyncInterval: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBus(b, slog.Default()) })
	j, err := journal.Open(t.Context(), b.JetStream(), journal.Options{Sole: true})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// kept writes the entries of a session: one that was started, one that is
// finished, one that is set aside.
func kept(t *testing.T, j *journal.Journal, session string) {
	t.Helper()
	for _, call := range []string{"started", "finished", "aside"} {
		e := journal.Entry{Session: session, Call: session + "_" + call, Tool: "pay", Owner: "before", Content: []byte(`[{"type":"text","text":"42"}]`), Outcome: "ok"}
		var err error
		if e.Revision, err = j.Start(t.Context(), e); err == nil && call == "finished" {
			_, err = j.Finish(t.Context(), e)
		} else if err == nil && call == "aside" {
			e.Quarantined = "refused"
			_, err = j.Finish(t.Context(), e)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestRetention: a month later the entries of a session that is over are gone, those of
// all others are there, and the API is asked of none that is served.
func TestRetention(t *testing.T) {
	t.Parallel()
	api := sim.New(sim.Options{})
	web := httptest.NewServer(api)
	t.Cleanup(web.Close)
	t.Cleanup(api.Close)
	j := store(t)
	for _, id := range []string{"served", "alive", "over", "hidden", "deleted"} {
		kept(t, j, id)
		if id != "deleted" {
			api.NewSession(sim.SessionSpec{ID: id})
		}
	}
	api.Session("over").Terminate()
	api.Session("hidden").Fail(sim.Get, sim.RefuseAs(403, "permission_error", "not yours"))
	client, err := upstream.New(upstream.Options{BaseURL: web.URL, Credential: upstream.Credential{APIKey: "any"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	var log bytes.Buffer
	s := &sessions{Worker: &Worker{cfg: &config.Config{}}, named: named{configured: []string{"served"}}, client: client, fleet: fleet.New(fleet.Config{})}
	r := &journal.Retention{Journal: j, Served: s.served, Over: s.isOver, Log: slog.New(slog.NewJSONHandler(&log, nil))}
	const month = 30 * 24 * time.Hour
	left := func() (n int) {
		t.Helper()
		for _, err := range j.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	r.Look(t.Context(), time.Now().Add(month-time.Hour))
	if n := left(); n != 15 || api.Count("", sim.Get) != 0 {
		t.Errorf("before a month has gone by %d entries are left, and %d questions asked", n, api.Count("", sim.Get))
	}
	if all := r.Unserved(); len(all) != 4 || all[0] != (journal.Unserved{Session: "alive", Entries: 3}) {
		t.Errorf("unserved: %v", all)
	}
	if !strings.Contains(log.String(), `"entries":12,"sessions":4,"named":["alive","deleted","hidden","over"]`) {
		t.Errorf("the log does not name who waits: %s", &log)
	}
	r.Look(t.Context(), time.Now().Add(month+time.Hour))
	if n := left(); n != 9 || api.Count("served", sim.Get) != 0 || api.Count("alive", sim.Get) != 1 {
		t.Errorf("%d entries are left", n)
	}
	for _, id := range []string{"served", "alive", "hidden"} {
		found, err := j.Recover(t.Context(), id, nil)
		if err != nil || len(found) != 3 || found[0].Finished || len(found[1].Content) == 0 || found[2].Quarantined == "" || len(found[2].Content) > 0 {
			t.Errorf("left of %s: %+v, %v", id, found, err)
		}
	}
	for _, line := range []string{`"session":"over","call":"over_started","tool":"pay"`, `"session":"deleted","call":"deleted_finished","tool":"pay"`, `"session":"alive","call":"alive_aside","tool":"pay"`} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("the log does not name %s: %s", line, &log)
		}
	}
}

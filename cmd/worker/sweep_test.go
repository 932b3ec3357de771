package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/config"
	"toolhand/internal/fleet"
	"toolhand/internal/journal"
	"toolhand/internal/sim"
	"toolhand/internal/testkit"
	"toolhand/internal/upstream"
)

// store opens a store of the worker, until the end of the test or close.
func store(t *testing.T, dir string) (b *bus.Bus, j *journal.Journal, closeIt func()) {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{StoreDir: dir, SyncInterval: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	closeIt = func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(closeIt)
	if j, err = journal.Open(t.Context(), b.JetStream(), journal.Options{Sole: true}); err != nil {
		t.Fatal(err)
	}
	return b, j, closeIt
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

// TestSweep: a month later the entries of a session that is over are gone, those of
// all others are there, and the API is asked of none that is served.
func TestSweep(t *testing.T) {
	t.Parallel()
	api := sim.New(sim.Options{})
	web := httptest.NewServer(api)
	t.Cleanup(web.Close)
	t.Cleanup(api.Close)
	b, j, _ := store(t, t.TempDir())
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
	w := &worker{
		cfg: &config.Config{Sessions: config.Sessions{IDs: []string{"served"}}}, log: slog.New(slog.NewJSONHandler(&log, nil)),
		client: client, bus: b, store: j, fleet: fleet.New(fleet.Config{}),
	}
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
	w.sweep(t.Context(), time.Now().Add(keptFor-time.Hour))
	if n := left(); n != 15 || api.Count("", sim.Get) != 0 {
		t.Errorf("before a month has gone by %d entries are left, and %d questions asked", n, api.Count("", sim.Get))
	}
	if all := w.unservedSessions(); len(all) != 4 || all[0] != (unserved{"alive", 3}) {
		t.Errorf("unserved: %v", all)
	}
	if !strings.Contains(log.String(), `"entries":12,"sessions":4,"named":["alive","deleted","hidden","over"]`) {
		t.Errorf("the log does not name who waits: %s", &log)
	}
	w.sweep(t.Context(), time.Now().Add(keptFor+time.Hour))
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

// TestUnservedSessionsAreTold: by a warning at the start, and by `worker status`.
func TestUnservedSessionsAreTold(t *testing.T) {
	t.Parallel()
	l := newLoad(t, 1, nil)
	_, j, closeIt := store(t, filepath.Join(l.dir, "data"))
	kept(t, j, "sesn_orphan")
	closeIt()
	r := l.launch(t, "run")
	if _, err := r.until(until(`"msg":"the journal has entries of sessions that are not served.*"entries":3,"sessions":1,"named":\["sesn_orphan"\]`)); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the status to name it", func() bool {
		_, body := ask(t, r, "/api/v1/status")
		return until(`"session": ?"sesn_orphan",\s*"entries": ?3`).MatchString(body)
	})
	m, err := r.until(until(`"admin address","listen":"([^"]+)"`))
	if err != nil {
		t.Fatal(err)
	}
	told := startIn(t, l.dir, "status", l.env, "worker", "status", "--admin", m[1])
	if _, err := told.until(until(`3 of them of sesn_orphan, which is not served`)); err != nil {
		t.Error(err)
	}
}

package main

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/journal"
	"toolhand/internal/testkit"
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

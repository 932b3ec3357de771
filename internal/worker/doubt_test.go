package worker

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/fleet"
	"toolhand/internal/loop"
)

// servedUntil is a session that ends for a reason.
type servedUntil struct {
	fleet.Session
	reason loop.Reason
}

func (s servedUntil) Serve(context.Context) loop.Reason { return s.reason }

// A session that was left with nothing open is not doubted when it is attached
// again: what it calls then was not there before the damage. All others are.
func TestSessionIsDoubtedUntilItWasQuiet(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "toolhand.damaged"), []byte("2026-11-01T12:00:00Z\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(dir string) *bus.Bus {
		b, err := bus.Open(t.Context(), bus.Options{StoreDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close(context.Background()) })
		return b
	}
	marked, sound := open(dir), open(t.TempDir())
	var d doubts
	doubted := func(b *bus.Bus, session string) bool {
		doubt, until := d.of(b, session)
		if !until.IsZero() {
			t.Errorf("doubted until %s", until)
		}
		return doubt
	}
	if doubted(sound, "sesn_a") {
		t.Error("the sessions of a sound store are doubted")
	}
	for _, reason := range []loop.Reason{loop.ReasonStopped, loop.ReasonDrained, loop.ReasonOver, loop.ReasonIdle} {
		if !doubted(marked, "sesn_a") || !doubted(marked, "sesn_b") {
			t.Errorf("before it ends as %s it is not doubted", reason)
		}
		doubtedSession{servedUntil{reason: reason}, "sesn_a", &d}.Serve(t.Context())
	}
	if doubted(marked, "sesn_a") || !doubted(marked, "sesn_b") {
		t.Error("a session that was quiet is doubted, or another is not")
	}
}

// Once a time of the API after the damage is known, it tells what is doubted, of all
// sessions and by the next process too.
func TestDoubtUntilATimeOfTheAPI(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "toolhand.damaged"), []byte("2026-11-01T12:00:00Z\n23h0m0s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2031, 1, 2, 3, 4, 5, 6e6, time.UTC)
	d := doubts{quiet: map[string]struct{}{"sesn_a": {}}}
	for range 2 {
		b, err := bus.Open(t.Context(), bus.Options{StoreDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		b.Live(at)
		b.Live(at.Add(time.Hour)) // the first one counts
		if doubt, until := d.of(b, "sesn_a"); !doubt || !until.Equal(at) || d.quiet != nil {
			t.Errorf("%t until %s, quiet: %v", doubt, until, d.quiet)
		}
		if err := b.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

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
	if d.of(sound, "sesn_a") {
		t.Error("the sessions of a sound store are doubted")
	}
	for _, reason := range []loop.Reason{loop.ReasonStopped, loop.ReasonDrained, loop.ReasonOver, loop.ReasonIdle} {
		if !d.of(marked, "sesn_a") || !d.of(marked, "sesn_b") {
			t.Errorf("before it ends as %s it is not doubted", reason)
		}
		doubtedSession{servedUntil{reason: reason}, "sesn_a", &d}.Serve(t.Context())
	}
	if d.of(marked, "sesn_a") || !d.of(marked, "sesn_b") {
		t.Error("a session that was quiet is doubted, or another is not")
	}
}

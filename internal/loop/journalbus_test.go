package loop

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"

	"toolhand/internal/bus"
	"toolhand/internal/journal"
)

// store is a directory with the real embedded NATS server on it, in a bubble.
type store struct {
	t   testing.TB
	dir string
	bus *bus.Bus
}

// inStore runs f in fake time, with a store.
func inStore(t *testing.T, f func(t *testing.T, s *store)) {
	t.Helper()
	// The server's clock for access times is the process's, and has a goroutine
	// that must not be the bubble's.
	ats.Register()
	defer ats.Unregister()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := &store{t: t, dir: dir}
		s.open()
		defer s.close()
		f(t, s)
	})
}

func (s *store) open() {
	s.t.Helper()
	b, err := bus.Open(context.Background(), bus.Options{
		StoreDir: s.dir, SyncInterval: time.Hour, WatchInterval: 24 * time.Hour, MinFree: -1,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.bus = b
}

func (s *store) close() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.bus.Close(ctx); err != nil {
		s.t.Fatal(err)
	}
}

// journal is a new handle, as each process has its own.
func (s *store) journal() *journal.Journal {
	s.t.Helper()
	j, err := journal.Open(context.Background(), s.bus.JetStream(), journal.Options{Sole: true})
	if err != nil {
		s.t.Fatal(err)
	}
	return j
}

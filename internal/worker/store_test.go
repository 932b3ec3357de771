package worker

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"toolhand/internal/config"
	"toolhand/internal/tools"
	toolnats "toolhand/internal/tools/nats"
	"toolhand/internal/tools/natswire"
	"toolhand/internal/tools/queue"
)

// TestEmbeddedStoreHasRoom: the embedded server takes the journal and the queue as the
// configuration bounds them, also at a start that makes both smaller, or the journal
// larger while the queue still has its old size.
func TestEmbeddedStoreHasRoom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const mib, gib = 1 << 20, 1 << 30
	for _, c := range []struct {
		name           string
		journal, queue int // bytes
	}{
		{"large", 12 * gib, 10 * gib},
		{"smaller", 2 * gib, mib},
		{"a large queue", mib, 100 * gib},
		{"a larger journal", 12 * gib, mib},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config.Default()
			cfg.NATS.StoreDir = dir
			cfg.Journal.Sync, cfg.Journal.MaxBytes, cfg.NATS.Queue.MaxBytes = config.SyncInterval, c.journal, c.queue
			w := &Worker{cfg: &cfg, log: slog.New(slog.DiscardHandler)}
			w.opts.LookupEnv = func(string) (string, bool) { return "", false }
			s := &sessions{Worker: w}
			err := s.open(t.Context())
			t.Cleanup(func() { closeBus(w.bus, w.log) })
			if err != nil {
				t.Fatal(err)
			}
			w.queue = w.newQueue()
			t.Cleanup(w.queue.Close)
			handler, err := queue.NewHandler(toolnats.Config{}, tools.Common{Name: "slow"}, w.queue)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // nobody takes the job
			defer cancel()
			_, called := handler.Call(ctx, tools.Call{ID: "sevt_1", Tool: "slow", Session: "sesn_1", Input: []byte("{}"), Deadline: time.Now().Add(time.Minute)})
			for name, want := range map[string]int{"KV_toolhand_calls": c.journal, natswire.JobStream: c.queue, natswire.ResultStream: c.queue} {
				stream, err := w.bus.JetStream().Stream(t.Context(), name)
				if err != nil {
					t.Errorf("%s: %v, after a call with %v", name, err, called)
				} else if got := stream.CachedInfo().Config.MaxBytes; got != int64(want) {
					t.Errorf("%s has room for %d bytes, want %d, after a call with %v", name, got, want, called)
				}
			}
		})
	}
}

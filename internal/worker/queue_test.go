package worker

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/config"
	"toolhand/internal/telemetry"
	"toolhand/internal/tools"
	toolnats "toolhand/internal/tools/nats"
	"toolhand/internal/tools/natswire"
	"toolhand/internal/tools/queue"
)

// A job that is under way when the connection of its taker breaks is its taker's: it says
// that it goes on, and hands in its result, on the new connection.
func TestQueueTakerConnectsAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	manifest := "name: slow\ndescription: Be slow.\ninput_schema: {type: object}\n" +
		"handler: {exec: {command: [sh, -c, 'echo > began; sleep 1.5; echo done']}}\n"
	if err := os.WriteFile(filepath.Join(dir, "slow.yaml"), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	b, err := bus.Open(t.Context(), bus.Options{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", ListenToken: "secret", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(context.WithoutCancel(t.Context()))
	cfg := config.Default()
	cfg.NATS.Queue.AckWait = config.Duration(300 * time.Millisecond) // silent for 600 ms it loses the job
	q := (&Worker{cfg: &cfg, log: log, bus: b}).newQueue()
	defer q.Close()
	if err := q.Admit(b.Conn(), natswire.HandInSubjects); err != nil {
		t.Fatal(err)
	}
	taker := config.Default()
	taker.NATS.URL, taker.Tools.Dir = "nats://mallory:secret@"+b.Listening(), dir
	taker.Admin.Listen = ""
	w, err := Open(t.Context(), &taker, Options{Purpose: Fleet, Queue: true, Log: log, Secrets: &telemetry.Secrets{}, LookupEnv: os.LookupEnv})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	drain, drained := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() {
		_, err := w.Serve(drain, context.WithoutCancel(t.Context()))
		over <- err
	}()
	handler, err := queue.NewHandler(toolnats.Config{}, tools.Common{Name: "slow"}, q)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range 200 {
			if _, err := os.Stat(filepath.Join(dir, "began")); err == nil {
				_ = w.bus.Conn().ForceReconnect() // where it fails the job is done anyway
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	r, err := handler.Call(t.Context(), tools.Call{ID: "sevt_1", Tool: "slow", Session: "sesn_1", Input: []byte("{}"), Deadline: time.Now().Add(30 * time.Second)})
	if err != nil || !strings.Contains(string(r.Content), "done") {
		t.Errorf("%s, %v", r.Content, err)
	}
	if n := w.bus.Conn().Stats().Reconnects; n != 1 {
		t.Errorf("connected again %d times", n)
	}
	drained()
	if err := <-over; err != nil {
		t.Error(err)
	}
	if jobs, err := b.JetStream().Stream(t.Context(), natswire.JobStream); err != nil || jobs.CachedInfo().State.Msgs != 0 {
		t.Errorf("the job is not acknowledged: %v", err)
	}
}

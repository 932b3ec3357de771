package serve

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/registry"
	"toolhand/internal/testkit"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	toolnats "toolhand/internal/tools/nats"
	"toolhand/internal/tools/natswire"
	"toolhand/internal/tools/queue"
)

// TestConsumersLost restarts the server without what it kept of the consumers of the
// job queue: they are made anew, every job has its result, and what was acknowledged or
// begun is not run again, where the tool may not run twice. So it is when who asks is
// restarted with the server, as with an embedded one.
func TestConsumersLost(t *testing.T) {
	testkit.OnlyInFull(t)
	t.Parallel()
	for _, idempotent := range []bool{false, true} {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprintf("idempotent=%t, asker restarted=%t", idempotent, restarted), func(t *testing.T) {
				t.Parallel()
				consumersLost(t, idempotent, restarted)
			})
		}
	}
}

func consumersLost(t *testing.T, idempotent, restarted bool) {
	opts := server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true}
	r := &queueRig{rig: &rig{t: t}}
	begin := func() {
		o := opts
		srv, err := server.NewServer(&o)
		if err != nil {
			t.Fatal(err)
		}
		srv.Start()
		if !srv.ReadyForConnections(10 * time.Second) {
			t.Fatal("the NATS server does not start")
		}
		r.srv, opts.Port = srv, o.Port
	}
	end := func() { r.srv.Shutdown(); r.srv.WaitForShutdown() }
	dial := func() *nats.Conn {
		nc, err := nats.Connect(r.srv.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectBufSize(-1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	ask := func() {
		r.nc = dial()
		r.queue = queue.New(queue.Options{Conn: func() (*nats.Conn, error) { return r.nc, nil }, AckWait: time.Second})
		t.Cleanup(r.queue.Close)
		var err error
		if r.js, err = jetstream.New(r.nc); err != nil {
			t.Fatal(err)
		}
	}
	begin()
	t.Cleanup(func() { end() })
	ask()

	var mu sync.Mutex
	ran := map[string]int{}
	let := make(chan struct{})
	taker := dial()
	r.serveWith(time.Second, func(c *Config) { c.Conn, c.Queue, c.Concurrency = taker, true, 1 },
		registry.Manifest{Name: "job", Idempotent: idempotent, Handler: handlerFunc(func(_ context.Context, c tools.Call) (tools.Result, error) {
			mu.Lock()
			ran[c.ID]++
			mu.Unlock()
			if c.ID == "running" {
				<-let
			}
			return content.Text("did " + c.ID), nil
		})})
	times := func(id string) int { mu.Lock(); defer mu.Unlock(); return ran[id] }
	asker, leave := context.WithCancelCause(t.Context())
	defer leave(nil)
	r.gives(r.put(asker, "job", "done", idempotent, time.Minute), "did done")
	results := map[string]chan outcome{}
	results["running"] = r.put(asker, "job", "running", idempotent, time.Minute)
	testkit.Eventually(r.t, "it runs", func() bool { return times("running") == 1 })
	results["waiting"] = r.put(asker, "job", "waiting", idempotent, time.Minute)
	testkit.Eventually(r.t, "both are in the queue", func() bool {
		s, err := r.js.Stream(t.Context(), natswire.JobStream)
		return err == nil && s.CachedInfo().State.Msgs == 2
	})

	if restarted {
		leave(tools.ErrLeft)
		<-results["running"]
		<-results["waiting"]
	}
	end()
	consumers := filepath.Join(opts.StoreDir, "jetstream/$G/streams", natswire.JobStream, "obs")
	if _, err := os.Stat(filepath.Join(consumers, "job")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(consumers); err != nil {
		t.Fatal(err)
	}
	begin()
	if restarted {
		ask()
		for id := range results {
			results[id] = r.resume(id, idempotent)
		}
	}
	testkit.Eventually(r.t, "the consumer is made anew", func() bool {
		_, err := r.js.Consumer(t.Context(), natswire.JobStream, "job")
		return err == nil
	})
	close(let)
	for id, done := range results {
		r.gives(done, "did "+id)
	}
	r.empty()
	for _, id := range []string{"done", "running", "waiting"} {
		if n := times(id); n != 1 && (id == "done" || !idempotent) {
			t.Errorf("%s ran %d times", id, n)
		}
	}
}

// resume waits for the result of a job that an earlier process has put into the queue.
func (r *queueRig) resume(id string, idempotent bool) chan outcome {
	r.t.Helper()
	h, err := queue.NewHandler(toolnats.Config{}, tools.Common{Name: "job", Idempotent: idempotent}, r.queue)
	if err != nil {
		r.t.Fatal(err)
	}
	done := make(chan outcome, 1)
	go func() {
		ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
		defer cancel()
		res, err := h.(tools.Resumer).Resume(ctx, tools.Call{ID: id, Tool: "job", Session: "sesn_1", Thread: "sthr_1", Deadline: time.Now().Add(time.Minute)})
		done <- outcome{string(res.Content), err}
	}()
	return done
}

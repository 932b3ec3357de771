package queue_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"toolhand/internal/tools"
	"toolhand/internal/tools/handlertest"
	toolnats "toolhand/internal/tools/nats"
	"toolhand/internal/tools/natswire"
	"toolhand/internal/tools/queue"
)

// delete deletes what the queue is made of, as somebody with rights may.
func (r *queueRig) delete(what string) {
	r.t.Helper()
	var err error
	switch what {
	case "consumer":
		err = r.other.DeleteConsumer(r.t.Context(), natswire.JobStream, "job")
	case "jobs":
		err = r.other.DeleteStream(r.t.Context(), natswire.JobStream)
	case "results":
		err = r.other.DeleteStream(r.t.Context(), natswire.ResultStream)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	// Both have heard of it.
	if err := r.nc.Flush(); err != nil {
		r.t.Fatal(err)
	}
}

// TestQueueDeleted: what somebody deletes is made anew at its next use.
func TestQueueDeleted(t *testing.T) {
	for _, what := range []string{"consumer", "jobs", "results"} {
		t.Run(what, func(t *testing.T) {
			r := newQueueRig(t)
			h := r.handler(false)
			done := r.begun(t.Context(), h.Call, "sevt_1")
			r.handIn(r.took(), "", "one")
			r.is(done, "one")
			r.delete(what)
			for end := time.Now().Add(10 * time.Second); ; {
				done = r.begun(t.Context(), h.Call, "sevt_2")
				select {
				case a := <-done: // the first use may find that it is gone
					var unavailable *tools.UnavailableError
					if !errors.As(a.err, &unavailable) || !unavailable.Passing || time.Now().After(end) {
						t.Fatalf("%s, %v", a.r.Content, a.err)
					}
					continue
				case <-time.After(200 * time.Millisecond):
				}
				break
			}
			r.handIn(r.took(), "", "two")
			r.is(done, "two")
		})
	}
}

// TestQueueDeletedWhileWaiting: a job whose stream is gone is lost, and the others
// go on; nothing is called off in the new stream that the old one had there.
func TestQueueDeletedWhileWaiting(t *testing.T) {
	for _, what := range []string{"consumer", "jobs", "results"} {
		t.Run(what, func(t *testing.T) {
			r := newQueueRig(t)
			done := r.begun(t.Context(), r.handler(true).Call, "sevt_1")
			for end := time.Now().Add(10 * time.Second); r.jobs() == 0; {
				if time.Now().After(end) {
					t.Fatal("there is no job")
				}
			}
			r.delete(what)
			if what == "jobs" {
				r.lost(done, "taken out of the queue without a result")
				return
			}
			for end := time.Now().Add(10 * time.Second); what == "results"; time.Sleep(5 * time.Millisecond) {
				if _, err := r.other.Stream(t.Context(), natswire.ResultStream); err == nil {
					break
				}
				if time.Now().After(end) {
					t.Fatal("the stream of results is not made anew")
				}
			}
			r.handIn(r.took(), "", "done")
			r.is(done, "done")
		})
	}
}

// TestQueueInASmallAccount: the error says how much is needed, and less can be set.
func TestQueueInASmallAccount(t *testing.T) {
	opts := handlertest.NATSOptions(server.RANDOM_PORT)
	opts.JetStream, opts.StoreDir, opts.JetStreamMaxStore = true, t.TempDir(), 64<<20
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	nc := handlertest.DialNATS(t, srv.ClientURL())
	call := func(bytes int64) error {
		q := queue.New(queue.Options{Conn: func() (*nats.Conn, error) { return nc, nil }, MaxBytes: bytes})
		defer q.Close()
		h, err := queue.NewHandler(toolnats.Config{}, tools.Common{Name: "job", Idempotent: true}, q)
		if err != nil {
			t.Fatal(err)
		}
		c := jobCall("sevt_1")
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err = h.Call(ctx, c)
		return err
	}
	var unavailable *tools.UnavailableError
	if err := call(100 << 20); !errors.As(err, &unavailable) || !strings.Contains(err.Error(), "104857600 bytes") || !strings.Contains(err.Error(), "nats.queue.max_bytes") {
		t.Errorf("too small: %v", err)
	}
	if err := call(16 << 20); errors.As(err, &unavailable) {
		t.Errorf("with less: %v", err)
	}
}

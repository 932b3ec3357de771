package queue_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/tools/natswire"
	"toolhand/internal/tools/queue"
)

// The streams and consumers have the bounds that are configured, also where they
// were made with others before.
func TestQueueStreams(t *testing.T) {
	r := newQueueRig(t)
	done := r.begun(t.Context(), r.handler(true).Call, "sevt_1")
	r.handIn(r.took(), "", "done")
	r.is(done, "done")
	for _, idempotent := range []bool{false, true} {
		h := r.handler(idempotent, func(o *queue.Options) {
			o.MaxAge, o.MaxBytes, o.AckWait = time.Hour, 2<<20, 7*time.Second
		})
		done := r.begun(t.Context(), h.Call, map[bool]string{false: "sevt_2", true: "sevt_3"}[idempotent])
		r.handIn(r.took(), "", "done")
		r.is(done, "done")
		c, err := r.other.Consumer(t.Context(), natswire.JobStream, "job")
		if err != nil {
			t.Fatal(err)
		}
		cfg := c.CachedInfo().Config
		if want := map[bool]int{false: 1, true: 5}[idempotent]; cfg.MaxDeliver != want || cfg.AckWait != 7*time.Second || cfg.AckPolicy != jetstream.AckExplicitPolicy {
			t.Errorf("idempotent %t: the consumer is %+v", idempotent, cfg)
		}
	}
	for name, want := range map[string]jetstream.StreamConfig{
		natswire.JobStream:    {Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, MaxMsgsPerSubject: -1},
		natswire.ResultStream: {Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, MaxMsgsPerSubject: 1},
	} {
		s, err := r.other.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		got := s.CachedInfo().Config
		if got.MaxAge != time.Hour || got.MaxBytes != 2<<20 || got.Storage != jetstream.FileStorage ||
			got.Retention != want.Retention || got.Discard != want.Discard || got.MaxMsgsPerSubject != want.MaxMsgsPerSubject {
			t.Errorf("%s is %+v", name, got)
		}
	}
}

package bus_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/bus"
	"toolhand/internal/testkit"
)

// TestStartDoesNotGrow: of each stream one message stays, and behind it much was
// written and dropped. What a start asks of the server is as small as ever.
func TestStartDoesNotGrow(t *testing.T) {
	opts := bus.Options{StoreDir: t.TempDir(), SyncInterval: time.Minute}
	b := open(t, opts)
	revisions := testkit.Sample(60_000, 20_000)
	for _, cfg := range []jetstream.StreamConfig{
		{Name: "KV_toolhand_calls", Subjects: []string{"$KV.toolhand_calls.>"}, MaxMsgsPerSubject: 16},
		{Name: "TOOLHAND_RESULTS", Subjects: []string{"toolhand.results.>"}, MaxMsgsPerSubject: 1},
	} {
		prefix := cfg.Subjects[0][:len(cfg.Subjects[0])-1]
		if _, err := b.JetStream().CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		for i := range revisions {
			subject := prefix + "moves"
			if i == 0 {
				subject = prefix + "stays"
			}
			if err := b.Conn().Publish(subject, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		testkit.Eventually(t, "all is written", func() bool {
			s, err := b.JetStream().Stream(t.Context(), cfg.Name)
			return err == nil && s.CachedInfo().State.LastSeq == uint64(revisions)
		})
	}
	shut(t, b)

	again := open(t, opts)
	if in := again.Conn().Stats().InBytes; in > 16<<10 {
		t.Errorf("the start read %d bytes from the server for %d dropped revisions", in, 2*revisions)
	}
	if !again.DamagedAt().IsZero() {
		t.Error("the store counts as damaged")
	}
	for _, name := range []string{"KV_toolhand_calls", "TOOLHAND_RESULTS"} {
		s, err := again.JetStream().Stream(t.Context(), name)
		if err != nil || s.CachedInfo().State.LastSeq != uint64(revisions) || s.CachedInfo().State.Msgs < 2 {
			t.Errorf("%s: %v, %s", name, err, fmt.Sprint(s))
		}
	}
}

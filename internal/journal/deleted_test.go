package journal_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/journal"
)

// TestDeletedBucket: a bucket that somebody deletes is told of although nothing is
// written, and not made anew: who reads it must not take it for an empty one.
func TestDeletedBucket(t *testing.T) {
	t.Parallel()
	b := quick(t)
	j := openJournal(t, b, journal.Options{})
	if err := errors.Join(j.Look(t.Context()), j.Check(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := b.JetStream().DeleteKeyValue(t.Context(), journal.Bucket); err != nil {
		t.Fatal(err)
	}
	if err := j.Look(t.Context()); !errors.Is(err, journal.ErrGone) {
		t.Errorf("the look says %v", err)
	}
	if err := j.Check(t.Context()); err == nil {
		t.Error("the check is content")
	}
	if _, err := j.Start(t.Context(), entry("s", "c")); err == nil {
		t.Error("a call is started")
	}
	if _, err := j.Recover(t.Context(), "s", nil); err == nil {
		t.Error("the journal is read as if it were empty")
	}
	if _, err := b.JetStream().Stream(t.Context(), "KV_"+journal.Bucket); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the bucket is there again: %v", err)
	}
}

// TestSmallAccount: the error says how much is needed, less can be set, and what
// stands there already takes new settings by an update.
func TestSmallAccount(t *testing.T) {
	srv, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Open(t.Context(), js, journal.Options{}); !errors.Is(err, journal.ErrNoRoom) || !strings.Contains(err.Error(), "2147483648 bytes are needed") {
		t.Errorf("2 GiB of 64 MiB: %v", err)
	}
	for _, bytes := range []int64{16 << 20, 32 << 20, 8 << 20} {
		if _, err := journal.Open(t.Context(), js, journal.Options{MaxBytes: bytes}); err != nil {
			t.Fatal(err)
		}
		s, err := js.Stream(t.Context(), "KV_"+journal.Bucket)
		if err != nil || s.CachedInfo().Config.MaxBytes != bytes {
			t.Errorf("%d bytes are set: %v, %v", bytes, s, err)
		}
	}
}

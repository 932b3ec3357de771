package bus

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/testkit"
)

// made makes the stream S with so many messages, as it is made at run time.
func made(t *testing.T, b *Bus, messages int) {
	t.Helper()
	if _, err := b.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	for range messages {
		if _, err := b.JetStream().Publish(t.Context(), "s.x", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
}

func deleteS(t *testing.T, b *Bus) {
	t.Helper()
	if err := b.JetStream().DeleteStream(t.Context(), "S"); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the server removes the files, behind its answer", func() bool {
		_, err := os.Stat(filepath.Join(b.store.streamsDir(), ".S"))
		return os.IsNotExist(err)
	})
}

// image is the store as a kill in this moment leaves it.
func image(t *testing.T, opts Options) Options {
	t.Helper()
	opts.StoreDir = testkit.Image(t, opts.StoreDir)
	return opts
}

// learn waits until the witness of S says something.
func learn(t *testing.T, opts Options, what string, is func(r record, there bool) bool) {
	t.Helper()
	testkit.Eventually(t, "the witness learns that "+what, func() bool {
		text, err := os.ReadFile(filepath.Join(opts.StoreDir, witnessName, "S"))
		r, _, _ := decode(text)
		return is(r, err == nil)
	})
}

// TestDeletedWhileItRuns: a stream that is deleted in order, and perhaps made anew, is
// no damage, whether the process ends in order or is killed. Nobody looks by the clock.
func TestDeletedWhileItRuns(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		anew      bool
		unnoticed bool // the kill comes before anybody has learnt of it
		entries   int  // that the writer counts; -1: there is no writer
		damaged   bool
	}{
		"deleted":                              {entries: -1},
		"made anew":                            {entries: -1, anew: true},
		"made anew, killed at once":            {entries: -1, anew: true, unnoticed: true},
		"deleted, no entries":                  {entries: 0},
		"made anew, no entries":                {entries: 0, anew: true},
		"made anew, no entries, killed":        {entries: 0, anew: true, unnoticed: true},
		"deleted with entries":                 {entries: 3, damaged: true},
		"made anew, entries are lost":          {entries: 3, anew: true, damaged: true},
		"made anew, entries are lost, at once": {entries: 3, anew: true, unnoticed: true, damaged: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := Options{StoreDir: t.TempDir(), WatchInterval: time.Hour}
			b := openIn(t, opts)
			made(t, b, 100)
			b.observeOnce()
			if c.entries >= 0 {
				if err := b.Witness("S").Stands(100, c.entries); err != nil {
					t.Fatal(err)
				}
			}
			before := image(t, opts)
			deleteS(t, b)
			if c.entries <= 0 {
				learn(t, opts, "it is deleted", func(_ record, there bool) bool { return !there })
			}
			if c.anew {
				made(t, b, 3)
			}
			killed := image(t, opts)
			if c.unnoticed {
				old := filepath.Join(before.StoreDir, witnessName, "S")
				text, err := os.ReadFile(old)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(killed.StoreDir, witnessName, "S"), text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			closeIn(t, b)
			for name, opts := range map[string]Options{"killed": killed, "closed in order": opts} {
				if got := isMarked(t, opts); got != c.damaged {
					t.Errorf("%s: marked: %t, want %t", name, got, c.damaged)
				}
			}
		})
	}
}

// TestTheNewStreamHasItsWitness: a stream that was made anew is missed like any other.
func TestTheNewStreamHasItsWitness(t *testing.T) {
	opts := Options{StoreDir: t.TempDir(), WatchInterval: 5 * time.Millisecond}
	b := openIn(t, opts)
	made(t, b, 100)
	learn(t, opts, "there are 100", func(r record, _ bool) bool { return r.Last == 100 && !r.Created.IsZero() })
	deleteS(t, b)
	made(t, b, 3)
	learn(t, opts, "there are 3", func(r record, _ bool) bool { return r.Last == 3 && !r.Created.IsZero() })
	opts.WatchInterval = time.Hour
	killed := image(t, opts)
	closeIn(t, b)
	if isMarked(t, image(t, killed)) {
		t.Error("it counts as damaged")
	}
	for name, lost := range map[string]string{"stream": "S", "records": "S/msgs"} {
		opts := image(t, killed)
		if err := os.RemoveAll(filepath.Join(opts.StoreDir, "jetstream", ownAccount, "streams", lost)); err != nil {
			t.Fatal(err)
		}
		if !isMarked(t, opts) {
			t.Errorf("without its %s it counts as sound", name)
		}
	}
}

// TestUnmadeStream: a process that ended while a stream was made leaves a folder that
// the server can't open. Nothing was in it, and it can be made after all.
func TestUnmadeStream(t *testing.T) {
	for _, lacks := range []string{"meta.inf", "meta.sum", "meta.*"} {
		for _, records := range []int{0, 5} {
			opts := Options{StoreDir: t.TempDir(), WatchInterval: time.Hour}
			b := openIn(t, opts)
			made(t, b, records)
			opts = image(t, opts)
			closeIn(t, b)
			files, err := filepath.Glob(filepath.Join(opts.StoreDir, "jetstream", ownAccount, "streams/S", lacks))
			if err != nil || len(files) == 0 {
				t.Fatal(files, err)
			}
			for _, f := range files {
				if err := os.Remove(f); err != nil {
					t.Fatal(err)
				}
			}
			b = openIn(t, opts)
			_, marked := b.Damage()
			if marked != (records > 0) {
				t.Errorf("without %s, %d records: marked: %t", lacks, records, marked)
			}
			made(t, b, 2)
			closeIn(t, b)
			b = openIn(t, opts)
			if s, err := b.JetStream().Stream(t.Context(), "S"); err != nil || s.CachedInfo().State.Msgs != 2 {
				t.Errorf("without %s: what is made anew can't be opened again: %v", lacks, err)
			}
			closeIn(t, b)
			if kept, _ := fs.Glob(os.DirFS(opts.StoreDir), "damaged-*/S"); (len(kept) > 0) != (records > 0) {
				t.Errorf("without %s, %d records: set aside: %q", lacks, records, kept)
			}
		}
	}
}

// TestLostAfterAShortStart: a start that ends before the writer has said how many
// entries stand does not forget it.
func TestLostAfterAShortStart(t *testing.T) {
	opts := tenEntries(t, 10)
	b := openIn(t, opts)
	killed := image(t, opts)
	closeIn(t, b)
	if isMarked(t, image(t, killed)) {
		t.Error("it counts as damaged")
	}
	changeRecord(t, killed.StoreDir, func(r *record) {
		if r.Entries != 10 {
			t.Errorf("the witness says that %d entries stand", r.Entries)
		}
		r.Entries = 11
	})
	if !isMarked(t, killed) {
		t.Error("the loss of an entry is not noticed")
	}
}

// TestConsumersLost: what the server kept of a stream's consumers is no part of what was
// acknowledged. A consumer that is gone can be made anew, and has what is left.
func TestConsumersLost(t *testing.T) {
	garbage := func(path string) error { return os.WriteFile(path, []byte("garbage"), 0o600) }
	for name, lose := range map[string]func(obs string) error{
		"all":           os.RemoveAll,
		"one":           func(obs string) error { return os.RemoveAll(filepath.Join(obs, "C")) },
		"a description": func(obs string) error { return os.Remove(filepath.Join(obs, "C/meta.inf")) },
		"described by garbage": func(obs string) error {
			return garbage(filepath.Join(obs, "C/meta.inf"))
		},
		"a state of garbage": func(obs string) error { return garbage(filepath.Join(obs, "C/o.dat")) },
	} {
		t.Run(name, func(t *testing.T) {
			opts := Options{StoreDir: t.TempDir(), WatchInterval: time.Hour}
			b := openIn(t, opts)
			cfg := jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Retention: jetstream.WorkQueuePolicy}
			s, err := b.JetStream().CreateStream(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"acked", "left"} {
				if _, err := b.JetStream().Publish(t.Context(), "s.x", []byte(text)); err != nil {
					t.Fatal(err)
				}
			}
			next := func(s jetstream.Stream) jetstream.Msg {
				c, err := s.CreateOrUpdateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "C", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 1})
				if err != nil {
					t.Fatal(err)
				}
				m, err := c.Next(jetstream.FetchMaxWait(5 * time.Second))
				if err != nil {
					t.Fatal(err)
				}
				return m
			}
			if err := next(s).DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
			closeIn(t, b)
			if err := lose(filepath.Join(b.store.streamsDir(), "S/obs")); err != nil {
				t.Fatal(err)
			}
			b = openIn(t, opts)
			defer closeIn(t, b)
			if _, marked := b.Damage(); marked {
				t.Error("it counts as damaged")
			}
			if s, err = b.JetStream().Stream(t.Context(), "S"); err != nil {
				t.Fatal(err)
			}
			if m := next(s); string(m.Data()) != "left" {
				t.Errorf("the consumer that was made anew has %q", m.Data())
			}
		})
	}
}

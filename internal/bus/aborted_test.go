package bus

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func openIn(t *testing.T, opts Options) *Bus {
	t.Helper()
	b, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func closeIn(t *testing.T, b *Bus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// tenEntries makes a store with a stream of ten entries, of which its writer says
// that there are so many.
func tenEntries(t *testing.T, entries int) Options {
	t.Helper()
	opts := Options{StoreDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	b := openIn(t, opts)
	if _, err := b.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, MaxMsgsPerSubject: 1}); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if _, err := b.JetStream().Publish(t.Context(), fmt.Sprintf("s.%d", i), []byte("some data of a call that was started")); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Witness("S").Stands(10, entries); err != nil {
		t.Fatal(err)
	}
	closeIn(t, b)
	return opts
}

// changeRecord changes what the witness says.
func changeRecord(t *testing.T, dir string, change func(*record)) {
	t.Helper()
	path := filepath.Join(dir, witnessName, "S")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, there, err := decode(text)
	if err != nil || !there {
		t.Fatal(there, err)
	}
	change(&r)
	if text, err = r.encode(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// tear cuts the end of the stream's last block.
func tear(t *testing.T, dir string) {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream/*/streams/S/msgs/*.blk"))
	if err != nil || len(blocks) != 1 {
		t.Fatal(blocks, err)
	}
	info, err := os.Stat(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(blocks[0], info.Size()-20); err != nil {
		t.Fatal(err)
	}
}

func isMarked(t *testing.T, opts Options) bool {
	t.Helper()
	b := openIn(t, opts)
	defer closeIn(t, b)
	_, marked := b.Damage()
	return marked
}

// refuse is a start that fails when the server has opened its files.
func refuse(t *testing.T, opts Options) {
	t.Helper()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	opts.Listen = taken.Addr().String()
	if b, err := Open(t.Context(), opts); err == nil {
		closeIn(t, b)
		t.Fatal("opened")
	}
}

// TestDamageOfATornTail: the end of the last block may be a write that nobody was told
// of only where the witness is the last that was written.
func TestDamageOfATornTail(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*record)
		marked bool
	}{
		{"a kill", func(r *record) { r.Last, r.Entries, r.Closed = 9, 9, false }, false},
		{"closed in order", func(r *record) { r.Last, r.Entries = 9, 9 }, false},
		{"loss of power", func(r *record) { r.Last, r.Entries, r.Closed, r.Boot = 3, 3, false, "another" }, true},
		{"no boot is known", func(r *record) { r.Last, r.Entries, r.Closed, r.Boot = 3, 3, false, "" }, true},
		{"another opening", func(r *record) { r.Last, r.Entries, r.Opening = 3, 3, "another" }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := tenEntries(t, 10)
			changeRecord(t, opts.StoreDir, c.change)
			tear(t, opts.StoreDir)
			// The same when starts before it failed.
			for range 2 {
				refuse(t, opts)
			}
			if got := isMarked(t, opts); got != c.marked {
				t.Errorf("marked: %t, want %t", got, c.marked)
			}
		})
	}
}

// TestDamageAfterAFailedStart: a start that fails, and people's trust in what was not
// found yet, leave the evidence to the next start.
func TestDamageAfterAFailedStart(t *testing.T) {
	trust := func(t *testing.T, opts Options) {
		if _, was, err := Trust(opts); was || err != nil {
			t.Fatal(was, err)
		}
	}
	for name, first := range map[string]func(*testing.T, Options){"a failed start": refuse, "trust": trust} {
		t.Run(name, func(t *testing.T) {
			opts := tenEntries(t, 12) // two of them get lost
			first(t, opts)
			if !isMarked(t, opts) {
				t.Error("the damage is not noticed")
			}
		})
		t.Run(name+", sound", func(t *testing.T) {
			opts := tenEntries(t, 10)
			first(t, opts)
			if isMarked(t, opts) {
				t.Error("it counts as damaged")
			}
			if _, err := os.Stat(filepath.Join(opts.StoreDir, noteName)); !os.IsNotExist(err) {
				t.Errorf("the note is left: %v", err)
			}
		})
	}
}

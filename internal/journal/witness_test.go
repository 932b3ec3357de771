package journal_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/journal"
	"toolhand/internal/testkit"
)

const bucketStream = "KV_" + journal.Bucket

// lived is a store that a journal has worked on for a while and that was left as a
// kill leaves it, with entries that stand.
func lived(t *testing.T) (dir string) {
	t.Helper()
	live := t.TempDir()
	b := embedded(t, bus.Options{StoreDir: live, WatchInterval: time.Hour})
	j := openJournal(t, b, journal.Options{Sole: true, Witness: b.Witness(bucketStream)})
	for i := range 20 {
		e := entry("s", call(i))
		e.Revision = mustStart(t, j, e)
		mustFinish(t, j, finished(e, result(100)))
		if i == 3 {
			mustForget(t, j, "s", e.Call)
		}
	}
	mustStart(t, j, entry("s", "last"))
	return testkit.Image(t, live)
}

// damagedNow opens a store twice: damage is found once, and the mark says so.
func damagedNow(t *testing.T, dir string) (marked bool, log string) {
	t.Helper()
	for i := range 2 {
		var text bytes.Buffer
		b, err := bus.Open(t.Context(), bus.Options{StoreDir: dir, WatchInterval: time.Hour,
			Log: slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelError}))})
		if err != nil {
			t.Fatal(err)
		}
		marked = !b.DamagedAt().IsZero()
		shut(t, b)
		if i == 0 {
			log = text.String()
		} else if text.Len() > 0 {
			t.Errorf("found again at the next start: %s", text.String())
		}
	}
	return marked, log
}

// lastBlock is the file that the bucket's last records are in.
func lastBlock(t *testing.T, dir string) string {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream/toolhand/streams", bucketStream, "msgs/*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("no blocks: %v", err)
	}
	return blocks[len(blocks)-1]
}

// cutRecords takes the last records from a block, whole ones.
func cutRecords(t *testing.T, path string, n int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var starts []int
	for at := 0; at < len(text); at += int(binary.LittleEndian.Uint32(text[at:]) &^ (1 << 31)) {
		starts = append(starts, at)
	}
	if err := os.Truncate(path, int64(starts[len(starts)-n])); err != nil {
		t.Fatal(err)
	}
}

// TestLessThanWasAcknowledged: the server opens each of these as if nothing were
// missing.
func TestLessThanWasAcknowledged(t *testing.T) {
	t.Parallel()
	streams := func(dir string, more ...string) string {
		return filepath.Join(append([]string{dir, "jetstream/toolhand/streams"}, more...)...)
	}
	remove := func(more ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.RemoveAll(streams(dir, more...)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name    string
		damage  func(t *testing.T, dir string)
		damaged bool
	}{
		{"nothing", func(*testing.T, string) {}, false},
		{"a block is missing", func(t *testing.T, dir string) {
			if err := os.Remove(lastBlock(t, dir)); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"a block is empty", func(t *testing.T, dir string) {
			if err := os.Truncate(lastBlock(t, dir), 0); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"a block ends at a record", func(t *testing.T, dir string) {
			cutRecords(t, lastBlock(t, dir), 1)
		}, true},
		{"the records are gone", remove(bucketStream, "msgs"), true},
		{"a stream is gone", remove(bucketStream), true},
		{"all streams are gone", remove(), true},
		{"the server's folder is gone", func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, "jetstream")); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"half of a record that nobody was told of", func(t *testing.T, dir string) {
			f, err := os.OpenFile(lastBlock(t, dir), os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				_, err = f.Write(append([]byte{200, 0, 0, 0, 200, 0, 0, 0}, make([]byte, 60)...))
			}
			if err != nil || f.Close() != nil {
				t.Fatal(err)
			}
		}, false},
		{"the witness is garbage", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "toolhand.witness", bucketStream), bytes.Repeat([]byte("x"), 512), 0o600); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"the witness never came to disk", func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "toolhand.witness", bucketStream), 0); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"there is no witness", func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, "toolhand.witness")); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := lived(t)
			c.damage(t, dir)
			if marked, log := damagedNow(t, dir); marked != c.damaged || (log != "") != c.damaged {
				t.Errorf("damaged: %t, want %t; the log says %q", marked, c.damaged, log)
			}
		})
	}
}

// TestBlockInTheMiddleIsMissing: the last revision is there, entries are not.
func TestBlockInTheMiddleIsMissing(t *testing.T) {
	live := t.TempDir()
	b := embedded(t, bus.Options{StoreDir: live, WatchInterval: time.Hour, SyncInterval: time.Minute})
	j := openJournal(t, b, journal.Options{Sole: true, Witness: b.Witness(bucketStream)})
	for i := range 9 {
		e := entry("s", call(i))
		e.Revision = mustStart(t, j, e)
		mustFinish(t, j, finished(e, result(2<<20)))
	}
	dir := testkit.Image(t, live)
	if err := os.Remove(filepath.Join(dir, "jetstream/toolhand/streams", bucketStream, "msgs/2.blk")); err != nil {
		t.Fatal(err)
	}
	if marked, log := damagedNow(t, dir); !marked || !strings.Contains(log, "entries of 9") {
		t.Errorf("damaged: %t; the log says %q", marked, log)
	}
}

// TestKillIsNoDamage: real processes that start, finish and forget are killed at any
// moment, one after the other on one store.
func TestKillIsNoDamage(t *testing.T) {
	dir := t.TempDir()
	witness := filepath.Join(dir, "toolhand.witness", bucketStream)
	counted := 0
	// So many rounds, and more where the machine is slow.
	rounds := testkit.Sample(24, 8)
	for round := 0; round < rounds || counted < rounds/2 && round < 100; round++ {
		sync := []string{"interval", "always"}[round%2]
		lines, kill := play(t, fmt.Sprintf("writer %s k%d %s", dir, round, sync))
		if !lines.Scan() || lines.Text() != "ready" {
			t.Fatalf("the writer says %q", lines.Text())
		}
		timer := time.AfterFunc(time.Duration(rand.IntN(120_000))*time.Microsecond, kill)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "error") {
				t.Fatal(lines.Text())
			}
		}
		timer.Stop()
		kill()
		text, err := os.ReadFile(witness)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(text, []byte(`"entries":0,`)) && !bytes.Contains(text, []byte(`"closed":true`)) {
			counted++
		}
		b, err := bus.Open(t.Context(), bus.Options{StoreDir: dir, WatchInterval: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		marked := !b.DamagedAt().IsZero()
		shut(t, b)
		if marked {
			t.Fatalf("round %d, %s: a kill counts as damage; the witness said %s", round, sync, text)
		}
	}
	testkit.Enough(t, counted, rounds/2, "kills that left entries which are counted")
}

// TestOlderVersionInBetween: it knows no witness, and drops what stands.
func TestOlderVersionInBetween(t *testing.T) {
	dir := t.TempDir()
	b := embedded(t, bus.Options{StoreDir: dir, WatchInterval: time.Hour})
	j := openJournal(t, b, journal.Options{Sole: true, Witness: b.Witness(bucketStream)})
	mustStart(t, j, entry("s", "c"))
	shut(t, b)
	witness := filepath.Join(dir, "toolhand.witness", bucketStream)
	said, err := os.ReadFile(witness)
	if err != nil {
		t.Fatal(err)
	}
	b = embedded(t, bus.Options{StoreDir: dir, WatchInterval: time.Hour})
	j = openJournal(t, b, journal.Options{Sole: true})
	mustForget(t, j, "s", "c")
	shut(t, b)
	// What it leaves of both files.
	if err := os.WriteFile(witness, said, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "toolhand.lock"), []byte("12345\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if marked, log := damagedNow(t, dir); marked {
		t.Errorf("counts as damaged: %s", log)
	}
}

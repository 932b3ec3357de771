package bus_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"toolhand/internal/bus"
)

// ownFiles are the files of the stream that put writes to.
func ownFiles(t *testing.T, dir, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "jetstream/toolhand/streams/KV_toolhand_calls", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	return files
}

// TestDamageIsFound: the server itself opens such a store without a word.
func TestDamageIsFound(t *testing.T) {
	garbage := []byte(strings.Repeat("garbage ", 40))
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, dir string)
		says   string
		aside  bool
	}{
		{"garbage for records", func(t *testing.T, dir string) {
			for _, f := range ownFiles(t, dir, "msgs/*.blk") {
				write(t, f, garbage)
			}
		}, "what could not be read was cut off", false},
		{"the end of the records is torn", func(t *testing.T, dir string) {
			for _, f := range ownFiles(t, dir, "msgs/*.blk") {
				text, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				write(t, f, text[:len(text)-7])
			}
		}, "what could not be read was cut off", false},
		{"a bit", func(t *testing.T, dir string) {
			for _, f := range ownFiles(t, dir, "msgs/*.blk") {
				text, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				text[len(text)/2] ^= 4
				write(t, f, text)
			}
		}, "what could not be read was cut off", false},
		{"garbage for a description", func(t *testing.T, dir string) {
			write(t, ownFiles(t, dir, "meta.inf")[0], garbage)
		}, "a stream can't be read and was set aside", true},
		{"no description", func(t *testing.T, dir string) {
			if err := os.Remove(ownFiles(t, dir, "meta.inf")[0]); err != nil {
				t.Fatal(err)
			}
		}, "a stream can't be read and was set aside", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if says, kill := play(t, "write "+dir); says != "written" {
				t.Fatal(says)
			} else {
				kill()
			}
			c.damage(t, dir)
			var log lines
			opts := bus.Options{StoreDir: dir, Log: log.logger()}
			b := open(t, opts)
			at := b.DamagedAt()
			if time.Since(at) > time.Minute || !strings.Contains(log.String(), c.says) {
				t.Errorf("damaged at %v; the log says\n%s", at, log.String())
			}
			if kept, _ := filepath.Glob(filepath.Join(dir, "damaged-*/KV_toolhand_calls/msgs/*.blk")); (len(kept) > 0) != c.aside {
				t.Errorf("set aside: %q", kept)
			}
			put(t, b, "new", "value")
			shut(t, b)

			// The server has mended its files: the next start must know all the same.
			again := open(t, opts)
			if !again.DamagedAt().Equal(at) {
				t.Errorf("at the next start it is damaged at %v, want %v", again.DamagedAt(), at)
			}
			if got := get(t, again, "new"); got != "value" {
				t.Errorf("what was written since: %q", got)
			}
			shut(t, again)
			write(t, filepath.Join(dir, "toolhand.damaged"), garbage)
			if b := open(t, opts); b.DamagedAt().IsZero() {
				t.Error("where the note of it is garbage, the store counts as sound")
			}
		})
	}
}

// TestSoundAfterAKill: a kill is no damage.
func TestSoundAfterAKill(t *testing.T) {
	dir := t.TempDir()
	says, kill := play(t, "write "+dir)
	if says != "written" {
		t.Fatal(says)
	}
	kill()
	var log lines
	b := open(t, bus.Options{StoreDir: dir, Log: log.logger()})
	if at := b.DamagedAt(); !at.IsZero() || log.String() != "" {
		t.Errorf("damaged at %v: %s", at, log.String())
	}
	if got := get(t, b, "k"); got != "v" {
		t.Errorf("k is %q", got)
	}
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTrust: people who have looked clear the mark, while no process has the store.
func TestTrust(t *testing.T) {
	dir := t.TempDir()
	opts := bus.Options{StoreDir: dir}
	shut(t, open(t, opts))
	if _, was, err := bus.Trust(opts); was || err != nil {
		t.Errorf("a sound store: %t, %v", was, err)
	}
	write(t, filepath.Join(dir, "toolhand.damaged"), []byte("2026-11-01T12:00:00Z\n"))
	b := open(t, opts)
	if d, is := b.Damage(); !is || d.Left > bus.DoubtFor || d.Left < bus.DoubtFor-time.Minute || b.DamagedAt().Year() != 2026 {
		t.Errorf("%t, %+v", is, d)
	}
	if _, _, err := bus.Trust(opts); !errors.Is(err, bus.ErrStoreHeld) {
		t.Errorf("while it is held: %v", err)
	}
	shut(t, b)
	if text, err := os.ReadFile(filepath.Join(dir, "toolhand.damaged")); err != nil || !strings.Contains(string(text), "\n23h59m") {
		t.Errorf("at the end the time that has passed is not counted: %q, %v", text, err)
	}
	d, was, err := bus.Trust(opts)
	if !was || err != nil || d.Found.Format(time.RFC3339) != "2026-11-01T12:00:00Z" {
		t.Errorf("%t, %+v, %v", was, d, err)
	}
	if b := open(t, opts); !b.DamagedAt().IsZero() {
		t.Error("it is marked yet")
	}
	if _, _, err := bus.Trust(bus.Options{StoreDir: filepath.Join(dir, "none")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a store: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); err == nil {
		t.Error("a store was made")
	}
}

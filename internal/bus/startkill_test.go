package bus_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/testkit"
)

// TestStartIsKilled kills processes while they open a store, several in a row: what
// was sound stays so and has all its entries, and what was damaged is marked in the
// end, wherever a start came to. CRASHES says how often for each kind of store.
func TestStartIsKilled(t *testing.T) {
	n := testkit.Number(t, "CRASHES", testkit.Sample(12, 2))
	const entries = 30
	stream := func(dir string, more ...string) string {
		return filepath.Join(append([]string{dir, "jetstream/toolhand/streams/KV_toolhand_calls"}, more...)...)
	}
	change := func(file string, to func(text []byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			text, err := os.ReadFile(stream(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			write(t, stream(dir, file), to(text))
		}
	}
	for _, c := range []struct {
		name    string
		change  func(t *testing.T, dir string)
		damaged bool
	}{
		{"sound", func(*testing.T, string) {}, false},
		{"a write that nobody was told of", change("msgs/1.blk", func(text []byte) []byte {
			return append(text, append([]byte{200, 0, 0, 0, 200, 0, 0, 0}, make([]byte, 60)...)...)
		}), false},
		{"a bit", change("msgs/1.blk", func(text []byte) []byte { text[len(text)/2] ^= 4; return text }), true},
		{"the description", change("meta.inf", func(text []byte) []byte { return text[1:] }), true},
		{"the stream is gone", func(t *testing.T, dir string) {
			if err := os.RemoveAll(stream(dir)); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			live := t.TempDir()
			b := open(t, bus.Options{StoreDir: live, WatchInterval: time.Hour})
			for i := range entries {
				put(t, b, fmt.Sprint("k", i), "v")
			}
			if err := b.Witness("KV_toolhand_calls").Stands(entries, entries); err != nil {
				t.Fatal(err)
			}
			image := testkit.Image(t, live)
			c.change(t, image)
			begun := time.Now()
			_, kill := play(t, "hold "+filepath.Join(t.TempDir(), "other"))
			whole := time.Since(begun)
			kill()
			for range n {
				dir := filepath.Join(t.TempDir(), "store")
				if err := os.CopyFS(dir, os.DirFS(image)); err != nil {
					t.Fatal(err)
				}
				var after []time.Duration
				for range 1 + rand.IntN(3) {
					after = append(after, rand.N(whole+whole/4))
					holdFor(t, dir, after[len(after)-1])
				}
				b := open(t, bus.Options{StoreDir: dir, WatchInterval: time.Hour})
				if damaged := !b.DamagedAt().IsZero(); damaged != c.damaged {
					t.Errorf("killed after %v of %v: damaged: %t, want %t", after, whole, damaged, c.damaged)
				}
				if !c.damaged {
					for i := range entries {
						if got := get(t, b, fmt.Sprint("k", i)); got != "v" {
							t.Errorf("killed after %v of %v: entry %d is %q", after, whole, i, got)
						}
					}
				}
				shut(t, b)
			}
		})
	}
}

// holdFor starts a process that opens the store, and kills it.
func holdFor(t *testing.T, dir string, after time.Duration) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"=hold "+dir)
	in, w := io.Pipe()
	cmd.Stdin = in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	_ = cmd.Process.Kill()
	_ = w.Close()
	_ = cmd.Wait() // it was killed
}

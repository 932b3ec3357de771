package bus

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TestChangeEndsHalfway ends a process between the two files in which the server keeps a
// stream's settings: the change is taken back. Any other description that does not fit
// its checksum is damage.
func TestChangeEndsHalfway(t *testing.T) {
	for name, c := range map[string]struct {
		text    func(changed []byte) []byte
		damaged bool
	}{
		"halfway": {func(changed []byte) []byte { return changed }, false},
		"cut":     {func(changed []byte) []byte { return changed[:len(changed)-1] }, true},
		"empty":   {func([]byte) []byte { return nil }, true},
		"of another stream": {func([]byte) []byte {
			return []byte(`{"Created":"2026-11-01T12:00:00Z","name":"S","subjects":["s.>"]}`)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			opts := Options{StoreDir: t.TempDir(), WatchInterval: time.Hour}
			b := openIn(t, opts)
			made(t, b, 5)
			closeIn(t, b)
			b = openIn(t, opts)
			file := func(opts Options, name string) string {
				return filepath.Join(opts.StoreDir, "jetstream", ownAccount, "streams/S", name)
			}
			sum, err := os.ReadFile(file(opts, "meta.sum"))
			if err != nil {
				t.Fatal(err)
			}
			changed := jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, MaxBytes: 1 << 20}
			if _, err := b.JetStream().UpdateStream(t.Context(), changed); err != nil {
				t.Fatal(err)
			}
			killed, whole := image(t, opts), image(t, opts)
			closeIn(t, b)
			text, err := os.ReadFile(file(killed, "meta.inf"))
			if err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string][]byte{"meta.inf": c.text(text), "meta.sum": sum} {
				if err := os.WriteFile(file(killed, name), text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if isMarked(t, whole) {
				t.Error("a whole change counts as damage")
			}
			b = openIn(t, killed)
			defer closeIn(t, b)
			if _, marked := b.Damage(); marked != c.damaged {
				t.Fatalf("damaged: %t, want %t", marked, c.damaged)
			}
			if c.damaged {
				return
			}
			s, err := b.JetStream().UpdateStream(t.Context(), changed)
			if err != nil || s.CachedInfo().State.Msgs != 5 || s.CachedInfo().Config.MaxBytes != 1<<20 {
				t.Errorf("the stream is %+v, %v", s, err)
			}
		})
	}
}

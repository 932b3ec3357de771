package bus_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/bus"
	"toolhand/internal/testkit"
)

func put(t *testing.T, b *bus.Bus, key, value string) {
	t.Helper()
	kv, err := b.JetStream().CreateOrUpdateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "toolhand_calls"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, b *bus.Bus, key string) string {
	t.Helper()
	kv, err := b.JetStream().KeyValue(t.Context(), "toolhand_calls")
	if err != nil {
		t.Fatal(err)
	}
	e, err := kv.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(e.Value())
}

func TestStoreDir(t *testing.T) {
	for _, c := range []struct{ configured, state, want string }{
		{"", "", "data"},
		{"", "/var/lib/toolhand", "/var/lib/toolhand"},
		{"", "/var/lib/a:/var/lib/b", "/var/lib/a"},
		{"store", "/var/lib/toolhand", "store"},
	} {
		got := bus.StoreDir(c.configured, func(name string) (string, bool) { return c.state, name == "STATE_DIRECTORY" && c.state != "" })
		if got != c.want {
			t.Errorf("configured %q, $STATE_DIRECTORY %q: %q, want %q", c.configured, c.state, got, c.want)
		}
	}
}

func TestEmbeddedKeepsItsFiles(t *testing.T) {
	for _, sync := range []time.Duration{0, time.Second} {
		var log lines
		opts := bus.Options{StoreDir: filepath.Join(t.TempDir(), "a", "b"), SyncInterval: sync, Log: log.logger()}
		b := open(t, opts)
		put(t, b, "k", "v")
		if err := b.Healthy(); err != nil {
			t.Error(err)
		}
		s := b.Status()
		if s.Server != "embedded" || !s.Connected || s.FreeBytes == 0 || s.StoreBytes == 0 || s.Problem != "" || s.Listen != "" || b.MaxPayload() != 8<<20 {
			t.Errorf("status %+v", s)
		}
		if want := map[time.Duration]string{0: "always", time.Second: "1s"}[sync]; s.Sync != want {
			t.Errorf("sync is %s, want %s", s.Sync, want)
		}
		info, err := os.Stat(opts.StoreDir)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("store is %v (%v), want 0700", info.Mode(), err)
		}
		shut(t, b)
		if err := b.Healthy(); err == nil {
			t.Error("a closed bus is healthy")
		}
		again := open(t, opts)
		if got := get(t, again, "k"); got != "v" {
			t.Errorf("after a restart: %q", got)
		}
		if log.String() != "" {
			t.Errorf("noise: %s", log.String())
		}
	}
}

// TestStoreIsHeldByOneProcess: nats-server itself would let both in, and the
// files would be lost.
func TestStoreIsHeldByOneProcess(t *testing.T) {
	dir := t.TempDir()
	first := open(t, bus.Options{StoreDir: dir})
	put(t, first, "k", "v")
	if says, _ := play(t, "hold "+dir); !strings.HasPrefix(says, "refused: "+bus.ErrStoreHeld.Error()+" (pid ") || !strings.Contains(says, dir) {
		t.Errorf("the second process says %q", says)
	}
	if _, err := bus.Open(t.Context(), bus.Options{StoreDir: dir}); !errors.Is(err, bus.ErrStoreHeld) {
		t.Errorf("a second bus of this process: %v", err)
	}
	put(t, first, "k2", "v2")
	if get(t, first, "k") != "v" || get(t, first, "k2") != "v2" {
		t.Error("the first took harm")
	}
	shut(t, first)

	says, kill := play(t, "hold "+dir)
	if says != "held" {
		t.Fatalf("after a close: %s", says)
	}
	if _, err := bus.Open(t.Context(), bus.Options{StoreDir: dir}); !errors.Is(err, bus.ErrStoreHeld) {
		t.Errorf("beside another process: %v", err)
	}
	kill()
	after := open(t, bus.Options{StoreDir: dir})
	if get(t, after, "k2") != "v2" {
		t.Error("lost by the kill")
	}
}

func TestEmbeddedStartErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		opts bus.Options
		want string
	}{
		{"no directory", bus.Options{}, "needs a directory"},
		{"a file", bus.Options{StoreDir: file}, "not a directory"},
		{"port taken", bus.Options{Listen: taken.Addr().String()}, "address already in use"},
		{"no port", bus.Options{Listen: "127.0.0.1"}, "missing port"},
		{"bad port", bus.Options{Listen: "127.0.0.1:nats"}, "number up to 65535"},
		{"all addresses without a token", bus.Options{Listen: ":0"}, "nats.token_file is required"},
		{"an address without a token", bus.Options{Listen: "192.0.2.1:4222"}, "nats.token_file is required"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.opts.Listen != "" {
				c.opts.StoreDir = t.TempDir()
			}
			b, err := bus.Open(t.Context(), c.opts)
			if err == nil {
				shut(t, b)
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if c.opts.StoreDir == "" || c.opts.StoreDir == file {
				return
			}
			c.opts.Listen = ""
			open(t, c.opts) // the failure holds nothing
		})
	}
}

func TestEmbeddedStartIsBounded(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	b, err := bus.Open(ctx, bus.Options{StoreDir: t.TempDir()})
	if err == nil {
		shut(t, b)
		t.Fatal("opened with a context that is over")
	}
	if !strings.Contains(err.Error(), "enough") {
		t.Errorf("%v does not say why", err)
	}
}

func TestLowSpaceIsUnhealthy(t *testing.T) {
	var log lines
	b := open(t, bus.Options{StoreDir: t.TempDir(), MinFree: 1 << 60, Log: log.logger()})
	if err := b.Healthy(); err == nil || !strings.Contains(err.Error(), "make room") || b.Status().Problem == "" {
		t.Errorf("health %v, status %+v", err, b.Status())
	}
	if n := strings.Count(log.String(), "should not be written"); n != 1 {
		t.Errorf("said %d times: %s", n, log.String())
	}
}

// TestStoreThatCannotBeWritten: a directory stands where the probe should go.
func TestStoreThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	var log lines
	b := open(t, bus.Options{StoreDir: dir, WatchInterval: time.Millisecond, Log: log.logger()})
	block := filepath.Join(dir, "toolhand.probe")
	testkit.Eventually(t, "the probe's place is free", func() bool { return os.MkdirAll(filepath.Join(block, "x"), 0o700) == nil })
	testkit.Eventually(t, "unhealthy", func() bool { return b.Healthy() != nil })
	// A probe may take the place while it is removed.
	testkit.Eventually(t, "the probe's place is free again", func() bool { return os.RemoveAll(block) == nil })
	testkit.Eventually(t, "healthy again", func() bool { return b.Healthy() == nil })
	if !strings.Contains(log.String(), "can be written again") {
		t.Errorf("log: %s", log.String())
	}
}

func TestInProcessNeedsNoPort(t *testing.T) {
	b := open(t, bus.Options{StoreDir: t.TempDir()})
	sub, err := b.Conn().SubscribeSync("x")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Conn().Publish("x", []byte("y")); err != nil {
		t.Fatal(err)
	}
	if m, err := sub.NextMsg(5 * time.Second); err != nil || string(m.Data) != "y" {
		t.Errorf("got %v, %v", m, err)
	}
	if b.Listening() != "" {
		t.Errorf("listens at %s", b.Listening())
	}
	if _, err := b.Conn().Request("toolhand.tool.nobody", nil, 5*time.Second); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a tool that nobody serves: %v", err)
	}
}

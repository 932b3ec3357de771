package bus_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"toolhand/internal/bus"
)

const callsStream = "KV_toolhand_calls"

// snapshot is all that a folder has, with its times.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		text := []byte(nil)
		if info.Mode().IsRegular() {
			text, err = os.ReadFile(path)
		}
		all[path] = fmt.Sprint(info.Mode(), info.Size(), info.ModTime(), string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// written is a store of a process that was killed.
func written(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	says, kill := play(t, "write "+dir)
	kill()
	if says != "written" {
		t.Fatal(says)
	}
	return dir
}

// TestCopyLeavesTheStoreAsItIs: also where a server that opened it would cut it, or set
// it aside. What the next start finds is the same.
func TestCopyLeavesTheStoreAsItIs(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(dir string) (file string, text []byte)
		damaged,
		readable bool
	}{
		"killed": {func(string) (string, []byte) { return "", nil }, false, true},
		"torn": {func(dir string) (string, []byte) {
			file := ownFiles(t, dir, "msgs/*.blk")[0]
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			return file, append(text, "half a record"...)
		}, true, true},
		"without a description": {func(dir string) (string, []byte) {
			return ownFiles(t, dir, "meta.inf")[0], []byte("garbage")
		}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := written(t)
			if file, text := c.damage(dir); file != "" {
				write(t, file, text)
			}
			before := snapshot(t, dir)
			for range 2 {
				to := t.TempDir()
				if err := bus.CopyStream(t.Context(), dir, callsStream, to); err != nil {
					t.Fatal(err)
				}
				b, err := bus.Open(t.Context(), bus.Options{StoreDir: to})
				if err != nil {
					t.Fatal(err)
				}
				if c.readable {
					if got := get(t, b, "k"); got != "v" {
						t.Errorf("the copy has %q", got)
					}
					put(t, b, "k", "another")
				}
				shut(t, b)
			}
			if after := snapshot(t, dir); !maps.Equal(before, after) {
				maps.DeleteFunc(after, func(path, is string) bool { return before[path] == is })
				t.Errorf("the store was changed: %v", slices.Collect(maps.Keys(after)))
			}
			b := open(t, bus.Options{StoreDir: dir})
			if _, marked := b.Damage(); marked != c.damaged {
				t.Errorf("the next start finds damage: %t, want %t", marked, c.damaged)
			}
			shut(t, b)
		})
	}
}

// TestCopyOfAHeldStore: its holder is named, and who opens a store that is copied waits.
func TestCopyOfAHeldStore(t *testing.T) {
	dir := t.TempDir()
	says, kill := play(t, "write "+dir)
	if says != "written" {
		t.Fatal(says)
	}
	to := filepath.Join(t.TempDir(), "copy")
	err := bus.CopyStream(t.Context(), dir, callsStream, to)
	if !errors.Is(err, bus.ErrStoreHeld) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "(pid ") {
		t.Errorf("a store that is held: %v", err)
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("something was copied")
	}
	kill()
	unlock, err := bus.LockToRead(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := bus.CopyStream(t.Context(), dir, callsStream, to); err != nil {
		t.Errorf("a second one that copies: %v", err)
	}
	// A start must not end for good because somebody looks: it waits, as long as it may.
	if _, err := bus.Open(t.Context(), bus.Options{StoreDir: dir, StartTimeout: 100 * time.Millisecond}); err == nil || errors.Is(err, bus.ErrStoreHeld) ||
		!strings.Contains(err.Error(), "is being copied: "+dir) {
		t.Errorf("opened while it is copied: %v", err)
	}
	copied := time.AfterFunc(100*time.Millisecond, func() { _ = unlock() })
	defer copied.Stop()
	isSound(t, dir)
}

// TestCopyThatFails: nothing is made of the store that is missing.
func TestCopyThatFails(t *testing.T) {
	stopped, stop := context.WithCancelCause(t.Context())
	cause := errors.New("stopped")
	stop(cause)
	none := filepath.Join(t.TempDir(), "none")
	for name, c := range map[string]struct {
		ctx         context.Context
		dir, stream string
		lay         func(dir string)
		want        error
		says        string
	}{
		"no store":            {t.Context(), none, callsStream, nil, fs.ErrNotExist, none},
		"an empty folder":     {t.Context(), t.TempDir(), callsStream, nil, fs.ErrNotExist, ""},
		"no such stream":      {t.Context(), written(t), "KV_other", nil, fs.ErrNotExist, "KV_other"},
		"stopped":             {stopped, written(t), callsStream, nil, cause, ""},
		"something else":      {t.Context(), written(t), callsStream, link, nil, "odd is no file"},
		"a link to somewhere": {t.Context(), written(t), callsStream, linkFolder, nil, "is no file"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.lay != nil {
				c.lay(filepath.Join(c.dir, "jetstream/toolhand/streams", callsStream))
			}
			err := bus.CopyStream(c.ctx, c.dir, c.stream, t.TempDir())
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("the store was made")
	}
}

func link(dir string) { _ = os.Symlink("/etc/hostname", filepath.Join(dir, "msgs", "odd")) }

func linkFolder(dir string) {
	_ = os.Rename(filepath.Join(dir, "msgs"), filepath.Join(dir, "..", "elsewhere"))
	_ = os.Symlink("../elsewhere", filepath.Join(dir, "msgs"))
}

// TestCopyFromTheRootOfAVolume: the store is in a folder of ours there.
func TestCopyFromTheRootOfAVolume(t *testing.T) {
	root := t.TempDir()
	if err := os.Rename(written(t), filepath.Join(root, "toolhand")); err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if err := bus.CopyStream(t.Context(), root, callsStream, to); err != nil {
		t.Fatal(err)
	}
	if got := get(t, open(t, bus.Options{StoreDir: to}), "k"); got != "v" {
		t.Errorf("the copy has %q", got)
	}
}

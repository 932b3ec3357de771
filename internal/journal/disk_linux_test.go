package journal_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"toolhand/internal/bus"
	"toolhand/internal/journal"
	"toolhand/internal/testkit"
)

// smallDisk is a disk of so many bytes. Only root can make one; elsewhere the
// test says so.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size))
	if errors.Is(err, syscall.EPERM) && (os.Geteuid() != 0 || os.Getenv("CI") == "") {
		t.Skip("NOT TESTED: a full disk needs the right to mount a tmpfs, which this user has not")
	}
	if err != nil {
		t.Fatalf("a tmpfs can't be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestFullDisk: writes fail in bounded time, what was acknowledged stays, and the
// store works again once it is opened anew with room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, sync := range []time.Duration{0, time.Minute} {
		t.Run(fmt.Sprintf("sync=%s", sync), func(t *testing.T) {
			t.Parallel()
			dir := smallDisk(t, 24<<20)
			ballast := filepath.Join(dir, "ballast")
			if err := os.WriteFile(ballast, make([]byte, 12<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			store := filepath.Join(dir, "store")
			b := embedded(t, bus.Options{StoreDir: store, SyncInterval: sync, MinFree: -1, WatchInterval: 5 * time.Millisecond})
			j := openJournal(t, b, journal.Options{Timeout: 500 * time.Millisecond})
			var acknowledged []journal.Entry
			write := func(i int) (err error) {
				begin := time.Now()
				defer func() {
					if took := time.Since(begin); took > 5*time.Second {
						t.Errorf("a write took %s", took)
					}
				}()
				e := entry("s", call(i))
				if e.Revision, err = j.Start(t.Context(), e); err != nil {
					return err
				}
				f := finished(e, result(100<<10))
				if f.Revision, err = j.Finish(t.Context(), f); err == nil {
					e = f
				}
				acknowledged = append(acknowledged, e)
				return err
			}
			i, err := 0, error(nil)
			for ; err == nil; i++ {
				if i > 400 {
					t.Fatal("never full")
				}
				err = write(i)
			}
			if isOwned(err) {
				t.Fatal(err)
			}
			t.Logf("full after %d calls: %v", i, err)
			if err := j.Check(t.Context()); err == nil {
				t.Error("the journal is well on a full disk")
			}
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			testkit.Eventually(t, "room is seen", func() bool { return b.Healthy() == nil })
			wedged := j.Check(t.Context())
			for end := time.Now().Add(1500 * time.Millisecond); wedged != nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				wedged = j.Check(t.Context())
			}
			if wedged != nil {
				s, _ := j.Status(t.Context())
				if s.FailingSince.IsZero() || s.Problem == "" {
					t.Errorf("status %+v", s)
				}
				t.Logf("with room again it stays wedged, and says so: %v", wedged)
			}
			shut(t, b)
			b = embedded(t, bus.Options{StoreDir: store, SyncInterval: sync, MinFree: -1})
			j = openJournal(t, b, journal.Options{})
			left := recovered(t, j, "s")
			for _, a := range acknowledged {
				got, ok := left[a.Call]
				if !ok || a.Finished && !same(got, a) {
					t.Errorf("lost: %.120v; there is %.120v", a, got)
				}
			}
			for i := range 20 {
				mustStart(t, j, entry("after", call(i)))
			}
		})
	}
}

// TestLowSpaceStopsStartsInTime: the bus's bound keeps the store from the wedge.
func TestLowSpaceStopsStartsInTime(t *testing.T) {
	dir := smallDisk(t, 24<<20)
	b := embedded(t, bus.Options{StoreDir: filepath.Join(dir, "store"), MinFree: 8 << 20, WatchInterval: time.Millisecond})
	j := openJournal(t, b, journal.Options{Writable: b.Healthy})
	e := entry("s", "c")
	e.Revision = mustStart(t, j, e)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "low space is seen", func() bool { return b.Healthy() != nil })
	if _, err := j.Start(t.Context(), entry("s", "d")); err == nil || !strings.Contains(err.Error(), "make room") {
		t.Errorf("start: %v", err)
	}
	e = finished(e, "[]")
	e.Revision = mustFinish(t, j, e) // there is room for what was started
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "room is seen", func() bool { return b.Healthy() == nil })
	mustStart(t, j, entry("s", "d"))
}

// TestAcknowledgedIsOnDisk looks at the kernel's own account of the store's
// files (cachestat): with sync always, none of their pages waits to be written
// when Start, Finish or Forget has returned. That the disk keeps what it took is
// not shown. The same look with an interval must find such pages, else it would
// show nothing.
func TestAcknowledgedIsOnDisk(t *testing.T) {
	for name, sync := range map[string]time.Duration{"always": 0, "interval": time.Minute} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var fsys unix.Statfs_t
			if err := unix.Statfs(dir, &fsys); err != nil {
				t.Fatal(err)
			}
			if fsys.Type == unix.TMPFS_MAGIC {
				t.Skip("NOT TESTED: TMPDIR is a tmpfs, which has no disk behind it; set TMPDIR to a disk")
			}
			b := embedded(t, bus.Options{StoreDir: dir, SyncInterval: sync})
			j := openJournal(t, b, journal.Options{})
			waiting := 0
			look := func(what string) {
				for path, n := range unwritten(t, dir) {
					waiting++
					if sync == 0 {
						t.Errorf("after %s was acknowledged %d pages of %s are not written", what, n, path)
					}
				}
			}
			for i := range 20 {
				e := entry("s", call(i))
				e.Revision = mustStart(t, j, e)
				look("a start")
				mustFinish(t, j, finished(e, result(i*3000)))
				look("a finish")
				mustForget(t, j, "s", e.Call)
				look("a forget")
			}
			if sync != 0 && waiting == 0 {
				t.Error("no page ever waits with an interval: this test shows nothing here")
			}
		})
	}
}

// unwritten counts the pages of message files that the disk does not have yet.
func unwritten(t *testing.T, dir string) map[string]uint64 {
	t.Helper()
	found := map[string]uint64{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || filepath.Ext(path) != ".blk" {
			return err
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		var s unix.Cachestat_t
		err = unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &s, 0)
		if errors.Is(err, unix.ENOSYS) {
			t.Skip("NOT TESTED: this kernel is older than 6.5 and has no cachestat; strace -c -e fsync shows the same by hand")
		}
		if n := s.Dirty + s.Writeback; err == nil && n > 0 {
			found[path] = n
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// BenchmarkFdatasync is what the disk itself needs for what one write of the
// journal brings to it.
func BenchmarkFdatasync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "f"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	line := make([]byte, 500)
	timed(b, nil, func(int) {
		if _, err := f.Write(line); err != nil {
			b.Fatal(err)
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
	})
}

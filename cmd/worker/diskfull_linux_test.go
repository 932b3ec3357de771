package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"toolhand/internal/testkit"
)

// smallDisk is a tmpfs of so many bytes. Only root can mount one; elsewhere the
// test says so.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("none", dir, "tmpfs", 0, "size="+size)
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

// fill takes all room of a disk, also what becomes free meanwhile, until it is
// told to give it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	more := func(size int) bool {
		_, err := f.Write(make([]byte, size))
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Error(err)
		}
		return err == nil
	}
	for more(1 << 20) {
	}
	stop := make(chan struct{})
	var filler sync.WaitGroup
	filler.Go(func() {
		for {
			for more(4 << 10) {
			}
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	free = sync.OnceFunc(func() {
		close(stop)
		filler.Wait()
		if err := errors.Join(f.Close(), os.Remove(path)); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(free)
	return free
}

// waitTool waits for the file go.
const waitTool = "#!/bin/sh\necho $TOOL_USE_ID >> ran.$TOOL_NAME\nwhile ! test -e go; do sleep 0.05; done\necho done\n"

// exitsWedged waits until the worker gives up its wedged store, which it does
// after a minute.
func exitsWedged(t *testing.T, r *running) {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(3 * time.Minute):
		t.Fatalf("a worker whose store is wedged goes on:\n%s", tail(r.text()))
	}
	if code := r.cmd.ProcessState.ExitCode(); code != exitFailure || !strings.Contains(r.text(), "the store has to be opened anew") {
		t.Errorf("exit code %d, want %d:\n%s", code, exitFailure, tail(r.text()))
	}
}

// TestDiskFullUnderLoad fills the store's disk while ten agents call tools. What
// may not run twice is not started any more, what runs is answered, and the
// worker ends for its supervisor; with room again the next one goes on.
func TestDiskFullUnderLoad(t *testing.T) {
	testkit.OnlyInFull(t)
	t.Parallel()
	disk := smallDisk(t, "96m") // a worker wants 64 MiB to be free
	l := newLoad(t, 11, map[string]string{
		"tools.d/pay.yaml": manifestOf("pay", "note.sh", "5s", false),
		"tools.d/wait.sh":  waitTool, "tools.d/wait.yaml": manifestOf("wait", "wait.sh", "10m", false),
		"worker.yaml": "+nats: {store_dir: '" + filepath.Join(disk, "store") + "'}\n",
	})
	r := l.launch(t, "run1")
	isReady(t, r, 200)
	busy, waiting := l.all[:10], l.all[10]
	long := l.call(waiting, "wait")
	waiting.RequireAction()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l.begin(ctx, busy, 100*time.Millisecond, "pay", "pay", "look")
	if _, err := r.until(until(`"msg":"call started".*"call":"` + long)); err != nil {
		t.Fatal(err)
	}
	testkit.Within(patience, func() bool { return len(l.made()) >= 150 })
	free := fill(t, disk)
	before := len(l.made())
	if body := isReady(t, r, 503); !strings.Contains(body, "the journal can't be written") {
		t.Errorf("/readyz: %s", body)
	}
	late := l.call(waiting, "pay") // surely after the disk was full
	waiting.RequireAction()
	testkit.Eventually(t, "an answer for a call that can't be started", func() bool { _, ok := waiting.Result(late); return ok })
	if got, _ := waiting.Result(late); !got.IsError || !strings.HasPrefix(got.Text(), `Tool "pay" did not finish within its deadline of 5s`) ||
		!strings.Contains(got.Text(), "it was not started, because the worker's journal can't be written") {
		t.Errorf("the answer is %q", got.Text())
	}
	// What runs goes on, and its result does not wait for the journal.
	l.write(t, "tools.d/go", "")
	begin := time.Now()
	testkit.Eventually(t, "the result of what ran", func() bool { _, ok := waiting.Result(long); return ok })
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("a result that can't be written was sent after %s", took)
	}
	if got, _ := waiting.Result(long); got.Text() != "done\n" && got.Text() != "done" {
		t.Errorf("what ran is answered %q", got.Text())
	}
	exitsWedged(t, r)
	full := len(l.made()) - before
	free()
	r = l.launch(t, "run2")
	isReady(t, r, 200)
	time.Sleep(time.Second) // it works
	stop()
	l.agents.Wait()
	l.answered(t, r, time.Minute)
	v := l.judge(t)
	t.Logf("%d calls before the disk was full, %d while it was", before, full)
	if v.notStarted == 0 {
		t.Errorf("no call was not started: %+v", v)
	}
	entries(t, r, 0)
	testkit.Enough(t, v.done, 150, "calls done")
}

// TestDiskNearlyFull: where room is short and writes succeed, nothing new is
// started and nothing that runs is given up; with room again all goes on.
func TestDiskNearlyFull(t *testing.T) {
	testkit.OnlyInFull(t)
	t.Parallel()
	disk := smallDisk(t, "96m")
	l := newLoad(t, 1, map[string]string{
		"tools.d/wait.sh": waitTool, "tools.d/wait.yaml": manifestOf("wait", "wait.sh", "10m", false),
		"tools.d/pay.yaml": manifestOf("pay", "note.sh", "10m", false),
		"worker.yaml":      "+nats: {store_dir: '" + filepath.Join(disk, "store") + "'}\n",
	})
	r := l.launch(t, "run")
	isReady(t, r, 200)
	s := l.all[0]
	running := l.call(s, "wait")
	s.RequireAction()
	if _, err := r.until(until(`"msg":"call started".*"call":"` + running)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(disk, "ballast"), make([]byte, 60<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if body := isReady(t, r, 503); !strings.Contains(body, "make room") {
		t.Errorf("/readyz: %s", body)
	}
	waits := l.call(s, "pay")
	s.RequireAction()
	select {
	case <-r.done:
		t.Fatalf("the worker gives up:\n%s", tail(r.text()))
	case <-time.After(75 * time.Second): // a store that is wedged is given up after a minute
	}
	if _, ok := s.Result(waits); ok || l.ran(t)[waits] > 0 {
		t.Error("a call was started that should wait for room")
	}
	l.write(t, "tools.d/go", "")
	if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
		t.Fatal(err)
	}
	isReady(t, r, 200)
	l.answered(t, r, time.Minute)
	if v := l.judge(t); v.done != 2 {
		t.Errorf("%+v", v)
	}
	entries(t, r, 0)
}

// TestReadOnlyStore: a store that can't be written is a failure at the start, and
// the message says so. (The kernel lets no disk become read-only under an open
// file.)
func TestReadOnlyStore(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "16m")
	l := newLoad(t, 1, map[string]string{"worker.yaml": "+nats: {store_dir: '" + disk + "'}\n"})
	if err := syscall.Mount("none", disk, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if text := endsAtStart(t, l.launch(t, "run")); !strings.Contains(text, "read-only file system") || !strings.Contains(text, "nats.store_dir") {
		t.Errorf("it does not say why: %s", text)
	}
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A killed `tools serve` leaves nothing behind: the next one on the machine stops
// what its calls have started, although nobody asks for those calls again.
func TestToolsLeftByKilledServe(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"cgroup", "marks"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			address := freeAddress(t)
			l := newLoad(t, 1, map[string]string{
				"worker.yaml":     "+nats: {listen: '" + address + "'}\n",
				"tools.d/st.yaml": remoteTool("st", "60s", false),
			})
			l.launch(t, "worker")
			dir := t.TempDir()
			other := &load{dir: dir}
			for name, text := range map[string]string{
				"worker.yaml":     "admin: {listen: '127.0.0.1:0'}\nnats: {url: 'nats://" + address + "'}\n",
				"tools.d/stay.sh": stayTool, "tools.d/st.yaml": manifestOf("st", "stay.sh", "60s", false),
			} {
				other.write(t, name, text)
			}
			serve := []string{"worker", "tools", "serve"}
			if way == "marks" {
				serve = slices.Clone(withoutCgroups)
				serve[len(serve)-1] = strings.Replace(serve[len(serve)-1], "worker run", "worker tools serve", 1)
			}
			env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GORACE=atexit_sleep_ms=0", "TZ=Asia/Tokyo"}
			first := startIn(t, dir, "serve1", env, serve...)
			if _, err := first.until(until(`"serving tools"`)); err != nil {
				needs(t, first, way)
				t.Fatal(err)
			}
			l.call(l.all[0], "st")
			l.all[0].RequireAction()
			pids := awaitPIDs(t, filepath.Join(dir, "tools.d/pids"))
			first.kill()
			second := startIn(t, dir, "serve2", env, serve...)
			if _, err := second.until(until(`"serving tools"`)); err != nil {
				t.Fatal(err)
			}
			for _, pid := range pids {
				gone(t, pid)
			}
		})
	}
}

// Two workers that live on one machine serve one session by one journal: the one
// that comes later answers for what the first one has started, as it must, but
// stops nothing of it.
func TestSecondWorkerOnASession(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), freePorts(t, 1)[0]
	launchNATS(t, dir, "nats", fmt.Sprintf("listen: 127.0.0.1:%d\njetstream: {store_dir: %q}\n", port, filepath.Join(dir, "store")))
	l := newLoad(t, 1, map[string]string{
		"worker.yaml":     fmt.Sprintf("+nats: {url: 'nats://127.0.0.1:%d'}\n", port),
		"tools.d/stay.sh": stayTool, "tools.d/stay.yaml": manifestOf("stay", "stay.sh", "60s", false),
	})
	l.launch(t, "first")
	id := l.call(l.all[0], "stay")
	l.all[0].RequireAction()
	pids := awaitPIDs(t, filepath.Join(l.dir, "tools.d/pids"))
	var alive atomic.Int64
	l.watchSends(pids, func(int) { alive.Add(1) })
	second := l.launch(t, "second")
	l.answered(t, second, time.Minute)
	if got, _ := l.all[0].Result(id); !strings.Contains(got.Text(), "its outcome is unknown") {
		t.Errorf("the answer is %q", got.Text())
	}
	if n := alive.Load(); n != int64(len(pids)) {
		t.Errorf("%d of the tool's %d processes lived when the second worker answered", n, len(pids))
	}
	if ran := l.ran(t); ran[id] != 1 {
		t.Errorf("the call ran %d times", ran[id])
	}
}

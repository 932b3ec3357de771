package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"toolhand/internal/testkit"
)

// One worker has fifty sessions whose calls are jobs in the queue of a server
// beside it, and three processes work them off: they share the load, and each
// process is killed in turn, the worker and the server too. Invariants 1, 2 and 3:
// no call runs twice that may not, none is lost, and each has one result; those of
// the worker that is killed get theirs from the one after it.
func TestQueueKilledInTurn(t *testing.T) {
	testkit.OnlyInFull(t)
	t.Parallel()
	port := freePorts(t, 1)[0]
	url := fmt.Sprintf("nats://127.0.0.1:%d", port)
	l := newLoad(t, 50, map[string]string{
		"worker.yaml":       "+nats: {url: '" + url + "', queue: {ack_wait: 1500ms}}\n",
		"tools.d/pay.yaml":  queueTool("pay", "deadline: 8s\n"),
		"tools.d/look.yaml": queueTool("look", "deadline: 8s\nidempotent: true\n"),
	})
	l.expires, l.silent = true, true
	conf := fmt.Sprintf("listen: '127.0.0.1:%d'\njetstream { store_dir: '%s' }\n", port, filepath.Join(l.dir, "nats"))
	server := launchNATS(t, l.dir, "nats", conf)
	ran := filepath.Join(l.dir, "tools.d")
	w := l.launch(t, "worker")
	isReady(t, w, 200)
	var all []*offerer
	for _, name := range []string{"one", "two", "three"} {
		o := newOfferer(t, name, ran, url, "--queue")
		o.launch(t)
		all = append(all, o)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l.begin(ctx, l.all, 200*time.Millisecond, "pay", "look")
	enough := func(n int) func() bool { return func() bool { return len(l.made()) > n } }
	testkit.Eventually(t, "300 calls", enough(300))
	first := counts(t, ran)
	testkit.Eventually(t, "600 more", enough(900))
	sharedEvenly(t, first, counts(t, ran))

	random := rand.New(rand.NewPCG(l.seed, 1))
	moment := func() { time.Sleep(time.Duration(random.Int64N(int64(500 * time.Millisecond)))) }
	for round := range 3 {
		moment()
		w.kill()
		moment()
		w = l.launch(t, fmt.Sprint("worker", round+2))
		moment()
		all[round].kill()
		moment()
		all[round].launch(t)
		moment()
		if round > 0 {
			server.kill()
			moment()
			server = launchNATS(t, l.dir, "nats", conf)
		}
		isReady(t, w, 200)
		now := len(l.made())
		testkit.Eventually(t, "more calls", enough(now+100))
	}
	// A drain in the middle of the load turns nobody away, and loses nothing.
	if err := all[0].cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, err := all[0].ends(); code != 0 || err != nil {
		t.Errorf("the drain ended with exit code %d, %v\n%s", code, err, tail(all[0].text()))
	}
	stop()
	l.agents.Wait()
	l.answered(t, w, time.Minute)
	if v := l.judge(t); v.unknown > 0 || v.done < v.calls*8/10 {
		t.Errorf("%d of %d calls are done, and of %d a worker that was killed is the reason that nobody knows their outcome", v.done, v.calls, v.unknown)
	}
}

package journal_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"toolhand/internal/bus"
	"toolhand/internal/journal"
	"toolhand/internal/testkit"
)

// play starts the test binary in a role. lines gives what it says until its end;
// kill ends it at once, as often as it is called.
func play(t *testing.T, role string) (lines *bufio.Scanner, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Stderr = os.Stderr
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(func() {
		kill()
		_ = out.Close()
	})
	return bufio.NewScanner(out), kill
}

// writer is a worker that is killed: it says what was acknowledged, and before
// it forgets something, that it is about to.
func writer(args []string) {
	dir, name, sync := args[0], args[1], time.Minute
	if args[2] == "always" {
		sync = 0
	}
	ctx := context.Background()
	b, err := bus.Open(ctx, bus.Options{StoreDir: dir, SyncInterval: sync})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	j, err := journal.Open(ctx, b.JetStream(), journal.Options{Sole: true, Witness: b.Witness(bucketStream)})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	fmt.Println("ready")
	for g := range 4 {
		go func() {
			session := fmt.Sprint("s", name, "-", g)
			for i := 0; ; i++ {
				e := by(name, entry(session, call(i)))
				r, err := j.Start(ctx, e)
				say(err, "started", e)
				e.Revision = r
				_, err = j.Finish(ctx, finished(e, result(i%2000)))
				say(err, "finished", e)
				if i%8 == 7 {
					var turn []string
					for k := range 6 {
						turn = append(turn, call(i-k))
						say(nil, "forgetting", entry(session, call(i-k)))
					}
					say(j.Forget(ctx, session, turn...), "turn", e)
					for _, c := range turn {
						say(nil, "forgot", entry(session, c))
					}
				}
			}
		}()
	}
	select {} // until killed
}

// say writes a line at once, so that none is half written.
func say(err error, what string, e journal.Entry) {
	if err != nil {
		what = "error " + strings.ReplaceAll(err.Error(), "\n", " ")
	}
	fmt.Printf("%s %s %s\n", what, e.Session, e.Call)
}

// TestKilledAtAnyPoint: what was acknowledged is there, and nothing that was
// forgotten.
func TestKilledAtAnyPoint(t *testing.T) {
	dir := t.TempDir()
	acknowledged := 0
	// So many rounds, and more where the machine is slow.
	for round := 0; round < testkit.Sample(16, 6) || acknowledged < 500 && round < 100; round++ {
		sync := []string{"interval", "always"}[round%2]
		lines, kill := play(t, fmt.Sprintf("writer %s w%d %s", dir, round, sync))
		if !lines.Scan() || lines.Text() != "ready" {
			t.Fatalf("the writer says %q", lines.Text())
		}
		timer := time.AfterFunc(time.Duration(rand.IntN(60_000))*time.Microsecond, kill)
		last := map[[2]string]string{}
		for lines.Scan() {
			words := strings.Fields(lines.Text())
			if words[0] == "error" {
				t.Fatal(lines.Text())
			}
			if words[0] != "turn" {
				last[[2]string{words[1], words[2]}] = words[0]
				acknowledged++
			}
		}
		timer.Stop()
		kill()
		checkKilled(t, dir, last)
	}
	testkit.Enough(t, acknowledged, 500, "acknowledged writes")
}

func checkKilled(t *testing.T, dir string, last map[[2]string]string) {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{StoreDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, b)
	j := openJournal(t, b, journal.Options{})
	found := map[string]map[string]journal.Entry{}
	for id, what := range last {
		if found[id[0]] == nil {
			found[id[0]] = recovered(t, j, id[0])
		}
		e, ok := found[id[0]][id[1]]
		var i int
		if _, err := fmt.Sscanf(id[1], "sevt_%d", &i); err != nil {
			t.Fatal(err)
		}
		whole := e.Finished && string(e.Content) == result(i%2000)
		switch {
		case what == "started" && !ok, what == "started" && e.Finished && !whole,
			what == "finished" && !whole, what == "forgetting" && ok && !whole, what == "forgot" && ok:
			t.Errorf("%s of %s was acknowledged; found %t: %.200v", what, id, ok, e)
		}
	}
}

// TestForgottenStaysForgotten: the server rebuilds its state from the files of a
// crash, which a copy of them under a running server is.
func TestForgottenStaysForgotten(t *testing.T) {
	for _, sync := range []time.Duration{0, time.Minute} {
		dir := t.TempDir()
		b := embedded(t, bus.Options{StoreDir: dir, SyncInterval: sync})
		j := openJournal(t, b, journal.Options{})
		var want []journal.Entry
		for i := range 100 {
			e := entry("s", call(i))
			e.Revision = mustStart(t, j, e)
			f := finished(e, result(200))
			f.Revision = mustFinish(t, j, f)
			switch i % 4 {
			case 0:
				want = append(want, f)
				continue
			case 1:
				mustFinish(t, j, finished(f, "short"))
			}
			mustForget(t, j, "s", e.Call)
		}
		for range 3 { // crashes in a row
			dir = testkit.Image(t, dir)
			j = openJournal(t, embedded(t, bus.Options{StoreDir: dir, SyncInterval: sync}), journal.Options{})
			holds(t, j, "s", want...)
			e := entry("t", "c")
			e.Revision = mustStart(t, j, e)
			mustFinish(t, j, finished(e, "[]"))
			mustForget(t, j, "t", "c")
		}
	}
}

// server is an external nats-server on a port, with a directory.
func server(args []string) int {
	opts := &natsserver.Options{Host: "127.0.0.1", JetStream: true, StoreDir: args[1], NoSigs: true}
	if _, err := fmt.Sscan(args[0], &opts.Port); err != nil {
		panic(err)
	}
	srv, err := natsserver.NewServer(opts)
	if err != nil {
		panic(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		return 1
	}
	fmt.Println(srv.ClientURL())
	select {} // until killed
}

func startServer(t *testing.T, port, dir string) (url string, kill func()) {
	t.Helper()
	lines, kill := play(t, "server "+port+" "+dir)
	if !lines.Scan() {
		t.Fatal("the server says nothing")
	}
	return lines.Text(), kill
}

// TestExternalServerIsKilledUnderLoad: each call is started once and has its
// result, though the server dies again and again.
func TestExternalServerIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	url, kill := startServer(t, "-1", dir)
	b := embedded(t, bus.Options{URL: url})
	j := openJournal(t, b, journal.Options{Timeout: 2 * time.Second})
	const workers = 4
	calls := testkit.Sample(150, 60)
	var wg sync.WaitGroup
	failed := make([]int, workers)
	started := make(chan struct{}, workers*calls)
	for w := range workers {
		wg.Go(func() {
			session := fmt.Sprint("s", w)
			// again tries until it is done, as the loop does.
			again := func(op func() error) {
				for err := op(); err != nil; err = op() {
					if isOwned(err) {
						t.Error("our own call is refused")
						return
					}
					failed[w]++
					select {
					case <-t.Context().Done():
						return
					case <-time.After(10 * time.Millisecond):
					}
				}
			}
			for i := range calls {
				e := entry(session, call(i))
				again(func() (err error) { e.Revision, err = j.Start(t.Context(), e); return err })
				started <- struct{}{}
				f := finished(e, result(i))
				again(func() (err error) { _, err = j.Finish(t.Context(), f); return err })
				if i%3 == 2 {
					again(func() error { return j.Forget(t.Context(), session, call(i), call(i-1)) })
				}
			}
		})
	}
	for range 3 {
		for range workers * calls / 5 {
			<-started
		}
		kill()
		testkit.Eventually(t, "the loss is noticed", func() bool { return b.Healthy() != nil })
		_, kill = startServer(t, url[strings.LastIndex(url, ":")+1:], dir)
	}
	wg.Wait()
	total := 0
	for w := range workers {
		total += failed[w]
		var want []journal.Entry
		got := recovered(t, j, fmt.Sprint("s", w))
		for i := 0; i < calls; i += 3 {
			f := finished(entry(fmt.Sprint("s", w), call(i)), result(i))
			f.Revision = got[f.Call].Revision
			want = append(want, f)
		}
		holds(t, j, fmt.Sprint("s", w), want...)
	}
	if total == 0 {
		t.Error("no operation failed: the kills showed nothing")
	}
	testkit.Eventually(t, "the journal is well", func() bool { return j.Check(t.Context()) == nil })
}

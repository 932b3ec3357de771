package journal_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/bus"
	"toolhand/internal/journal"
	"toolhand/internal/testkit"
)

// TestLargeStore: a hundred thousand entries open in seconds, and what is asked
// of one session does not grow with the others.
func TestLargeStore(t *testing.T) {
	const calls = 100
	sessions := testkit.Sample(1000, 200)
	dir := t.TempDir()
	first := embedded(t, bus.Options{StoreDir: dir, SyncInterval: time.Minute})
	j := openJournal(t, first, journal.Options{})
	mustStart(t, j, entry("s0", "first"))
	fill(t, first, sessions, calls)
	shut(t, first)

	begin := time.Now()
	b := embedded(t, bus.Options{StoreDir: dir})
	opened := time.Since(begin)
	j = openJournal(t, b, journal.Options{Sole: true, Timeout: 30 * time.Second})
	listed := time.Since(begin)
	if listed > 30*time.Second {
		t.Errorf("opening took %s", listed)
	}
	begin = time.Now()
	if n := len(recovered(t, j, "s77")); n != calls {
		t.Errorf("%d entries of a session, want %d", n, calls)
	}
	one := time.Since(begin)
	begin = time.Now()
	if all, err := j.Sessions(t.Context()); err != nil || len(all) != sessions {
		t.Errorf("%d sessions, %v", len(all), err)
	}
	t.Logf("%d entries: bus open after %s, journal after %s; 100 of one session in %s, all sessions in %s",
		sessions*calls, opened, listed, one, time.Since(begin))
	if s, err := j.Status(t.Context()); err != nil || s.Entries != uint64(sessions*calls+1) {
		t.Errorf("status %+v, %v", s, err)
	}
}

// fill publishes entries without waiting for each.
func fill(t *testing.T, b *bus.Bus, sessions, calls int) {
	t.Helper()
	js, err := jetstream.New(b.Conn(), jetstream.WithPublishAsyncMaxPending(500))
	if err != nil {
		t.Fatal(err)
	}
	for s := range sessions {
		for c := range calls {
			value := fmt.Sprintf(`{"v":1,"session":"s%d","call":"%s","owner":"A"}`+"\n", s, call(c))
			if _, err := js.PublishAsync(fmt.Sprintf("$KV.%s.s%d.%s", journal.Bucket, s, call(c)), []byte(value), jetstream.WithStallWait(time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(2 * time.Minute):
		t.Fatal("the entries were not taken within 2 min")
	}
}

func TestAllGivesEveryEntry(t *testing.T) {
	j := openJournal(t, quick(t), journal.Options{})
	var want []string
	for s := range 5 {
		for c := range 7 {
			e := entry(fmt.Sprint("s", s), call(c))
			mustFinish(t, j, finished(e, e.Session+e.Call))
			want = append(want, e.Session+e.Call)
		}
	}
	var got []string
	for e, err := range j.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(e.Content))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	for range j.All(t.Context()) {
		break // it ends where its user does
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	n := 0
	for _, err := range j.All(gone) {
		n++
		if err == nil {
			t.Error("an entry with a context that is over")
		}
	}
	if n != 1 {
		t.Errorf("%d errors", n)
	}
}

// TestManyCallsAtOnce: different calls need no order.
func TestManyCallsAtOnce(t *testing.T) {
	j := openJournal(t, quick(t), journal.Options{Sole: true})
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			session := fmt.Sprint("s", g%4)
			for i := range 20 {
				e := entry(session, fmt.Sprint(g, "-", i))
				r, err := j.Start(t.Context(), e)
				if err == nil {
					_, err = j.Finish(t.Context(), at(r, finished(e, "[]")))
				}
				if err == nil && i%2 == 1 {
					err = j.Forget(t.Context(), session, e.Call, fmt.Sprint(g, "-", i-1))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if s, err := j.Status(t.Context()); err != nil || s.Entries != 0 {
		t.Errorf("left: %+v, %v", s, err)
	}
}

// TestInABubble: the simulation of the loop runs with the real server in fake
// time. The server's clock of accesses must be started outside.
func TestInABubble(t *testing.T) {
	ats.Register()
	defer ats.Unregister()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		b, err := bus.Open(t.Context(), bus.Options{StoreDir: dir, WatchInterval: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer shut(t, b)
		j, err := journal.Open(t.Context(), b.JetStream(), journal.Options{Sole: true})
		if err != nil {
			t.Fatal(err)
		}
		e := entry("s", "c")
		e.Revision = mustStart(t, j, e)
		time.Sleep(24 * time.Hour) // in a bubble: nothing expires
		f := finished(e, "[]")
		f.Revision = mustFinish(t, j, f)
		holds(t, j, "s", f)
		mustStart(t, j, entry("s", "d"))
		mustForget(t, j, "s", "c", "d")
		holds(t, j, "s")
		if err := b.Healthy(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took < 24*time.Hour || took > 25*time.Hour {
			t.Errorf("%s passed", took)
		}
	})
}

package journal_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/journal"
	"toolhand/internal/testkit"
)

func TestLifeOfAnEntry(t *testing.T) {
	j := openJournal(t, quick(t), journal.Options{})
	e := entry("sesn_1", "sevt_1")
	e.Thread = "sthr_1"
	holds(t, j, "sesn_1")
	e.Revision = mustStart(t, j, e)
	holds(t, j, "sesn_1", e)
	f := finished(e, result(10)+"\n\x00\xff")
	f.IsError = true
	f.Revision = mustFinish(t, j, f)
	if f.Revision <= e.Revision {
		t.Errorf("revision %d after %d", f.Revision, e.Revision)
	}
	holds(t, j, "sesn_1", f)
	q := f
	q.Quarantined = "refused"
	var err error
	if q.Revision, err = j.Finish(t.Context(), setAside(f, "refused")); err != nil {
		t.Fatal(err)
	}
	holds(t, j, "sesn_1", q)
	mustForget(t, j, "sesn_1", "sevt_1", "sevt_none")
	holds(t, j, "sesn_1")
	if s, err := j.Status(t.Context()); err != nil || s.Entries != 0 || s.Bytes != 0 {
		t.Errorf("something is left: %+v, %v", s, err)
	}
	// Without a start, as for a call that need not be started.
	f.Revision = 0
	f.Revision = mustFinish(t, j, f)
	holds(t, j, "sesn_1", f)
}

// TestStartIsForOneOwner: invariants 1 and 8.
func TestStartIsForOneOwner(t *testing.T) {
	j := openJournal(t, quick(t), journal.Options{})
	e := entry("s", "c")
	first := mustStart(t, j, e)
	if _, err := j.Start(t.Context(), by("OWNERB", e)); !isOwned(err) {
		t.Errorf("another owner: %v", err)
	}
	if again := mustStart(t, j, e); again != first {
		t.Errorf("the same owner got revision %d, then %d", first, again)
	}
	mustFinish(t, j, at(first, finished(e, "[]")))
	for _, owner := range []string{"OWNERA", "OWNERB"} {
		if _, err := j.Start(t.Context(), by(owner, e)); !isOwned(err) {
			t.Errorf("%s starts a finished call: %v", owner, err)
		}
	}
}

func TestTwoOwnersRace(t *testing.T) {
	b := quick(t)
	journals := []*journal.Journal{openJournal(t, b, journal.Options{}), openJournal(t, b, journal.Options{})}
	for round := range testkit.Sample(1000, 250) {
		var wg sync.WaitGroup
		won := make([]bool, 4)
		for i := range won {
			wg.Go(func() {
				_, err := journals[i%2].Start(t.Context(), by(string(rune('A'+i)), entry("s", call(round))))
				won[i] = err == nil
				if err != nil && !isOwned(err) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := len(slices.DeleteFunc(won, func(w bool) bool { return !w })); n != 1 {
			t.Fatalf("round %d: %d owners have started the call", round, n)
		}
	}
}

func TestFinishAtAFence(t *testing.T) {
	for _, c := range []struct {
		name  string
		do    func(t *testing.T, j *journal.Journal, started journal.Entry) error
		owned bool
		left  string // who owns what is left, and its content
	}{
		{"taken over by the recovered revision", func(t *testing.T, j *journal.Journal, e journal.Entry) error {
			_, err := j.Finish(t.Context(), by("B", finished(e, "b")))
			return err
		}, false, "B b"},
		{"stale: another has taken it over", func(t *testing.T, j *journal.Journal, e journal.Entry) error {
			mustFinish(t, j, by("B", finished(e, "b")))
			_, err := j.Finish(t.Context(), finished(e, "a"))
			return err
		}, true, "B b"},
		{"stale: the owner has finished it", func(t *testing.T, j *journal.Journal, e journal.Entry) error {
			mustFinish(t, j, finished(e, "a"))
			_, err := j.Finish(t.Context(), by("B", finished(e, "b")))
			return err
		}, true, "OWNERA a"},
		{"no fence, another's entry", func(t *testing.T, j *journal.Journal, e journal.Entry) error {
			_, err := j.Finish(t.Context(), at(0, by("B", finished(e, "b"))))
			return err
		}, true, "OWNERA "},
		{"no fence, our entry", func(t *testing.T, j *journal.Journal, e journal.Entry) error {
			_, err := j.Finish(t.Context(), at(0, finished(e, "a")))
			return err
		}, false, "OWNERA a"},
		{"the same again", func(t *testing.T, j *journal.Journal, e journal.Entry) error {
			first := mustFinish(t, j, finished(e, "a"))
			second, err := j.Finish(t.Context(), finished(e, "a"))
			if first != second {
				t.Errorf("revision %d, then %d", first, second)
			}
			return err
		}, false, "OWNERA a"},
		{"another result of the same owner", func(t *testing.T, j *journal.Journal, e journal.Entry) error {
			mustFinish(t, j, finished(e, "a"))
			_, err := j.Finish(t.Context(), finished(e, "short"))
			return err
		}, false, "OWNERA short"},
		{"forgotten meanwhile", func(t *testing.T, j *journal.Journal, e journal.Entry) error {
			mustForget(t, j, "s", "c")
			_, err := j.Finish(t.Context(), finished(e, "a"))
			return err
		}, false, "OWNERA a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := openJournal(t, quick(t), journal.Options{})
			e := entry("s", "c")
			e.Revision = mustStart(t, j, e)
			if err := c.do(t, j, e); isOwned(err) != c.owned || err != nil && !c.owned {
				t.Fatalf("got %v, owned expected: %t", err, c.owned)
			}
			left := recovered(t, j, "s")["c"]
			if got := left.Owner + " " + string(left.Content); got != c.left {
				t.Errorf("left is %q, want %q", got, c.left)
			}
		})
	}
}

// TestMarkersOfOthers: `nats kv del` leaves a marker, which is no entry and in
// nobody's way.
func TestMarkersOfOthers(t *testing.T) {
	b := quick(t)
	j := openJournal(t, b, journal.Options{})
	kv, err := b.JetStream().KeyValue(t.Context(), journal.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	e := entry("s", "c")
	e.Revision = mustStart(t, j, e)
	if err := kv.Delete(t.Context(), "s.c"); err != nil {
		t.Fatal(err)
	}
	holds(t, j, "s")
	f := finished(e, "a")
	f.Revision = mustFinish(t, j, f)
	holds(t, j, "s", f)
	if err := kv.Purge(t.Context(), "s.c"); err != nil {
		t.Fatal(err)
	}
	e.Revision = mustStart(t, j, by("B", e))
	holds(t, j, "s", by("B", e))
	if got, err := kv.Get(t.Context(), "s.c"); err != nil || !strings.HasPrefix(string(got.Value()), `{"v":1,`) {
		t.Errorf("other clients see %v, %v", got, err)
	}
}

func TestForgetLeavesOthers(t *testing.T) {
	for _, sole := range []bool{false, true} {
		b := quick(t)
		j := openJournal(t, b, journal.Options{Sole: sole})
		other := entry("s2", "c1")
		other.Revision = mustStart(t, j, other)
		start := func(i int) journal.Entry {
			e := entry("s", call(i))
			e.Revision = mustStart(t, j, e)
			return e
		}
		e1, e2, e3 := start(1), start(2), start(3)
		mustForget(t, j, "s", e1.Call, e2.Call, "sevt_none")
		holds(t, j, "s", e3)
		e4 := start(4)
		mustForget(t, j, "s", e3.Call, e4.Call, e4.Call)
		holds(t, j, "s")
		mustForget(t, j, "s")
		holds(t, j, "s2", other)

		// What another journal wrote since stays, whoever forgets.
		e5 := start(5)
		taken := by("B", finished(e5, "b"))
		taken.Revision = mustFinish(t, openJournal(t, b, journal.Options{}), taken)
		mustForget(t, j, "s", e5.Call)
		holds(t, openJournal(t, b, journal.Options{}), "s", taken)
	}
}

// TestForgetAfterARestart: the sole writer of a bucket does not know at once
// what stands there from before.
func TestForgetAfterARestart(t *testing.T) {
	b := quick(t)
	before := openJournal(t, b, journal.Options{Sole: true})
	old := entry("s", "old")
	old.Revision = mustStart(t, before, old)
	q := finished(entry("s", "refused"), "[]")
	var err error
	if q.Revision, err = before.Finish(t.Context(), setAside(q, "why")); err != nil {
		t.Fatal(err)
	}
	q.Quarantined = "why"

	j := openJournal(t, b, journal.Options{Sole: true})
	mustStart(t, j, by("B", entry("s", "a")))
	mustStart(t, j, by("B", entry("s", "b")))
	mustForget(t, j, "s", "a", "b") // not all of them, though all that j has seen
	holds(t, j, "s", old, q)
	mustStart(t, j, by("B", entry("s", "a")))
	mustForget(t, j, "s", "a", "old")
	holds(t, j, "s", q)
	if _, err := j.Start(t.Context(), by("B", entry("s", "refused"))); !isOwned(err) {
		t.Errorf("a call that is set aside is started: %v", err)
	}
	mustStart(t, j, by("B", entry("s", "a")))
	mustStart(t, j, by("B", entry("s", "b")))
	mustForget(t, j, "s", "a", "b")
	holds(t, j, "s", q)
	mustForget(t, j, "s", "refused")
	holds(t, j, "s")
}

// TestOddIDs: trap 29.
func TestOddIDs(t *testing.T) {
	j := openJournal(t, quick(t), journal.Options{})
	odd := []string{
		"", " ", ".", "..", "a.b", "*", ">", "a*", "$KV", "=probe", "a b", "a\nb", "a\x00b", "ä", "sevt_1.", strings.Repeat("x", 128),
		strings.Repeat("x", 129), strings.Repeat("x", 10000), "a/b", "A", "a", "=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU",
	}
	for _, session := range odd {
		for _, c := range odd[:8] {
			e := entry(session, c)
			mustFinish(t, j, at(mustStart(t, j, e), finished(e, session+c)))
		}
	}
	sessions, err := j.Sessions(t.Context())
	if want := slices.Sorted(slices.Values(odd)); err != nil || !slices.Equal(slices.Sorted(maps.Keys(sessions)), want) {
		t.Errorf("sessions %v, %v", sessions, err)
	}
	for session, n := range sessions {
		if n != 8 {
			t.Errorf("%d entries of session %q", n, session)
		}
	}
	for _, session := range odd {
		got := recovered(t, j, session)
		for _, c := range odd[:8] {
			if e := got[c]; e.Session != session || string(e.Content) != session+c {
				t.Errorf("session %.20q, call %.20q: %.100v", session, c, e)
			}
		}
		mustForget(t, j, session, odd[:8]...)
	}
	if s, err := j.Status(t.Context()); err != nil || s.Entries != 0 {
		t.Errorf("left: %+v, %v", s, err)
	}
	for _, e := range []journal.Entry{entry("a\xff", "c"), entry("s", "c\xff")} {
		if _, err := j.Start(t.Context(), e); err == nil {
			t.Error("an id that is not UTF-8 is taken")
		}
	}
}

func TestBigResults(t *testing.T) {
	b := quick(t)
	j := openJournal(t, b, journal.Options{})
	e := entry("s", "c")
	e.Revision = mustStart(t, j, e)
	var large *journal.TooLargeError
	_, err := j.Finish(t.Context(), finished(e, strings.Repeat("x", int(b.MaxPayload()))))
	if !errors.As(err, &large) || large.Size != int(b.MaxPayload()) || large.Limit < large.Size-2048 || large.Limit >= large.Size {
		t.Fatalf("got %v, %+v", err, large)
	}
	if !strings.Contains(err.Error(), "8388608 bytes") || isOwned(err) {
		t.Errorf("the error says %v", err)
	}
	holds(t, j, "s", e)
	if _, err := j.Finish(t.Context(), finished(e, strings.Repeat("x", large.Limit+1))); !errors.As(err, &large) {
		t.Errorf("a byte more than the limit: %v", err)
	}
	f := finished(e, strings.Repeat("x", large.Limit))
	f.Revision = mustFinish(t, j, f)
	holds(t, j, "s", f)
}

func TestFullBucketRefuses(t *testing.T) {
	j := openJournal(t, quick(t), journal.Options{MaxBytes: 1 << 20})
	e := entry("s", "c")
	e.Revision = mustStart(t, j, e)
	_, err := j.Finish(t.Context(), finished(e, strings.Repeat("x", 2<<20)))
	if err == nil || isOwned(err) {
		t.Fatalf("got %v", err)
	}
	if j.Check(t.Context()) != nil {
		t.Error("a write that fits is refused")
	}
	holds(t, j, "s", e)
}

func TestCheckTriesForItself(t *testing.T) {
	j := openJournal(t, quick(t), journal.Options{MaxBytes: 1 << 20})
	for i := 0; ; i++ {
		e := finished(entry("s", call(i)), strings.Repeat("x", 100<<10))
		if _, err := j.Finish(t.Context(), e); err != nil {
			break
		}
		if i > 20 {
			t.Fatal("never full")
		}
	}
	// A smaller one may fit yet, until none does.
	for i := 0; ; i++ {
		if _, err := j.Start(t.Context(), entry("s2", call(i))); err != nil {
			break
		}
	}
	if err := j.Check(t.Context()); err == nil {
		// The probe is smaller than any entry.
		t.Log("the probe still fits")
	}
	if _, err := j.Start(t.Context(), entry("s3", "c")); err == nil {
		t.Fatal("a full bucket takes a start")
	}
	s, err := j.Status(t.Context())
	if err != nil || s.FailingSince.IsZero() || s.Problem == "" || s.MaxBytes != 1<<20 {
		t.Errorf("status %+v, %v", s, err)
	}
	mustForget(t, j, "s", call(0))
	testkit.Eventually(t, "the journal is well", func() bool { return j.Check(t.Context()) == nil })
	mustStart(t, j, entry("s3", "c"))
}

// TestNothingIsStartedWhereNothingShould: finishing goes on.
func TestNothingIsStartedWhereNothingShould(t *testing.T) {
	full := errors.New("disk is nearly full")
	j := openJournal(t, quick(t), journal.Options{Writable: func() error { return full }})
	if _, err := j.Start(t.Context(), entry("s", "c")); !errors.Is(err, full) {
		t.Errorf("start: %v", err)
	}
	if err := j.Check(t.Context()); !errors.Is(err, full) {
		t.Errorf("check: %v", err)
	}
	f := finished(entry("s", "c"), "[]")
	f.Revision = mustFinish(t, j, f)
	holds(t, j, "s", f)
}

// TestEntriesOfOtherVersions: a newer one stops us, a broken one counts as
// started.
func TestEntriesOfOtherVersions(t *testing.T) {
	b := quick(t)
	j := openJournal(t, b, journal.Options{})
	kv, err := b.JetStream().KeyValue(t.Context(), journal.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	for i, value := range []string{"", "{}", "no JSON\n", `{"v":1,"call":7}` + "\n", `{"v":0}` + "\n"} {
		revision, err := kv.PutString(t.Context(), "s."+call(i), value)
		if err != nil {
			t.Fatal(err)
		}
		got := recovered(t, j, "s")[call(i)]
		if want := (journal.Entry{Session: "s", Call: call(i), Revision: revision}); !same(got, want) {
			t.Errorf("%q: %+v", value, got)
		}
		if _, err := j.Start(t.Context(), entry("s", call(i))); !isOwned(err) {
			t.Errorf("%q: started: %v", value, err)
		}
	}
	if _, err := kv.PutString(t.Context(), "s2.c", `{"v":2,"owner":["x"]}`+"\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Recover(t.Context(), "s2", nil); !errors.Is(err, journal.ErrNewer) {
		t.Errorf("a newer entry: %v", err)
	}
	if _, err := j.Start(t.Context(), entry("s2", "c")); !errors.Is(err, journal.ErrNewer) {
		t.Errorf("a start over a newer entry: %v", err)
	}
}

func TestOpenSetsTheBucketRight(t *testing.T) {
	b := quick(t)
	_, err := b.JetStream().CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: journal.Bucket, TTL: time.Hour, History: 5})
	if err != nil {
		t.Fatal(err)
	}
	openJournal(t, b, journal.Options{})
	s, err := b.JetStream().Stream(t.Context(), "KV_"+journal.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	if c := s.CachedInfo().Config; c.MaxAge != 0 || c.MaxMsgsPerSubject < 8 || c.Discard != jetstream.DiscardNew || c.MaxBytes <= 0 || c.PersistMode != jetstream.DefaultPersistMode {
		t.Errorf("config %+v", c)
	}
	_, err = b.JetStream().CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "memory", Storage: jetstream.MemoryStorage})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Open(t.Context(), b.JetStream(), journal.Options{Bucket: "memory"}); err == nil {
		t.Error("a bucket in memory is taken for a journal")
	}
}

// TestOperationsAreBounded: nobody answers.
func TestOperationsAreBounded(t *testing.T) {
	b := quick(t)
	j := openJournal(t, b, journal.Options{Timeout: 50 * time.Millisecond})
	known := entry("s", "known")
	known.Revision = mustStart(t, j, known)
	shut(t, b)
	ended, cancel := context.WithTimeoutCause(t.Context(), time.Nanosecond, errors.New("enough"))
	defer cancel()
	for name, op := range map[string]func(ctx context.Context) error{
		"start":    func(ctx context.Context) error { _, err := j.Start(ctx, entry("s", "c")); return err },
		"finish":   func(ctx context.Context) error { _, err := j.Finish(ctx, finished(known, "[]")); return err },
		"forget":   func(ctx context.Context) error { return j.Forget(ctx, "s", "known") },
		"recover":  func(ctx context.Context) error { _, err := j.Recover(ctx, "s", nil); return err },
		"sessions": func(ctx context.Context) error { _, err := j.Sessions(ctx); return err },
		"status":   func(ctx context.Context) error { _, err := j.Status(ctx); return err },
		"all": func(ctx context.Context) error {
			for _, err := range j.All(ctx) {
				return err
			}
			return nil
		},
	} {
		for _, ctx := range []context.Context{t.Context(), ended} {
			begin := time.Now()
			if err := op(ctx); err == nil || isOwned(err) {
				t.Errorf("%s without a server: %v", name, err)
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("%s took %s", name, took)
			}
		}
	}
	if s, _ := j.Status(t.Context()); s.Problem == "" {
		t.Error("status shows no problem")
	}
}

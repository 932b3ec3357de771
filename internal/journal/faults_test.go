package journal_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/bus"
	"toolhand/internal/journal"
	"toolhand/internal/testkit"
)

// fault is what becomes of a request.
type fault int

const (
	none      fault = iota
	lost            // it never arrives
	persisted       // it is done, and its answer is lost
)

func (f fault) String() string { return [...]string{"none", "lost", "persisted"}[f] }

var errReported = errors.New("no answer came")

// faulty is the real JetStream behind a connection that loses requests and
// answers.
type faulty struct {
	jetstream.JetStream
	mu   sync.Mutex
	next func(write bool) fault // guarded by mu; nil: none
}

func (f *faulty) fault(write bool) fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == nil {
		return none
	}
	return f.next(write)
}

// set makes the next writes fail so.
func (f *faulty) set(next func(write bool) fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = next
}

func (f *faulty) writes(kind fault) {
	f.set(func(write bool) fault {
		if write {
			return kind
		}
		return none
	})
}

func (f *faulty) well() { f.set(nil) }

func (f *faulty) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	kind := f.fault(true)
	if kind == lost {
		return nil, errReported
	}
	ack, err := f.JetStream.PublishMsg(ctx, m, opts...)
	if kind == persisted {
		return nil, errReported
	}
	return ack, err
}

func (f *faulty) CreateOrUpdateStream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := f.JetStream.CreateOrUpdateStream(ctx, cfg)
	return &faultyStream{s, f}, err
}

type faultyStream struct {
	jetstream.Stream
	f *faulty
}

func (s *faultyStream) Purge(ctx context.Context, opts ...jetstream.StreamPurgeOpt) error {
	kind := s.f.fault(true)
	if kind == lost {
		return errReported
	}
	err := s.Stream.Purge(ctx, opts...)
	if kind == persisted {
		return errReported
	}
	return err
}

func (s *faultyStream) GetLastMsgForSubject(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	if s.f.fault(false) != none {
		return nil, errReported
	}
	return s.Stream.GetLastMsgForSubject(ctx, subject)
}

func (s *faultyStream) Info(ctx context.Context, opts ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	if s.f.fault(false) != none {
		return nil, errReported
	}
	return s.Stream.Info(ctx, opts...)
}

func openFaulty(t *testing.T, b *bus.Bus, opts journal.Options) (*journal.Journal, *faulty) {
	t.Helper()
	f := &faulty{JetStream: b.JetStream()}
	j, err := journal.Open(t.Context(), f, opts)
	if err != nil {
		t.Fatal(err)
	}
	return j, f
}

// TestEveryWriteFailsTwice: each operation is lost, and is persisted but reported
// as lost. Then it is done again, or the worker is started anew; either way
// nothing runs twice and no result is lost.
func TestEveryWriteFailsTwice(t *testing.T) {
	t.Parallel()
	e := entry("s", "c")
	other := entry("s", "other")
	for _, op := range []struct {
		name string
		// before is done well, op fails.
		before func(t *testing.T, j *journal.Journal) uint64
		op     func(ctx context.Context, j *journal.Journal, revision uint64) (uint64, error)
		// lost and persisted are what stands in each case; nil is nothing.
		lost, persisted *journal.Entry
	}{
		{"start", func(*testing.T, *journal.Journal) uint64 { return 0 }, func(ctx context.Context, j *journal.Journal, _ uint64) (uint64, error) {
			return j.Start(ctx, e)
		}, nil, &e},
		{"finish", func(t *testing.T, j *journal.Journal) uint64 { return mustStart(t, j, e) }, func(ctx context.Context, j *journal.Journal, r uint64) (uint64, error) {
			return j.Finish(ctx, at(r, finished(e, "a")))
		}, &e, new(finished(e, "a"))},
		{"finish without a start", func(*testing.T, *journal.Journal) uint64 { return 0 }, func(ctx context.Context, j *journal.Journal, _ uint64) (uint64, error) {
			return j.Finish(ctx, finished(e, "a"))
		}, nil, new(finished(e, "a"))},
		{"finish over a start that seemed lost", func(*testing.T, *journal.Journal) uint64 { return 0 }, func(ctx context.Context, j *journal.Journal, _ uint64) (uint64, error) {
			if _, err := j.Start(ctx, e); err == nil {
				return 0, nil // done again: the start was found
			}
			return j.Finish(ctx, finished(e, "a"))
		}, nil, &e},
		{"finish with a replaced result", func(t *testing.T, j *journal.Journal) uint64 {
			return mustFinish(t, j, at(mustStart(t, j, e), finished(e, "long")))
		}, func(ctx context.Context, j *journal.Journal, r uint64) (uint64, error) {
			return j.Finish(ctx, at(r, finished(e, "a")))
		}, new(finished(e, "long")), new(finished(e, "a"))},
		{"takeover", func(t *testing.T, j *journal.Journal) uint64 {
			return mustStart(t, j, by("DEAD", e))
		}, func(ctx context.Context, j *journal.Journal, r uint64) (uint64, error) {
			return j.Finish(ctx, at(r, finished(e, "a")))
		}, new(by("DEAD", e)), new(finished(e, "a"))},
		{"quarantine", func(t *testing.T, j *journal.Journal) uint64 { return mustFinish(t, j, finished(e, "a")) }, func(ctx context.Context, j *journal.Journal, r uint64) (uint64, error) {
			return j.Finish(ctx, setAside(at(r, finished(e, "a")), "why"))
		}, new(finished(e, "a")), new(func() journal.Entry { q := finished(e, "a"); q.Quarantined = "why"; return q }())},
		{"forget", func(t *testing.T, j *journal.Journal) uint64 { return mustStart(t, j, e) }, func(ctx context.Context, j *journal.Journal, _ uint64) (uint64, error) {
			return 0, j.Forget(ctx, "s", "c")
		}, &e, nil},
		{"forget of a turn", func(t *testing.T, j *journal.Journal) uint64 {
			mustStart(t, j, other)
			return mustStart(t, j, e)
		}, func(ctx context.Context, j *journal.Journal, _ uint64) (uint64, error) {
			return 0, j.Forget(ctx, "s", "c", "other")
		}, &e, nil},
	} {
		for _, kind := range []fault{lost, persisted} {
			for _, sole := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/sole=%t", op.name, kind, sole), func(t *testing.T) {
					t.Parallel()
					b := quick(t)
					j, f := openFaulty(t, b, journal.Options{Sole: sole})
					revision := op.before(t, j)
					f.writes(kind)
					if _, err := op.op(t.Context(), j, revision); !errors.Is(err, errReported) {
						t.Fatalf("the failure is reported as %v", err)
					}
					f.well()
					stands := op.lost
					if kind == persisted {
						stands = op.persisted
					}
					checkStands(t, openJournal(t, b, journal.Options{}), stands)

					// Done again, it is done.
					again, err := op.op(t.Context(), j, revision)
					if err != nil {
						t.Fatalf("done again: %v", err)
					}
					want := op.persisted
					if op.name == "finish over a start that seemed lost" && kind == lost {
						want = &e
					}
					checkStands(t, openJournal(t, b, journal.Options{}), want)
					if want == nil {
						return
					}
					if got := recovered(t, j, "s")["c"]; again != 0 && got.Revision != again {
						t.Errorf("it returned revision %d, and %d stands", again, got.Revision)
					}
					if _, err := j.Start(t.Context(), by("B", e)); !isOwned(err) {
						t.Errorf("another starts the call: %v", err)
					}
					mustForget(t, j, "s", "c", "other")
					checkStands(t, j, nil)
				})
			}
		}
	}
}

// checkStands looks at what a worker that is started anew would find.
func checkStands(t *testing.T, j *journal.Journal, want *journal.Entry) {
	t.Helper()
	got, ok := recovered(t, j, "s")["c"]
	if ok != (want != nil) {
		t.Fatalf("an entry stands: %t; want %+v", ok, want)
	}
	if ok && !same(at(0, got), at(0, withheld(*want))) {
		t.Errorf("stands: %+v\nwant %+v", got, *want)
	}
}

// TestForgetAfterALostFinish: the result went out although its Finish seemed
// lost, and was accepted.
func TestForgetAfterALostFinish(t *testing.T) {
	for _, sole := range []bool{false, true} {
		j, f := openFaulty(t, quick(t), journal.Options{Sole: sole})
		e := entry("s", "c")
		e.Revision = mustStart(t, j, e)
		mustStart(t, j, entry("s", "d"))
		f.writes(persisted)
		if _, err := j.Finish(t.Context(), finished(e, "a")); err == nil {
			t.Fatal("no error")
		}
		f.well()
		mustForget(t, j, "s", "c", "d")
		holds(t, j, "s")
	}
}

// TestFailedReadsDecideNothing: a conflict whose reason can't be read is no
// ErrOwned, and a failed Recover is an error.
func TestFailedReadsDecideNothing(t *testing.T) {
	j, f := openFaulty(t, quick(t), journal.Options{})
	e := entry("s", "c")
	e.Revision = mustStart(t, j, e)
	f.set(func(write bool) fault {
		if write {
			return none
		}
		return lost
	})
	if _, err := j.Start(t.Context(), by("B", e)); !errors.Is(err, errReported) || isOwned(err) {
		t.Errorf("start: %v", err)
	}
	if _, err := j.Recover(t.Context(), "s", nil); !errors.Is(err, errReported) {
		t.Errorf("recover: %v", err)
	}
	if _, err := j.Sessions(t.Context()); !errors.Is(err, errReported) {
		t.Errorf("sessions: %v", err)
	}
	f.well()
	holds(t, j, "s", e)
}

// TestRecoverGetsFurtherAtEachAttempt: what an attempt has read before it failed
// is not read again by the next.
func TestRecoverGetsFurtherAtEachAttempt(t *testing.T) {
	const entries, well = 40, 12
	j, f := openFaulty(t, quick(t), journal.Options{})
	for i := range entries {
		mustStart(t, j, entry("s", call(i)))
	}
	var have []journal.Entry
	for attempt := 1; ; attempt++ {
		var reads atomic.Int64
		f.set(func(bool) fault {
			if reads.Add(1) <= well {
				return none
			}
			return lost
		})
		before := len(have)
		var err error
		if have, err = j.Recover(t.Context(), "s", have); err == nil {
			break
		}
		if len(have) < before+well/2 {
			t.Fatalf("attempt %d went from %d entries to %d: %v", attempt, before, len(have), err)
		}
	}
	byCall := map[string]bool{}
	for _, e := range have {
		byCall[e.Call] = true
	}
	if len(have) != entries || len(byCall) != entries {
		t.Errorf("%d entries of %d calls, want %d", len(have), len(byCall), entries)
	}
	if !slices.IsSortedFunc(have, func(a, b journal.Entry) int { return cmp.Compare(a.Revision, b.Revision) }) {
		t.Error("not in the order of their revisions")
	}
}

// TestRandomFaults lets two owners work on the same calls over connections that
// lose half of all, and start anew now and then.
func TestRandomFaults(t *testing.T) {
	t.Parallel()
	b := quick(t)
	for seed := range uint64(testkit.Sample(150, 40)) {
		r := rand.New(rand.NewPCG(seed, 1))
		session := fmt.Sprint("s", seed)
		owners := [2]string{"A", "B"}
		var js [2]*journal.Journal
		var fs [2]*faulty
		reopen := func(i int) {
			js[i], fs[i] = openFaulty(t, b, journal.Options{})
			fs[i].set(func(bool) fault { return fault(max(0, r.IntN(6)-3)) })
		}
		reopen(0)
		reopen(1)
		runs := map[string]int{}      // by call: how often somebody may run it
		starts := map[string]uint64{} // by owner and call
		results := map[string]string{}
		for step := range 40 {
			i := r.IntN(2)
			e := by(owners[i], entry(session, call(r.IntN(3))))
			id := e.Owner + e.Call
			switch r.IntN(8) {
			case 0: // killed: a new process is another owner
				owners[i] = fmt.Sprint(owners[i][:1], step)
				reopen(i)
			case 1, 2, 3:
				if revision, err := js[i].Start(t.Context(), e); err == nil && starts[id] == 0 {
					starts[id] = revision
					runs[e.Call]++
				}
			default:
				if starts[id] == 0 {
					continue
				}
				e = at(starts[id], finished(e, fmt.Sprint(id, step)))
				if _, err := js[i].Finish(t.Context(), e); err == nil {
					results[e.Call] = string(e.Content)
				} else if isOwned(err) {
					t.Fatalf("seed %d: the only owner of %s is refused", seed, e.Call)
				} else if results[e.Call] != "" {
					results[e.Call] = "?" // the new one or the old one
				}
			}
		}
		left := recovered(t, openJournal(t, b, journal.Options{}), session)
		for c, n := range runs {
			got, ok := left[c]
			if n > 1 || !ok {
				t.Fatalf("seed %d: %s may run %d times, entry %t", seed, c, n, ok)
			}
			if want := results[c]; want != "" && want != "?" && string(got.Content) != want {
				t.Fatalf("seed %d: %s has result %q, acknowledged was %q", seed, c, got.Content, want)
			}
		}
	}
}

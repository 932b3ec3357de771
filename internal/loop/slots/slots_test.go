package slots

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// held acquires a slot beside the test, and gives it out once it is there.
func held(t *testing.T, s *Slots, session, tool string, limit int) <-chan *Slot {
	t.Helper()
	got := make(chan *Slot, 1)
	go func() {
		if slot, err := s.Acquire(t.Context(), session, tool, Limit{Concurrency: limit}); err == nil {
			got <- slot
		}
	}()
	synctest.Wait()
	return got
}

func granted(c <-chan *Slot) bool { return len(c) == 1 }

// One session with a thousand calls does not starve another: they take turns.
func TestSessionsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(1)
		first := <-held(t, s, "greedy", "a", 0)
		var greedy []<-chan *Slot
		for range 1000 {
			greedy = append(greedy, held(t, s, "greedy", "a", 0))
		}
		modest := []<-chan *Slot{held(t, s, "modest", "a", 0), held(t, s, "modest", "a", 0)}
		first.Release()
		order := ""
		for range 6 {
			synctest.Wait()
			switch {
			case len(greedy) > 0 && granted(greedy[0]):
				order += "g"
				(<-greedy[0]).Release()
				greedy = greedy[1:]
			case len(modest) > 0 && granted(modest[0]):
				order += "m"
				(<-modest[0]).Release()
				modest = modest[1:]
			default:
				t.Fatal("nobody was granted the slot, or not the first of a session")
			}
		}
		if order != "gmgmgg" {
			t.Errorf("turns %s", order)
		}
	})
}

// A call that waits for its tool holds no slot of the process, and keeps neither
// its session's other tools nor other sessions from running.
func TestWaitingForAToolHoldsNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(2)
		one := <-held(t, s, "x", "limited", 1)
		waits := held(t, s, "x", "limited", 1)
		if granted(waits) || s.Held() != 1 {
			t.Fatalf("granted %t, held %d", granted(waits), s.Held())
		}
		other := held(t, s, "x", "free", 0)
		if !granted(other) {
			t.Fatal("another tool of the session waits for the limited one")
		}
		(<-other).Release()
		one.Release()
		synctest.Wait()
		if !granted(waits) {
			t.Error("the tool's slot was not handed on")
		}
		(<-waits).Release()
	})
}

// What was answered for gives back its slot of the process at once, and that of
// its tool when the tool has ended.
func TestReleaseShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(1)
		stuck := <-held(t, s, "x", "deaf", 1)
		same, other := held(t, s, "x", "deaf", 1), held(t, s, "x", "a", 0)
		stuck.ReleaseShared()
		stuck.ReleaseShared() // twice is once
		synctest.Wait()
		if granted(same) || !granted(other) {
			t.Fatalf("same tool %t, another %t", granted(same), granted(other))
		}
		(<-other).Release()
		stuck.Release()
		stuck.Release()
		synctest.Wait()
		if !granted(same) || s.Held() != 1 {
			t.Fatalf("same tool %t, held %d", granted(same), s.Held())
		}
		(<-same).Release()
		if s.Held() != 0 || len(s.running) != 0 {
			t.Errorf("held %d, running %v", s.Held(), s.running)
		}
	})
}

func TestResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(0)
		var got []<-chan *Slot
		for range 5 {
			got = append(got, held(t, s, "x", "a", 1))
		}
		count := func() (n int) {
			for _, c := range got {
				if granted(c) {
					n++
				}
			}
			return n
		}
		for _, step := range []struct{ limit, want int }{{1, 1}, {3, 3}, {2, 3}, {4, 4}, {0, 5}} {
			s.Limit("a", Limit{Concurrency: step.limit})
			synctest.Wait()
			if count() != step.want {
				t.Errorf("limit %d: %d run, want %d", step.limit, count(), step.want)
			}
		}
		for _, c := range got {
			(<-c).Release()
		}
	})
}

func TestCancelLeavesTheRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(1)
		first := <-held(t, s, "x", "a", 0)
		why := errors.New("interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		errs := make(chan error, 100)
		for i := range 100 {
			go func() {
				_, err := s.Acquire(ctx, fmt.Sprint(i%3), "a", Limit{})
				errs <- err
			}()
		}
		synctest.Wait()
		next := held(t, s, "y", "a", 0)
		cancel(why)
		for range 100 {
			if err := <-errs; !errors.Is(err, why) {
				t.Fatalf("error %v", err)
			}
		}
		first.Release()
		synctest.Wait()
		if !granted(next) {
			t.Fatal("the one that still waits was not granted")
		}
		(<-next).Release()
		if s.Held() != 0 || len(s.sessions) != 0 || len(s.byID) != 0 {
			t.Errorf("held %d, sessions %d, %d", s.Held(), len(s.sessions), len(s.byID))
		}
	})
}

// Random sessions, tools, cancellations and resizes: never more than the limits
// allow, everybody is served in the end, and nothing is left.
func FuzzSlots(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, uint8(seed%5), uint8(seed%4))
	}
	f.Fuzz(func(t *testing.T, seed uint64, total, limit uint8) {
		synctest.Test(t, func(t *testing.T) { storm(t, seed, int(total%8), int(limit%5)) })
	})
}

func storm(t *testing.T, seed uint64, total, limit int) {
	s := New(total)
	var mu sync.Mutex
	used, byTool := 0, map[string]int{}
	var wg sync.WaitGroup
	rnd := rand.New(rand.NewPCG(seed, 1))
	for range 200 {
		session, tool := fmt.Sprint(rnd.IntN(5)), fmt.Sprint(rnd.IntN(3))
		arrive, hold, patience := rnd.IntN(1000), rnd.IntN(100), rnd.IntN(20_000)
		wg.Go(func() {
			time.Sleep(time.Duration(arrive) * time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(patience)*time.Millisecond)
			defer cancel()
			slot, err := s.Acquire(ctx, session, tool, Limit{Concurrency: limit})
			if err != nil {
				return
			}
			mu.Lock()
			used++
			byTool[tool]++
			if total > 0 && used > total || limit > 0 && byTool[tool] > limit {
				t.Errorf("%d run, %d of one tool; the limits are %d and %d", used, byTool[tool], total, limit)
			}
			mu.Unlock()
			time.Sleep(time.Duration(hold) * time.Millisecond)
			mu.Lock()
			used--
			byTool[tool]--
			mu.Unlock()
			slot.Release()
		})
	}
	wg.Wait()
	if s.Held() != 0 || len(s.running) != 0 || len(s.sessions) != 0 || len(s.byID) != 0 {
		t.Errorf("left: held %d, running %v, sessions %d, %d", s.Held(), s.running, len(s.sessions), len(s.byID))
	}
}

// The same without fake time, for the race detector.
func TestManyAtOnce(t *testing.T) {
	s := New(4)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			for range 50 {
				slot, err := s.Acquire(t.Context(), fmt.Sprint(i), "a", Limit{Concurrency: 3})
				if err != nil {
					t.Error(err)
					return
				}
				slot.ReleaseShared()
				slot.Release()
			}
		})
	}
	wg.Wait()
	if s.Held() != 0 {
		t.Errorf("%d slots are held", s.Held())
	}
}

// A rate lets no more calls begin in any span than it says, all of those that may
// at once, and in order; waiting for it holds no slot of the process.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(1)
		limit := Limit{Calls: 3, Per: time.Second}
		begin := time.Now()
		var at []time.Duration
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 10 {
			wg.Go(func() {
				slot, err := s.Acquire(t.Context(), "x", "a", limit)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				at = append(at, time.Since(begin))
				mu.Unlock()
				slot.Release()
			})
		}
		synctest.Wait()
		other, err := s.Acquire(t.Context(), "x", "b", Limit{})
		if err != nil || len(at) != 3 {
			t.Fatalf("another tool: %v; %d began", err, len(at))
		}
		other.Release()
		wg.Wait()
		if got := fmt.Sprint(at); got != "[0s 0s 0s 1s 1s 1s 2s 2s 2s 3s]" {
			t.Errorf("began at %s", got)
		}
	})
}

// Whoever leaves while a rate holds him up is not waited for, and a new bound
// counts what began under the old one.
func TestRateResized(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(0)
		for range 2 {
			(<-waitsWith(t, s, Limit{Calls: 2, Per: time.Minute})).Release()
		}
		ctx, cancel := context.WithCancel(t.Context())
		s.Queue("x", "a", Limit{Calls: 2, Per: time.Minute}).Leave()
		cancel()
		if _, err := s.Acquire(ctx, "x", "a", Limit{Calls: 2, Per: time.Minute}); err == nil {
			t.Fatal("the rate let a third one through")
		}
		waits := waitsWith(t, s, Limit{Calls: 1, Per: time.Minute})
		if granted(waits) {
			t.Fatal("a stricter bound forgot what began")
		}
		s.Limit("a", Limit{Calls: 3, Per: time.Minute})
		synctest.Wait()
		if !granted(waits) {
			t.Fatal("a wider bound does not let one more through")
		}
		(<-waits).Release()
		last := waitsWith(t, s, Limit{Calls: 3, Per: time.Minute})
		s.Limit("a", Limit{})
		synctest.Wait()
		if !granted(last) {
			t.Error("without a bound it still waits")
		}
		(<-last).Release()
	})
}

func waitsWith(t *testing.T, s *Slots, limit Limit) <-chan *Slot {
	t.Helper()
	got := make(chan *Slot, 1)
	go func() {
		if slot, err := s.Acquire(t.Context(), "x", "a", limit); err == nil {
			got <- slot
		}
	}()
	synctest.Wait()
	return got
}

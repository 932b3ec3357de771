package upstream

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// wait waits beside the test and notes when it was let through.
func wait(t *testing.T, b *Budget, urgent bool, name string, done chan<- string) {
	t.Helper()
	go func() {
		if b.Wait(t.Context(), urgent) == nil {
			done <- name
		}
	}()
	synctest.Wait()
}

// 600 a minute are 10 a second with a burst of 60.
func TestBudgetIsARateWithABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(600)
		begun := time.Now()
		for range 60 {
			if err := b.Wait(t.Context(), false); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begun); d != 0 {
			t.Errorf("the burst took %s", d)
		}
		for range 600 {
			if err := b.Wait(t.Context(), false); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begun).Round(10 * time.Millisecond); d != time.Minute {
			t.Errorf("600 requests took %s", d)
		}
	})
}

func TestNoBudgetIsNoLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, b := range []*Budget{{}, NewBudget(0), NewBudget(-1)} {
			for range 10_000 {
				b.Take()
				if err := b.Wait(t.Context(), false); err != nil {
					t.Fatal(err)
				}
			}
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := NewBudget(0).Wait(gone, true); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

func TestUrgentGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(60) // one a second, a burst of six
		for range 6 {
			b.Take()
		}
		done := make(chan string, 4)
		wait(t, b, false, "later 1", done)
		wait(t, b, false, "later 2", done)
		wait(t, b, true, "urgent 1", done)
		wait(t, b, true, "urgent 2", done)
		for _, want := range []string{"urgent 1", "urgent 2", "later 1", "later 2"} {
			time.Sleep(time.Second + time.Millisecond)
			synctest.Wait()
			select {
			case got := <-done:
				if got != want {
					t.Errorf("%s was let through, want %s", got, want)
				}
			default:
				t.Errorf("nobody was let through, want %s", want)
			}
		}
	})
}

// A send never waits; it leaves a debt that the others wait for.
func TestSendsLeaveADebt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(60)
		begun := time.Now()
		for range 16 {
			b.Take()
		}
		if time.Since(begun) != 0 {
			t.Error("a send waited")
		}
		if err := b.Wait(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begun).Round(time.Millisecond); d != 11*time.Second {
			t.Errorf("a read waited for %s, want the debt of ten and itself", d)
		}
	})
}

// Who leaves is not counted, and holds nobody up.
func TestLeavingTheBudgetCountsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(60)
		for range 6 {
			b.Take()
		}
		begun := time.Now()
		why := errors.New("drained")
		ctx, cancel := context.WithCancelCause(t.Context())
		errs := make(chan error, 50)
		for range 50 {
			go func() { errs <- b.Wait(ctx, true) }()
		}
		synctest.Wait()
		done := make(chan string, 1)
		wait(t, b, false, "the one that stays", done)
		cancel(why)
		for range 50 {
			if err := <-errs; !errors.Is(err, why) {
				t.Fatalf("error %v", err)
			}
		}
		<-done
		if d := time.Since(begun).Round(time.Millisecond); d != time.Second {
			t.Errorf("it waited for %s", d)
		}
	})
}

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
		if b.Wait(t.Context(), 1, urgent) == nil {
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
			if err := b.Wait(t.Context(), 1, false); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begun); d != 0 {
			t.Errorf("the burst took %s", d)
		}
		for range 600 {
			if err := b.Wait(t.Context(), 1, false); err != nil {
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
				if err := b.Wait(t.Context(), 1, false); err != nil {
					t.Fatal(err)
				}
			}
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := NewBudget(0).Wait(gone, 1, true); !errors.Is(err, context.Canceled) {
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
		for range 10 {
			b.Take()
		}
		if time.Since(begun) != 0 {
			t.Error("a send waited")
		}
		if err := b.Wait(t.Context(), 1, true); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begun).Round(time.Millisecond); d != 5*time.Second {
			t.Errorf("a read waited for %s, want the debt of four and itself", d)
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
			go func() { errs <- b.Wait(ctx, 1, true) }()
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

// The debt is at most one burst, however many sends there were: what failed in an
// outage is not paid for after it.
func TestDebtIsAtMostOneBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(600)
		for range 100_000 {
			b.Take()
		}
		begun := time.Now()
		if err := b.Wait(t.Context(), 1, true); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begun).Round(time.Millisecond); d != 6100*time.Millisecond {
			t.Errorf("a read waited for %s, want one burst and itself", d)
		}
	})
}

// Sends that take all there is keep no read from its turn.
func TestSendsStarveNoRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(60)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for ctx.Err() == nil {
				b.Take()
				time.Sleep(100 * time.Millisecond)
			}
		}()
		time.Sleep(time.Minute)
		for range 10 {
			begun := time.Now()
			if err := b.Wait(t.Context(), 2, false); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(begun); d > 8*time.Second+time.Millisecond {
				t.Errorf("a read waited for %s", d)
			}
		}
		cancel()
		time.Sleep(time.Second)
	})
}

// What is urgent starves nothing: the others have every fourth turn.
func TestUrgentStarvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(60)
		for range 6 {
			b.Take()
		}
		done := make(chan string, 100)
		for range 3 {
			wait(t, b, false, "quiet", done)
		}
		for range 20 {
			wait(t, b, true, "urgent", done)
		}
		time.Sleep(12*time.Second + time.Millisecond)
		synctest.Wait()
		got := ""
		for range len(done) {
			got += (<-done)[:1]
		}
		if got != "uuuquuuquuuq" {
			t.Errorf("turns %s", got)
		}
		time.Sleep(time.Minute)
	})
}

// What is not written does not count: neither sends to a connection that is refused
// nor reads at a closed gate.
func TestOnlyWhatIsWrittenCounts(t *testing.T) {
	s := newServer(t, answerJSON(`{"data":[]}`))
	c := s.client(t, func(o *Options) { o.RequestsPerMinute = 6 }) // too slow to hide anything
	c.budget.balance = 1
	for range 3 {
		if err := c.Send(t.Context(), "sesn_1", nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.budget.balance; got > -1.8 {
		t.Errorf("the balance is %f after three sends", got)
	}
	s.Close()
	c = s.client(t, func(o *Options) { o.RequestsPerMinute = 6 })
	c.budget.balance = 1
	for range 10 {
		if err := c.Send(t.Context(), "sesn_1", nil); KindOf(err) != KindRetry {
			t.Fatal(err)
		}
	}
	if got := c.budget.balance; got < 1 {
		t.Errorf("the balance is %f after sends that were not written", got)
	}
}

// What was counted for requests that were not made is given back, up to the burst.
func TestGivenBackIsThereAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(600)
		for range 60 {
			if err := b.Wait(t.Context(), 1, false); err != nil {
				t.Fatal(err)
			}
		}
		b.giveBack(10)
		begun := time.Now()
		for range 11 {
			if err := b.Wait(t.Context(), 1, false); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begun).Round(time.Millisecond); d != 100*time.Millisecond {
			t.Errorf("ten given back and one more took %s", d)
		}
		b.giveBack(1000)
		if b.balance != b.burst {
			t.Errorf("the balance is %g, above the burst of %g", b.balance, b.burst)
		}
	})
}

// The turn that somebody had who left is nobody's: who comes later waits for as long
// as the balance says then.
func TestTurnOfOneWhoLeftIsNobodys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(600)
		for range 60 {
			b.Take()
		}
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() { left <- b.Wait(ctx, 1, false) }()
		synctest.Wait()
		cancel()
		if <-left == nil {
			t.Fatal("it was let through")
		}
		for range 60 {
			b.Take()
		}
		time.Sleep(200 * time.Millisecond) // the turn that it had is past
		begun := time.Now()
		if err := b.Wait(t.Context(), 1, false); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begun); d < 5*time.Second {
			t.Errorf("let through after %s, with a debt of six seconds", d)
		}
	})
}

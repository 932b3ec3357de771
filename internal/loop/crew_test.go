package loop

import (
	"sync"
	"sync/atomic"
	"testing"

	"toolhand/internal/testkit"
)

// TestCrewRunsAll: each function runs once, whatever waits, and none waits for
// another, even far over the bound of those that are kept.
func TestCrewRunsAll(t *testing.T) {
	c := NewCrew()
	defer c.Close()
	var ran atomic.Int32
	for range 3 {
		var together sync.WaitGroup
		gate := make(chan struct{})
		for range 4 * idleMembers {
			together.Add(1)
			c.Go(func() {
				ran.Add(1)
				together.Done()
				<-gate
			})
		}
		together.Wait() // all are running at one time
		close(gate)
	}
	if n := ran.Load(); n != 12*idleMembers {
		t.Errorf("%d functions ran, want %d", n, 12*idleMembers)
	}
	testkit.Eventually(t, "as many wait for work as may", func() bool { return c.idle.Load() == idleMembers })
}

// TestCrewUsesAgain: work that comes one after another runs on one goroutine.
func TestCrewUsesAgain(t *testing.T) {
	c := NewCrew()
	defer c.Close()
	for range 100 {
		done := make(chan struct{})
		c.Go(func() { close(done) })
		<-done
		testkit.Eventually(t, "it waits for work", func() bool { return c.idle.Load() > 0 })
	}
	if n := c.idle.Load(); n > 3 {
		t.Errorf("%d goroutines were made for work that never overlapped", n)
	}
}

// TestCrewAfterClose: what is handed in late runs all the same, and the waiting
// are gone (the package's tests end with a look for goroutines left behind).
func TestCrewAfterClose(t *testing.T) {
	c := NewCrew()
	first := make(chan struct{})
	c.Go(func() { close(first) })
	<-first
	c.Close()
	late := make(chan struct{})
	c.Go(func() { close(late) })
	<-late
}

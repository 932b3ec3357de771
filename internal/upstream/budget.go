package upstream

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"
)

// Budget is the number of requests that all sessions together may make. What is
// urgent (a session with an open call) goes before what is not, which gets every
// fourth turn all the same; a send is counted and never waits. The zero value has
// no limit.
//
// It is safe for use by many goroutines.
type Budget struct {
	rate  float64 // requests a second; 0: no limit; immutable
	burst float64 // the highest balance; its negative is the lowest; immutable

	mu      sync.Mutex
	balance float64      // guarded by mu; at the time at
	at      time.Time    // guarded by mu
	head    time.Time    // guarded by mu; when the next turn is, whatever is counted meanwhile; zero: not set
	waiting [2][]*waiter // guarded by mu; urgent ones first
	passed  int          // guarded by mu; urgent turns since the others had one, while they wait
	timer   *time.Timer  // guarded by mu; set while somebody waits
}

type waiter struct {
	n       float64 // how many requests it waits for
	granted chan struct{}
}

// minBurst is the least burst: a session's attach takes two requests at once.
const minBurst = 2

// quietTurn is which turn goes to what is not urgent.
const quietTurn = 4

// NewBudget allows perMinute requests a minute with a burst of a tenth of it, at
// least 2. Zero or less means no limit.
func NewBudget(perMinute int) *Budget {
	if perMinute <= 0 {
		return &Budget{}
	}
	burst := float64(max(minBurst, perMinute/10))
	return &Budget{rate: float64(perMinute) / 60, burst: burst, balance: burst, at: time.Now()}
}

// Take counts one request that does not wait. It may leave the budget in debt, but
// never by more than one burst: what failed in an outage is not paid for after it.
func (b *Budget) Take() {
	if b.rate == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill()
	b.balance = max(b.balance-1, -b.burst)
}

// giveBack takes back that requests were counted which were not made.
func (b *Budget) giveBack(n int) {
	if b.rate == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill()
	b.balance = min(b.balance+float64(n), b.burst)
}

// refill brings the balance up to now. The caller holds mu.
func (b *Budget) refill() {
	now := time.Now()
	if d := now.Sub(b.at); d > 0 {
		b.balance = min(b.balance+d.Seconds()*b.rate, b.burst)
	}
	b.at = now
}

// Wait waits for its turn to make n requests, at most 2, and counts them. It
// returns ctx's cause when ctx ends first; nothing is counted then.
func (b *Budget) Wait(ctx context.Context, n int, urgent bool) error {
	if b.rate == 0 {
		return context.Cause(ctx)
	}
	class := 1
	if urgent {
		class = 0
	}
	w := &waiter{n: float64(n), granted: make(chan struct{})}
	b.mu.Lock()
	b.waiting[class] = append(b.waiting[class], w)
	b.grant()
	b.mu.Unlock()
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.waiting[class], w)
	if i < 0 {
		return nil // its turn came at the same moment, and is counted
	}
	b.waiting[class] = slices.Delete(b.waiting[class], i, i+1)
	if len(b.waiting[0])+len(b.waiting[1]) == 0 {
		b.head = time.Time{}
	}
	return context.Cause(ctx)
}

// next is the class whose turn it is: urgent ones first, but every fourth turn is
// for the others. The caller holds mu, and somebody waits.
func (b *Budget) next() int {
	switch {
	case len(b.waiting[1]) == 0:
		b.passed = 0
		return 0
	case len(b.waiting[0]) == 0 || b.passed >= quietTurn-1:
		return 1
	}
	return 0
}

// grant lets through whoever has a turn now, and sets the timer for the next. The
// caller holds mu.
func (b *Budget) grant() {
	for len(b.waiting[0])+len(b.waiting[1]) > 0 {
		class := b.next()
		w := b.waiting[class][0]
		b.refill()
		if b.balance < w.n {
			// The turn is fixed when it becomes the next one: sends that are counted
			// meanwhile delay those behind it.
			if b.head.IsZero() {
				// Rounded up: a turn comes no nanosecond before it is due.
				b.head = b.at.Add(time.Duration(math.Ceil((w.n - b.balance) / b.rate * float64(time.Second))))
			}
			if d := b.head.Sub(b.at); d > 0 {
				b.again(d)
				return
			}
		}
		b.head = time.Time{}
		b.balance = max(b.balance-w.n, -b.burst)
		if class == 0 {
			b.passed++
		} else {
			b.passed = 0
		}
		close(w.granted)
		b.waiting[class] = b.waiting[class][1:]
	}
}

func (b *Budget) again(d time.Duration) {
	if b.timer != nil {
		b.timer.Reset(d)
		return
	}
	b.timer = time.AfterFunc(d, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.grant()
	})
}

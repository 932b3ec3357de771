package upstream

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Budget is the number of requests that all sessions together may make. What is
// urgent (a session with an open call) goes before what is not; a send is
// counted and never waits. The zero value has no limit.
//
// It is safe for use by many goroutines.
type Budget struct {
	limit *rate.Limiter // nil: no limit; safe by itself

	mu      sync.Mutex
	waiting [2][]*waiter // guarded by mu; urgent ones first
	timer   *time.Timer  // guarded by mu; set while somebody waits
}

type waiter struct{ granted chan struct{} }

// NewBudget allows perMinute requests a minute with a burst of a tenth of it.
// Zero or less means no limit.
func NewBudget(perMinute int) *Budget {
	if perMinute <= 0 {
		return &Budget{}
	}
	return &Budget{limit: rate.NewLimiter(rate.Limit(float64(perMinute)/60), max(1, perMinute/10))}
}

// Take counts one request that does not wait. It may leave the budget in debt.
func (b *Budget) Take() {
	if b.limit != nil {
		b.limit.ReserveN(time.Now(), 1)
	}
}

// Wait waits for its turn to make one request, and counts it. It returns ctx's
// cause when ctx ends first; nothing is counted then.
func (b *Budget) Wait(ctx context.Context, urgent bool) error {
	if b.limit == nil {
		return context.Cause(ctx)
	}
	class := 1
	if urgent {
		class = 0
	}
	w := &waiter{granted: make(chan struct{})}
	b.mu.Lock()
	b.waiting[class] = append(b.waiting[class], w)
	b.grant()
	b.mu.Unlock()
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
		b.leave(class, w)
		return context.Cause(ctx)
	}
}

// grant lets through whoever the budget allows now, and sets the timer for the
// next. The caller holds mu.
func (b *Budget) grant() {
	for class := range b.waiting {
		for len(b.waiting[class]) > 0 {
			r := b.limit.ReserveN(time.Now(), 1)
			if d := r.Delay(); d > 0 {
				r.Cancel()
				b.again(d)
				return
			}
			close(b.waiting[class][0].granted)
			b.waiting[class] = b.waiting[class][1:]
		}
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

func (b *Budget) leave(class int, w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, x := range b.waiting[class] {
		if x == w {
			b.waiting[class] = append(b.waiting[class][:i], b.waiting[class][i+1:]...)
			return
		}
	}
}

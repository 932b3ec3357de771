package telemetry

import (
	"sync"
	"time"
)

// maxThrottled bounds the keys that a Throttle remembers; beyond, those that
// have been still for longest are forgotten.
const maxThrottled = 4096

// Throttle lets the first line of a key through, and then one an interval. It
// may be used by many goroutines at once.
type Throttle struct {
	interval time.Duration

	mu   sync.Mutex
	keys map[string]*throttled // guarded by mu
}

type throttled struct {
	last time.Time // of the line that was let through
	left int       // lines left out since
}

// NewThrottle makes a Throttle of one line an interval for each key. An
// interval of zero lets everything through.
func NewThrottle(interval time.Duration) *Throttle {
	return &Throttle{interval: interval, keys: map[string]*throttled{}}
}

// Allow reports whether a line of key may be logged now, and how many were left
// out since the last one.
func (t *Throttle) Allow(key string) (left int, ok bool) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.keys[key]
	if k == nil {
		t.makeRoom()
		t.keys[key] = &throttled{last: now}
		return 0, true
	}
	if now.Sub(k.last) < t.interval {
		k.left++
		return 0, false
	}
	left, k.last, k.left = k.left, now, 0
	return left, true
}

// Forget makes the next line of key a first one: what went wrong is well again.
func (t *Throttle) Forget(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.keys, key)
}

// makeRoom forgets the oldest key where there are too many. Called with mu.
func (t *Throttle) makeRoom() {
	if len(t.keys) < maxThrottled {
		return
	}
	var oldest string
	var at time.Time
	for key, k := range t.keys {
		if at.IsZero() || k.last.Before(at) {
			oldest, at = key, k.last
		}
	}
	delete(t.keys, oldest)
}

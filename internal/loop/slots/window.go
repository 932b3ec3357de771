package slots

import "time"

// window bounds how many calls begin in any span of time of one length: it
// remembers when the last ones began. A nil window bounds nothing.
//
// A token bucket would let twice as many begin in a span, or space out calls
// that come together; a quota of the system behind a tool knows neither.
type window struct {
	per   time.Duration
	begun []time.Time // a ring; zero: not used yet
	at    int         // the oldest
}

// resized is the window with other bounds, and what it remembers.
func (w *window) resized(calls int, per time.Duration) *window {
	if w != nil && len(w.begun) == calls && w.per == per {
		return w
	}
	fresh := &window{per: per, begun: make([]time.Time, calls)}
	if w != nil {
		for i := range w.begun {
			if t := w.begun[(w.at+i)%len(w.begun)]; !t.IsZero() {
				fresh.begin(t)
			}
		}
	}
	return fresh
}

// next is the earliest time at which a call may begin.
func (w *window) next() time.Time {
	if w == nil || w.begun[w.at].IsZero() {
		return time.Time{}
	}
	return w.begun[w.at].Add(w.per)
}

// begin notes that a call begins.
func (w *window) begin(now time.Time) {
	if w == nil {
		return
	}
	w.begun[w.at] = now
	w.at = (w.at + 1) % len(w.begun)
}

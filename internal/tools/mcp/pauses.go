package mcp

import (
	"time"

	"github.com/cenkalti/backoff/v4"
)

// steady is how long a connection must have stood, if nothing was answered over
// it, for its end not to count as one failure more in a row.
const steady = 10 * time.Second

// pauses are those between the starts of a server that fails: 100 ms at first,
// each up to twice the one before, 15 s at most, without end.
type pauses struct {
	b        *backoff.ExponentialBackOff
	failures int // in a row
}

func (p *pauses) reset() {
	p.b = backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond),
		backoff.WithMultiplier(2),
		backoff.WithMaxInterval(10*time.Second),
		backoff.WithMaxElapsedTime(0),
	)
	p.failures = 0
}

func (p *pauses) next() time.Duration {
	p.failures++
	return p.b.NextBackOff()
}

// few reports whether the failures are so few that a moment may mend them: the
// server has ended, and is on its way back.
func (p *pauses) few() bool { return p.failures <= 3 }

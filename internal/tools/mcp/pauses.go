package mcp

import (
	"math/rand/v2"
	"time"
)

// steady is how long a connection must have stood, if nothing was answered over
// it, for its end not to count as one failure more in a row.
const steady = 10 * time.Second

// pauses are those between the starts of a server that fails: 100 ms at first,
// each up to twice the one before, 15 s at most, without end.
type pauses struct{ failures int } // in a row

func (p *pauses) next() time.Duration {
	wait := min(100*time.Millisecond<<min(p.failures, 10), 10*time.Second)
	p.failures++
	return wait/2 + rand.N(wait)
}

// few reports whether the failures are so few that a moment may mend them: the
// server has ended, and is on its way back.
func (p *pauses) few() bool { return p.failures <= 3 }

package serve

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// clockEvery is how often the server's clock is looked at.
const clockEvery = time.Minute

// serverClock is the clock by which the server says when a job came. How long one has
// waited is told by that clock alone: ours and the sender's may show what they like. Its
// zero value knows nothing.
type serverClock struct{ seen atomic.Pointer[clockReading] }

// clockReading is what the server's clock showed at a time of our monotonic one.
type clockReading struct{ server, here time.Time }

func (c *serverClock) learn(info *jetstream.ConsumerInfo) {
	if info != nil && !info.TimeStamp.IsZero() {
		c.seen.Store(&clockReading{info.TimeStamp, time.Now()})
	}
}

// since is how long ago something was by the server's clock; below zero: not known.
func (c *serverClock) since(at time.Time) time.Duration {
	r := c.seen.Load()
	if r == nil {
		return -1
	}
	return max(0, r.server.Add(time.Since(r.here)).Sub(at))
}

// lookAtClock looks at the server's clock now and then. Where that fails, what was
// seen last goes on.
func (p *puller) lookAtClock(ctx context.Context) {
	if time.Since(p.looked) < clockEvery || !p.s.cfg.Conn.IsConnected() {
		return
	}
	p.looked = time.Now()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if info, err := p.consumer.Info(ctx); err == nil {
		p.clock.learn(info)
	}
}

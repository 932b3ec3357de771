package loop

import (
	"sync"
	"sync/atomic"
)

// idleMembers is how many goroutines of a crew may wait for work.
const idleMembers = 64

// Crew runs functions beside its caller as a go statement does, on goroutines
// that are used again: a new one begins with a small stack, and checking an
// input or making a request lets it grow several times, which costs more than
// the goroutine itself. At most 64 wait for work; none is ever waited for. Its
// methods may be called by many goroutines. A nil Crew uses go statements.
type Crew struct {
	work   chan func()
	closed chan struct{}
	close  sync.Once
	idle   atomic.Int32
}

// NewCrew makes a crew, to be closed when it is not needed any more.
func NewCrew() *Crew {
	return &Crew{work: make(chan func()), closed: make(chan struct{})}
}

// Go runs f beside the caller. It never waits. A panic in f ends the process, as
// in every goroutine.
func (c *Crew) Go(f func()) {
	if c == nil {
		go f()
		return
	}
	select {
	case c.work <- f: // one is waiting
	default:
		go c.member(f)
	}
}

// Close lets those that wait end. What runs goes on, and Go may still be called.
func (c *Crew) Close() {
	if c != nil {
		c.close.Do(func() { close(c.closed) })
	}
}

func (c *Crew) member(f func()) {
	for {
		f()
		f = c.next()
		if f == nil {
			return
		}
	}
}

// next is the next work of a member, or nil where enough others wait for it.
func (c *Crew) next() func() {
	defer c.idle.Add(-1)
	if c.idle.Add(1) > idleMembers {
		return nil
	}
	select {
	case f := <-c.work:
		return f
	case <-c.closed:
		return nil
	}
}

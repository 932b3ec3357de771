// Package circuit remembers which tools can't be reached, so that a call of one
// that was away for long is answered at once instead of waiting in vain.
//
// A tool's circuit opens after [Failures] calls in a row that could not reach it.
// Attempts that are made again until the deadline anyway count only together with
// time: they open it when none has got through for [Patience], since a handler
// that is being restarted is away for a moment only. While it is open, one call
// is let through every [Cooldown] to see whether the tool is back; the first
// attempt of any call that reaches it closes the circuit.
package circuit

import (
	"fmt"
	"sync"
	"time"
)

const (
	// Failures is how many failures in a row open a circuit.
	Failures = 5
	// Patience is for how long nothing must have got through where attempts are
	// repeated until the deadline.
	Patience = 10 * time.Second
	// Cooldown is how often an open circuit lets one call through.
	Cooldown = 10 * time.Second
)

// Circuits are the circuits of all tools, by name. The zero value has none
// open; it is safe for use by many goroutines. A nil one never opens.
type Circuits struct {
	mu    sync.Mutex
	tools map[string]*state // guarded by mu; those whose last attempt failed
}

type state struct {
	since    time.Time // the first failure in the row
	failures int
	why      error
	open     bool
	next     time.Time // when the next call is let through
}

// OpenError says that a circuit is open.
type OpenError struct {
	// Since is the first failure in the row, Failures counts them, and Why is
	// the last one.
	Since    time.Time
	Failures int
	Why      error
	// Next is when a call is let through again.
	Next time.Time
}

func (e *OpenError) Error() string {
	return fmt.Sprintf("%d attempts in a row could not reach it since %s, the last one: %s; it is tried again in %s",
		e.Failures, e.Since.UTC().Format(time.RFC3339), e.Why, max(0, time.Until(e.Next)).Round(time.Second))
}

func (e *OpenError) Unwrap() error { return e.Why }

// Allow reports whether a call of the tool may try: nil, or an [OpenError]. A
// call that was let through reports how its attempts ended.
func (c *Circuits) Allow(tool string) error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.tools[tool]
	if s == nil || !s.open {
		return nil
	}
	if now := time.Now(); !now.Before(s.next) {
		s.next = now.Add(Cooldown)
		return nil
	}
	return &OpenError{s.since, s.failures, s.why, s.next}
}

// Failed notes an attempt that could not reach the tool. patient says that it is
// made again until the call's deadline. It reports whether this opened the
// circuit.
func (c *Circuits) Failed(tool string, why error, patient bool) (opened bool) {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	s := c.tools[tool]
	if s == nil {
		s = &state{since: now}
		if c.tools == nil {
			c.tools = map[string]*state{}
		}
		c.tools[tool] = s
	}
	s.failures++
	s.why = why
	if s.open || s.failures < Failures || patient && now.Sub(s.since) < Patience {
		return false
	}
	s.open, s.next = true, now.Add(Cooldown)
	return true
}

// Reached notes that the tool was reached, whatever it answered. It reports
// whether this closed the circuit.
func (c *Circuits) Reached(tool string) (closed bool) {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.tools[tool]
	delete(c.tools, tool)
	return s != nil && s.open
}

// Status is what the circuit of a tool says of itself.
type Status struct {
	// Open reports whether calls are answered at once.
	Open bool `json:"open"`
	// Failures counts the attempts in a row that did not get through, since
	// Since; Why is the last one's reason.
	Failures int       `json:"failures"`
	Since    time.Time `json:"since,omitzero"`
	Why      string    `json:"why,omitempty"`
	// Next is when an open circuit lets a call through.
	Next time.Time `json:"next_try,omitzero"`
}

// Status gives the state of a tool's circuit; the zero value where its last
// attempt got through.
func (c *Circuits) Status(tool string) Status {
	if c == nil {
		return Status{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.tools[tool]
	if s == nil {
		return Status{}
	}
	return Status{Open: s.open, Failures: s.failures, Since: s.since, Why: s.why.Error(), Next: s.next}
}

package main

import (
	"fmt"
	"time"
)

// memory takes the memory of quiet sessions, over HTTP/1.1 and HTTP/2.
func (o settings) memory(f *figures) (int, error) {
	for _, n := range o.quiet {
		for _, over2 := range []bool{false, true} {
			what, over := memoryHTTP1, "http1"
			if over2 {
				what, over = memoryHTTP2, "http2"
			}
			for _, c := range o.who {
				if c.kind == "worker" && c.journal != "off" {
					continue // a quiet session has nothing in it
				}
				v, err := o.visitQuiet(c, n, over2)
				if err != nil {
					return 0, fmt.Errorf("%s, %d sessions: %w", c.name, n, err)
				}
				f.add(c.name, figure(fmt.Sprintf("%s_%d", what, n)), v.resident)
				f.add(c.name, figure(fmt.Sprintf("quiet_session_heap_%s_bytes_%d", over, n)), v.heap)
				f.add(c.name, figure(fmt.Sprintf("quiet_session_stacks_%s_bytes_%d", over, n)), v.stacks)
				f.add(c.name, figure(fmt.Sprintf("quiet_session_goroutines_%s_%d", over, n)), v.goroutines)
			}
		}
	}
	return 0, nil
}

// held is what one quiet session takes, in bytes after a collection.
type held struct{ resident, heap, stacks, goroutines float64 }

// visitQuiet measures a competitor's quiet sessions. What the first ten take is the
// process's own.
func (o settings) visitQuiet(c competitor, n int, over2 bool) (held, error) {
	const few = 10
	p, err := o.open(c, over2)
	if err != nil {
		return held{}, err
	}
	defer p.close()
	if err := p.attach(few); err != nil {
		return held{}, err
	}
	time.Sleep(300 * time.Millisecond) // what attaching leaves is on its way out
	before, err := p.usage(true)
	if err != nil {
		return held{}, err
	}
	if err := p.attach(n); err != nil {
		return held{}, err
	}
	time.Sleep(time.Second) // the same
	after, err := p.usage(true)
	if err != nil {
		return held{}, err
	}
	each := func(after, before float64) float64 { return (after - before) / float64(n-few) }
	return held{
		resident:   each(float64(after.RSS), float64(before.RSS)),
		heap:       each(float64(after.Heap), float64(before.Heap)),
		stacks:     each(float64(after.Stacks), float64(before.Stacks)),
		goroutines: each(float64(after.Goroutines), float64(before.Goroutines)),
	}, nil
}

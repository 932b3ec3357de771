package main

import (
	"fmt"
	"time"
)

// memory takes the memory of quiet sessions, over HTTP/1.1 and HTTP/2.
func (o settings) memory(f *figures) (int, error) {
	for _, n := range o.quiet {
		for _, over2 := range []bool{false, true} {
			what := memoryHTTP1
			if over2 {
				what = memoryHTTP2
			}
			for _, c := range o.who {
				if c.kind == "worker" && c.journal != "off" {
					continue // a quiet session has nothing in it
				}
				v, err := o.visitQuiet(c, n, over2)
				if err != nil {
					return 0, fmt.Errorf("%s, %d sessions: %w", c.name, n, err)
				}
				f.add(c.name, figure(fmt.Sprintf("%s_%d", what, n)), v)
			}
		}
	}
	return 0, nil
}

// visitQuiet is the resident memory that a quiet session takes, in bytes, after a
// collection. What the first ten sessions take is the process's own.
func (o settings) visitQuiet(c competitor, n int, over2 bool) (float64, error) {
	const few = 10
	p, err := o.open(c, over2)
	if err != nil {
		return 0, err
	}
	defer p.close()
	if err := p.attach(few); err != nil {
		return 0, err
	}
	time.Sleep(300 * time.Millisecond) // what attaching leaves is on its way out
	before, err := p.usage(true)
	if err != nil {
		return 0, err
	}
	if err := p.attach(n); err != nil {
		return 0, err
	}
	time.Sleep(time.Second) // the same
	after, err := p.usage(true)
	if err != nil {
		return 0, err
	}
	return float64(after.RSS-before.RSS) / float64(n-few), nil
}

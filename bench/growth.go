package main

import (
	"fmt"
	"time"

	"toolhand/bench/stage"
)

// growth is one thing that the cost may grow with, at one size.
type growth struct {
	what  string
	size  int
	age   int // turns that each session has behind it
	round stage.Round
}

// growths are each thing at three sizes; the others stay as they are.
func growths() []growth {
	many := stage.Round{Sessions: 50, Turns: 80, Calls: 1, Tool: noop}
	var all []growth
	for _, n := range []int{20, 200, 1000} {
		r := many
		r.Sessions, r.Turns = n, 4000/n
		all = append(all, growth{what: "sessions", size: n, round: r})
	}
	for _, n := range []int{10, 300, 3000} {
		all = append(all, growth{what: "age_in_turns", size: n, age: n, round: many})
	}
	for _, n := range []int{200, 4_000, 80_000} {
		r := many
		r.Filler = n
		all = append(all, growth{what: "event_bytes", size: n, round: r})
	}
	for _, n := range []int{1, 8, 64} {
		r := many
		r.Calls, r.Turns = n, max(5, 80/n)
		all = append(all, growth{what: "calls_a_turn", size: n, round: r})
	}
	return all
}

// grow takes what the CPU of a call grows with, for the limit and the worker.
func (o settings) grow(f *figures) (disturbed int, err error) {
	for range max(1, o.rounds/2) {
		for _, g := range growths() {
			for _, c := range o.who {
				if c.name != theLimit && c.name != theWorker {
					continue
				}
				n, err := o.undisturbed(f, c.name, func() (map[figure]float64, error) { return o.visitGrowth(c, g) })
				disturbed += n
				if err != nil {
					return disturbed, fmt.Errorf("%s with %d %s: %w", c.name, g.size, g.what, err)
				}
			}
		}
	}
	return disturbed, nil
}

func (o settings) visitGrowth(c competitor, g growth) (map[figure]float64, error) {
	p, err := o.open(c, false)
	if err != nil {
		return nil, err
	}
	defer p.close()
	around := listen()
	past := g.round
	past.Turns = g.age
	if err := p.api.Do("history", past, nil); err != nil {
		return nil, err
	}
	fresh, err := p.usage(false)
	if err != nil {
		return nil, err
	}
	if err := p.attach(g.round.Sessions); err != nil {
		return nil, err
	}
	time.Sleep(200 * time.Millisecond) // the last history is being read
	warm := g.round
	warm.Turns = 3
	before, err := p.usage(false)
	if err != nil {
		return nil, err
	}
	if _, err := p.round(warm); err != nil {
		return nil, err
	}
	begun, err := p.usage(false)
	if err != nil {
		return nil, err
	}
	out, err := p.round(g.round)
	if err != nil {
		return nil, err
	}
	after, err := p.usage(false)
	if err != nil {
		return nil, err
	}
	name := func(of figure) figure { return figure(fmt.Sprintf("growth_%s_%05d_%s", g.what, g.size, of)) }
	return map[figure]float64{
		name(cpu):                 (after.CPU - begun.CPU) / float64(out.Calls) * 10_000,
		name("attach_cpu_us"):     (before.CPU - fresh.CPU) / float64(g.round.Sessions) * 1e6,
		name("requests_per_turn"): float64(out.Requests) / float64(g.round.Turns*g.round.Sessions),
		othersUsed:                around.others(p.api.PID(), p.who.PID()),
	}, nil
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"toolhand/bench/stage"
)

const (
	// period is how far apart the turns of one of many sessions begin where
	// they are paced, in seconds: 400 calls a second of 200 sessions, which
	// each competitor can do with room to spare.
	period = 0.5
	// pause is the same for the one session: long enough for whatever a
	// competitor does behind a result, as the writing of a model's next step is.
	pause = 0.004
)

// visitLoop takes a competitor's figures of the loop.
func (o settings) visitLoop(c competitor, round int) (map[figure]float64, error) {
	p, err := o.open(c, false)
	if err != nil {
		return nil, err
	}
	defer p.close()
	got := map[figure]float64{}
	around := listen()
	if got[diskSync], err = syncTime(p.store, 100); err != nil {
		return nil, err
	}
	if err := p.attach(1); err != nil {
		return nil, err
	}
	if _, err := p.round(stage.Round{Sessions: 1, Turns: 100, Calls: 1, Tool: noop}); err != nil { // to warm up
		return nil, err
	}
	one, err := p.round(stage.Round{Sessions: 1, Turns: o.single, Calls: 1, Tool: noop, Period: pause})
	if err != nil {
		return nil, err
	}
	got[latency1], got[latency1p99] = quantile(one.Took, 0.5), quantile(one.Took, 0.99)
	turn, err := p.round(stage.Round{Sessions: 1, Turns: o.turns, Calls: 8, Tool: slow})
	if err != nil {
		return nil, err
	}
	got[turn8] = quantile(turn.Turns, 0.5) / 1000
	got[requests8] = float64(turn.Requests) / float64(o.turns)
	if err := o.visitMany(p, c, round, got); err != nil {
		return nil, err
	}
	got[othersUsed] = around.others(p.api.PID(), p.who.PID())
	return got, nil
}

// visitMany takes the figures of many sessions.
func (o settings) visitMany(p *pair, c competitor, round int, got map[figure]float64) error {
	if err := p.attach(o.sessions); err != nil {
		return err
	}
	if _, err := p.round(stage.Round{Sessions: o.sessions, Turns: 5, Calls: 1, Tool: noop}); err != nil { // to warm up
		return err
	}
	paced, err := p.round(stage.Round{Sessions: o.sessions, Turns: o.pacedTurns, Calls: 1, Tool: noop, Period: period})
	if err != nil {
		return err
	}
	got[latencyN], got[latencyNp99] = quantile(paced.Took, 0.5), quantile(paced.Took, 0.99)
	if o.profiles != "" {
		for _, child := range []struct {
			name string
			do   func(string, any, any) error
		}{{c.name, p.who.Do}, {"sim under " + c.name, p.api.Do}} {
			if err := child.do("profile", filepath.Join(o.profiles, fmt.Sprintf("%s.%d.prof", child.name, round)), nil); err != nil {
				return err
			}
			defer func() { _ = child.do("profile", "", nil) }() // the figures stand without it
		}
	}
	before, err := p.usage(false)
	if err != nil {
		return err
	}
	full, err := p.round(stage.Round{Sessions: o.sessions, Turns: o.fullTurns, Calls: 1, Tool: noop})
	if err != nil {
		return err
	}
	after, err := p.usage(false)
	if err != nil {
		return err
	}
	if o.profiles != "" {
		if err := p.who.Do("heap", filepath.Join(o.profiles, fmt.Sprintf("%s.%d.heap", c.name, round)), nil); err != nil {
			return err
		}
	}
	got[throughput] = float64(full.Calls) / full.Seconds
	got[cpu] = (after.CPU - before.CPU) / float64(full.Calls) * 10_000
	got[allocsACall] = float64(after.Mallocs-before.Mallocs) / float64(full.Calls)
	return nil
}

// syncTime is the median time of an fdatasync after 500 bytes were appended to a
// file, in microseconds.
func syncTime(dir string, n int) (float64, error) {
	f, err := os.Create(filepath.Join(dir, "sync-probe"))
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	took := make([]float64, n)
	line := make([]byte, 500)
	for i := range took {
		begin := time.Now()
		if _, err := f.Write(line); err != nil {
			return 0, err
		}
		if err := dataSync(f); err != nil {
			return 0, err
		}
		took[i] = float64(time.Since(begin)) / float64(time.Microsecond)
	}
	slices.Sort(took)
	return quantile(took, 0.5), nil
}

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// measure takes all figures that are asked for and prints them.
func measure(o settings) error {
	begin := time.Now()
	f := newFigures()
	disturbed := 0
	for _, group := range []struct {
		name string
		take func(*figures) (int, error)
	}{{"loop", o.loop}, {"memory", o.memory}, {"start", o.startup}, {"handlers", o.handlers}, {"growth", o.grow}} {
		if !o.wants(group.name) {
			continue
		}
		n, err := group.take(f)
		if err != nil {
			return fmt.Errorf("%s: %w", group.name, err)
		}
		disturbed += n
	}
	table(os.Stdout, f)
	fmt.Printf("\n%d rounds, %d visits made again because others used the machine, %s in all\n",
		o.rounds, disturbed, time.Since(begin).Round(time.Second))
	return o.save(f)
}

// loop takes the figures of the loop: each round visits every competitor, and
// each round begins with another.
func (o settings) loop(f *figures) (disturbed int, err error) {
	for round := range o.rounds {
		for i := range o.who {
			c := o.who[(i+round)%len(o.who)]
			again, err := o.undisturbed(f, c.name, func() (map[figure]float64, error) { return o.visitLoop(c, round) })
			disturbed += again
			if err != nil {
				return disturbed, fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	return disturbed, nil
}

// undisturbed makes a visit, and makes it again where others used the machine:
// o.retries times, and then the last one is kept as spoilt.
func (o settings) undisturbed(f *figures, who string, visit func() (map[figure]float64, error)) (again int, err error) {
	for ; ; again++ {
		awaitQuiet()
		got, err := visit()
		if err != nil {
			return again, err
		}
		used := got[othersUsed]
		fmt.Fprintf(os.Stderr, "%s: others used %.1f%%\n", who, 100*used)
		if used > maxOthers && again < o.retries {
			continue
		}
		add := f.add
		if used > maxOthers {
			add = f.spoil
		}
		for what, v := range got {
			add(who, what, v)
		}
		if sync, ok := got[diskSync]; ok {
			add(theDisk, diskSync, sync)
		}
		return again, nil
	}
}

// save writes the samples of all rounds as JSON.
func (o settings) save(f *figures) error {
	text, err := json.MarshalIndent(map[string]any{"samples": f.samples, "spoilt": f.spoilt, "judged": judge(f)}, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(o.dir, "bench.json")
	fmt.Println("written:", path)
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

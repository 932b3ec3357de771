package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"toolhand/bench/stage"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 2 {
		switch args[0] {
		case "sim":
			return stage.Main(args[1])
		case "competitor":
			return compete(args[1])
		case "handlers":
			return handlersMain(args[1])
		case "nats":
			return natsMain()
		case "mcp":
			return mcpMain()
		}
	}
	o, err := options(args)
	if err != nil {
		return err
	}
	return measure(o)
}

// settings are what a run is made with.
type settings struct {
	quick    bool
	rounds   int
	dir      string // for stores, logs and the result
	worker   string // the built cmd/worker
	only     map[string]bool
	who      []competitor
	log      string // file of what the children log; empty: nowhere
	profiles string
	sizes
}

// sizes are how much is measured; quick has less of everything.
type sizes struct {
	sessions   int   // of the many
	single     int   // calls of the one session
	pacedTurns int   // of each of many sessions
	fullTurns  int   // the same, one after another
	turns      int   // of 8 calls
	quiet      []int // sessions, for memory
	starts     int
	calls      int // of each handler
	retries    int // of a visit that was disturbed
}

func options(args []string) (settings, error) {
	o := settings{sizes: sizes{sessions: 200, single: 1500, pacedTurns: 8, fullTurns: 150, turns: 3, quiet: []int{2000, 10000},
		starts: 9, calls: 300, retries: 3}}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.BoolVar(&o.quick, "quick", false, "less of everything: under two minutes")
	f.IntVar(&o.rounds, "rounds", 0, "rounds (default 5; quick: 2)")
	f.StringVar(&o.dir, "dir", "bin/bench", "folder for stores and results")
	f.StringVar(&o.worker, "worker", "bin/worker", "the worker's binary, for the time to start")
	f.StringVar(&o.profiles, "profiles", "", "folder for CPU profiles of the rounds of many sessions")
	only := f.String("only", "", "figures to take, comma separated: loop, memory, start, handlers, growth (default: all; quick: all but growth)")
	who := f.String("who", "", "competitors, comma separated (default: all)")
	f.StringVar(&o.log, "log", "", "file for what the children log (default: it goes nowhere, but is written)")
	f.IntVar(&o.fullTurns, "turns", o.fullTurns, "turns of each of the many sessions, for long profiles")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	for _, c := range competitors {
		if *who == "" || slices.Contains(strings.Split(*who, ","), c.name) {
			o.who = append(o.who, c)
		}
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if *only != "" {
		o.only = map[string]bool{}
		for name := range strings.SplitSeq(*only, ",") {
			o.only[name] = true
		}
	}
	if turns := o.fullTurns; o.quick {
		o.sizes = sizes{sessions: 200, single: 300, pacedTurns: 3, fullTurns: 40, turns: 1, quiet: []int{500}, starts: 3, calls: 60, retries: 1}
		if turns != 150 {
			o.fullTurns = turns
		}
	}
	if o.rounds == 0 {
		o.rounds = 5
		if o.quick {
			o.rounds = 2
		}
	}
	if o.rounds < 1 {
		return o, errors.New("-rounds: expected 1 or more")
	}
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return o, err
	}
	o.dir = dir
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o700); err != nil {
			return o, err
		}
	}
	return o, os.MkdirAll(o.dir, 0o700)
}

// wants reports whether a group of figures is asked for.
func (o settings) wants(group string) bool {
	if o.only == nil {
		return group != "growth" || !o.quick
	}
	return o.only[group]
}

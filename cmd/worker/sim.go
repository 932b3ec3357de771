package main

import (
	"fmt"
	"net"

	"toolhand/internal/config"
	"toolhand/internal/sim"
	"toolhand/internal/worker"
)

type simCmd struct {
	logFlags
	Listen string   `help:"Address to listen on." default:"127.0.0.1:8080" placeholder:"ADDR"`
	Script string   `help:"Script of the session, in YAML (see docs/sim.md)." placeholder:"FILE"`
	Key    string   `help:"Accept this key only (default: any)." placeholder:"KEY"`
	Exit   bool     `help:"Stop when the script is at its end."`
	Calls  []string `arg:"" optional:"" name:"call" help:"Without a script: calls to make, each NAME or NAME=JSON."`
}

// Help is the long help.
func (simCmd) Help() string {
	return `The simulation speaks the API's own protocol, to any client. Point a worker at it:

  worker sim 'word_count={"text":"to be or not to be"}'
  ANTHROPIC_API_KEY=any ANTHROPIC_BASE_URL=http://127.0.0.1:8080 worker run --session sesn_sim

With a script:

  worker sim --listen 127.0.0.1:8080 --script session.yaml
`
}

// Run serves the simulation.
func (c simCmd) Run(p *process) error {
	cfg := config.Default()
	opts, err := c.options(p, &cfg)
	if err != nil {
		return err
	}
	if c.Script != "" && len(c.Calls) > 0 {
		return worker.Usagef("--script and calls can't be used together: put the calls into the script")
	}
	script, err := sim.CallsScript(c.Calls...)
	if c.Script != "" {
		script, err = sim.LoadScript(c.Script)
	}
	if err != nil {
		return worker.Usagef("%w", err)
	}
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("the address of the simulation can't be taken: %w", err)
	}
	return underSignals(p, false, func(s *signals) error {
		return sim.Serve(s.stop, ln, script, sim.ServeOptions{Server: sim.Options{Key: c.Key}, Log: opts.Log, Exit: c.Exit})
	})
}

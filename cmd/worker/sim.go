package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"toolhand/internal/config"
	"toolhand/internal/sim"
	"toolhand/internal/telemetry"
	"toolhand/internal/worker"
)

type simCmd struct {
	logFlags
	Listen  string   `help:"Address to listen on." default:"127.0.0.1:8080" placeholder:"ADDR"`
	Script  string   `help:"Script of the session, in YAML (see docs/sim.md)." placeholder:"FILE"`
	Key     string   `help:"Accept this key only (default: any)." placeholder:"KEY"`
	Exit    bool     `help:"Stop when the script is at its end."`
	KeepIDs bool     `name:"keep-ids" help:"Use the ids of calls and threads as the script has them (default: new ones at each start)."`
	Calls   []string `arg:"" optional:"" name:"call" help:"Without a script: calls to make, each NAME or NAME=JSON."`
}

// Help is the long help.
func (simCmd) Help() string {
	return `The simulation speaks the API's own protocol, to any client. Point a worker at it:

  worker sim 'word_count={"text":"to be or not to be"}'
  ANTHROPIC_API_KEY=any ANTHROPIC_BASE_URL=http://127.0.0.1:8080 worker run --session sesn_sim

With a script:

  worker sim --listen 127.0.0.1:8080 --script session.yaml

It shows what happens on its standard output, and logs to its standard error where that is no terminal; with --log-format it only logs.
`
}

// Run serves the simulation.
func (c simCmd) Run(p *process) error {
	cfg, shown := config.Default(), c.LogFormat == ""
	if f, ok := p.stderr.(*os.File); ok && shown && c.LogLevel == "" && telemetry.IsTerminal(f) {
		c.LogLevel = "warn" // the rest is shown
	}
	opts, err := c.options(p, &cfg)
	if err != nil {
		return err
	}
	script, err := c.script()
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("the address of the simulation can't be taken: %w", err)
	}
	serve := sim.ServeOptions{Server: sim.Options{Key: c.Key, FreshIDs: !c.KeepIDs}, Log: opts.Log, Exit: c.Exit}
	return underSignals(p, false, func(s *signals) error {
		ctx, stop := context.WithCancelCause(s.stop)
		defer stop(nil)
		command := c.command(ln.Addr(), script)
		opts.Log.Info("start a worker for it", "command", command)
		if shown {
			newSimShow(ctx, p.newScreen(stop), command, script, c.Exit).into(&serve, ln.Addr())
		}
		if err := sim.Serve(ctx, ln, script, serve); err != nil || s.stop.Err() != nil {
			return err
		}
		return context.Cause(ctx) // nobody reads what is shown
	})
}

// script is that of the file, or of the calls of the command line.
func (c simCmd) script() (*sim.Script, error) {
	if c.Script != "" && len(c.Calls) > 0 {
		return nil, worker.Usagef("--script and calls can't be used together: put the calls into the script")
	}
	script, err := sim.CallsScript(c.Calls...)
	if c.Script != "" {
		script, err = sim.LoadScript(c.Script)
	}
	if err != nil {
		return nil, worker.Usagef("%w", err)
	}
	return script, nil
}

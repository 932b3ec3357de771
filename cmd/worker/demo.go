package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"toolhand/internal/sim"
)

type demoCmd struct {
	ToolsDir string `help:"Folder of the example tools, changed as you like (default: those that are built in). A copy is used." placeholder:"DIR"`
	Keep     bool   `help:"Keep running at the end, to be looked at."`
	Verbose  bool   `help:"Show the worker's log too."`
	AsWorker string `hidden:"" help:"Be the demo's worker, with this configuration." placeholder:"FILE"`
}

// Help is the long help.
func (demoCmd) Help() string {
	return `A simulated API plays the session of a coding agent; a worker serves it with the example tools, by the same code as 'worker run'. It is killed in the middle of a call, and comes back. Lines fit the terminal, or COLUMNS; NO_COLOR turns colours off.

Examples:

  worker demo
  worker demo --keep
`
}

// demoTimeout bounds the session that is played.
const demoTimeout = 2 * time.Minute

var errDemoInterrupted = errors.New("the demo was interrupted")

// Run plays the demo.
func (c demoCmd) Run(p *process) error {
	return underSignals(p, false, func(s *signals) error {
		if c.AsWorker != "" {
			return c.beWorker(p, s)
		}
		return c.run(p, s)
	})
}

func (c demoCmd) run(p *process, signals *signals) error {
	stage, err := newStage(c.ToolsDir)
	if err != nil {
		return err
	}
	defer stage.remove()
	script, err := sim.DemoScript()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(p.ctx)
	defer stop(nil)
	defer context.AfterFunc(signals.stop, func() { stop(errDemoInterrupted) })()
	screen := p.newScreen(func(err error) { stop(fmt.Errorf("the demo has nowhere to print: %w", err)) })
	d := &demo{cmd: c, process: p, stage: stage, script: script, show: newShow(screen), doomed: make(chan string, 1), shown: map[string]bool{}}
	d.show.called = d.look
	d.api = sim.New(sim.Options{OnEvent: d.show.event, OnRequest: d.show.request})
	closed, err := d.serveAPI()
	if err != nil {
		return err
	}
	defer closed()
	return d.run(ctx, signals.hard)
}

// serveAPI serves the simulated API on loopback until closed is called.
func (d *demo) serveAPI() (closed func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("the simulated API needs a port on loopback: %w", err)
	}
	d.url = "http://" + ln.Addr().String()
	web := &http.Server{Handler: d.api, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	var beside sync.WaitGroup
	beside.Go(func() { _ = web.Serve(ln) }) // until Close
	d.api.Prepare(d.script)
	return func() { d.api.Close(); _ = web.Close(); beside.Wait() }, d.stage.configure(d.url, d.script.Session)
}

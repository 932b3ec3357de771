package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/sim"
)

// demo is a demo that is played.
type demo struct {
	cmd     demoCmd
	process *process
	stage   stage
	script  *sim.Script
	api     *sim.Server
	url     string
	show    *show
	doomed  chan string // gets the id of the call in which the worker is killed
	worker  *child      // owned by run, as is killed
	killed  bool        // a worker was killed, and none has come after it

	mu     sync.Mutex
	before map[string]bool // calls that were open when the worker was killed; guarded by mu
	shown  map[string]bool // calls whose end is shown: a second worker may tell it again; guarded by mu
}

// look looks for the call in which the worker is killed.
func (d *demo) look(id, tool string) {
	if tool == doomedTool {
		select {
		case d.doomed <- id:
		default: // once is enough
		}
	}
}

// run starts the worker, plays the session and shows what it came to. Nothing that it
// has started is left.
func (d *demo) run(ctx, hard context.Context) (err error) {
	defer func() {
		if d.worker != nil {
			d.killed = d.worker.stop(hard) || d.killed
		}
		if d.killed {
			sweep()
		}
		if hard.Err() != nil {
			err = context.Cause(hard)
		}
	}()
	d.greet()
	if err := d.start(ctx); err != nil {
		return err
	}
	played := d.play(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if played == nil && d.cmd.Keep {
		d.show.empty()
		d.show.say(part{bold, "kept    "}, part{plain, "kept running: the API at " + d.url + ", the worker's status at http://" + d.worker.admin + "/api/v1/status; Ctrl-C ends it"})
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), errDemoInterrupted) {
			return context.Cause(ctx)
		}
	}
	d.killed = d.worker.drain(hard) || d.killed
	d.summary()
	if played != nil {
		return fmt.Errorf("the session did not go as its script says: %w", played)
	}
	return nil
}

// start starts a worker, and waits until it is open.
func (d *demo) start(ctx context.Context) (err error) {
	if d.worker, err = d.cmd.startChild(d.process, d.stage.config(), d.ended); err != nil {
		return err
	}
	if err := d.worker.ready(ctx); err != nil {
		return err
	}
	d.killed = false // it has swept
	return nil
}

// play plays the script, and kills the worker when its time has come.
func (d *demo) play(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	played := make(chan error, 1)
	go func() { played <- d.api.Play(ctx, d.script); close(played) }()
	defer func() { cancel(); <-played }()
	for {
		select {
		case err := <-played:
			return err
		case id := <-d.doomed:
			if err := d.crash(ctx, id); err != nil {
				return err
			}
		case <-d.worker.done:
			return fmt.Errorf("its worker has ended: %w", d.worker.failure())
		}
	}
}

// ended shows a call that has ended.
func (d *demo) ended(c endedCall) {
	note := c.Took.Round(time.Millisecond).String()
	d.mu.Lock()
	before, shown := d.before[c.ID], d.shown[c.ID]
	d.shown[c.ID] = true
	d.mu.Unlock()
	switch {
	case shown:
		return
	case before && c.Outcome == run.UnknownOutcome:
		note = "started before the kill"
	case before:
		note = "computed before the kill, only sent now"
	}
	d.show.result("", c.Tool, c.Outcome, note, c.Content)
}

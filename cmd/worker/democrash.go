package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"toolhand/internal/config"
	"toolhand/internal/worker"
)

const (
	// doomedTool is the tool in whose call the worker is killed, while the result of
	// waitingTool waits to be sent with its.
	doomedTool, waitingTool = "deploy", "tag_release"
	// beforeKill is how long the call of doomedTool runs: the journal has the result
	// of waitingTool by then.
	beforeKill = time.Second
)

// crash kills the worker in a call, and starts another one with its journal.
func (d *demo) crash(ctx context.Context, id string) error {
	for d.stage.starts()[id] == 0 || !d.waits(ctx) {
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	if err := sleep(ctx, beforeKill); err != nil {
		return err
	}
	d.mu.Lock()
	d.before = map[string]bool{}
	for _, open := range d.api.Session(d.script.Session).Open() {
		d.before[open] = true
	}
	d.mu.Unlock()
	pid := d.worker.cmd.Process.Pid
	d.worker.kill()
	d.killed = true
	d.tell(red, "killed (SIGKILL of process "+strconv.Itoa(pid)+"): "+doomedTool+" runs, and the result of "+waitingTool+" is there but not sent yet")
	if err := d.start(ctx); err != nil {
		return err
	}
	d.tell(green, "back, as process "+strconv.Itoa(d.worker.cmd.Process.Pid)+" with the same journal")
	return nil
}

// waits reports whether the result waits that is lost if the journal does not have it.
func (d *demo) waits(ctx context.Context) bool {
	answer, err := worker.Ask(ctx, d.worker.admin, http.MethodGet, "/api/v1/status", "", time.Second, config.Admin{})
	var st worker.Status
	if err != nil || json.Unmarshal(answer.Body, &st) != nil {
		return false
	}
	for _, s := range st.Sessions {
		for _, c := range s.Calls {
			if c.Tool == waitingTool && c.State == "finished" {
				return true
			}
		}
	}
	return false
}

// sleep waits unless the context ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

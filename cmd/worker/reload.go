package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"

	"toolhand/internal/worker"
)

type reloadCmd struct {
	adminFlags
	PID int `help:"Send SIGHUP to this process instead of asking the admin address." placeholder:"PID"`
}

// Help is the long help.
func (reloadCmd) Help() string {
	return `The exit code is 0 when the new tools are in force (with --pid: when the signal was sent), and 1 if something is broken: it is told, and what was in force stays.

Examples:

  worker reload
  worker reload --pid 4711
`
}

// Run asks a running worker to reload.
func (c reloadCmd) Run(p *process) error {
	if c.PID != 0 {
		if c.PID < 0 {
			return worker.Usagef("--pid: expected the id of a process, found %d", c.PID)
		}
		if err := syscall.Kill(c.PID, syscall.SIGHUP); err != nil {
			return fmt.Errorf("SIGHUP can't be sent to process %d: %w", c.PID, err)
		}
		return nil
	}
	got, err := c.ask(p, http.MethodPost, "/api/v1/reload", "", worker.ReloadTimeout)
	if err != nil {
		return err
	}
	switch got.Status {
	case http.StatusOK:
		var said struct{ Tools int }
		_ = json.Unmarshal(got.Body, &said) // it is in force, whatever else it says
		fmt.Fprintf(p.stdout, "%s in force\n", plural(said.Tools, "tool"))
		return nil
	case http.StatusUnprocessableEntity:
		var said worker.Problems
		_ = json.Unmarshal(got.Body, &said)
		return fmt.Errorf("%s:\n%s", said.Error, strings.Join(said.Problems, "\n"))
	}
	return fmt.Errorf("the worker answers with %d %s", got.Status, http.StatusText(got.Status))
}

// helpCmd is in the help; [Main] makes --help of it.
type helpCmd struct {
	Command []string `arg:"" optional:"" help:"The command."`
}

// Run is never called.
func (helpCmd) Run() error { return nil }

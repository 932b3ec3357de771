package main

import (
	"context"
	"errors"
	"fmt"

	"toolhand/internal/worker"
)

type callsShowCmd struct {
	toolFlags
	JSON bool   `help:"Print JSON."`
	ID   string `arg:"" help:"The call's id (sevt_…)."`
}

// Help is the long help.
func (callsShowCmd) Help() string {
	return `The journal has an entry of a call from its start until the API has accepted its result. A result that the API refused for good stays there, set aside, and is shown too.

The journal is the server's at nats.url; without that it is in the store (nats.store_dir), which is read by way of a copy in TMPDIR and not changed. While a worker holds the store it can't be read, and the exit code is 2; it is 1 where the journal has no such call.

Examples:

  worker calls show sevt_011CZkZAtmR3yMPDzynEDxu7
  worker calls show sevt_011CZkZAtmR3yMPDzynEDxu7 --json
`
}

// Run shows what the journal has of a call.
func (c callsShowCmd) Run(p *process) error {
	cfg, _, err := c.load(p)
	if err != nil {
		return err
	}
	opts, err := c.quiet(p, cfg)
	if err != nil {
		return err
	}
	return underSignals(p, false, func(s *signals) error {
		found, where, err := worker.FindCall(s.stop, cfg, opts, c.ID)
		if errors.As(context.Cause(s.stop), new(stopSignal)) {
			return errors.New("interrupted")
		}
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return fmt.Errorf("the journal %s has no entry of call %s: it keeps one until the API has accepted the result; 'worker calls list' shows the last calls of a running worker, and 'worker status' the ids of those that are set aside", where, c.ID)
		}
		return printEntries(p.stdout, found, c.JSON)
	})
}

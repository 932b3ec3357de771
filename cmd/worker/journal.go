package main

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/worker"
)

type journalCmd struct {
	Trust journalTrustCmd `cmd:"" help:"Clear the mark of damage, after somebody has looked."`
}

// Help is the long help.
func (journalCmd) Help() string {
	return "Example:\n\n  worker journal trust\n"
}

type journalTrustCmd struct{ configFlags }

// Help is the long help.
func (journalTrustCmd) Help() string {
	return `A store whose files were damaged is marked: an open call that a session has when it is attached may have been started before, and what is known of it be lost. It is not run where its tool is not idempotent, but answered as one whose outcome is unknown. The mark expires after 24 hours in which a worker ran; 'worker status' shows it. This clears it at once: such calls are run again from the next start on. The worker must be stopped.

Examples:

  worker journal trust
  worker journal trust --config /etc/toolhand/worker.yaml
`
}

// Run clears the mark.
func (c journalTrustCmd) Run(p *process) error {
	cfg, _, err := c.load(p)
	if err != nil {
		return err
	}
	if cfg.NATS.URL != "" {
		return worker.Usagef("nats.url is set: the mark of damage is one of an embedded store, and the journal is not in one here")
	}
	dir := bus.StoreDir(cfg.NATS.StoreDir, p.lookupEnv)
	was, marked, err := bus.Trust(bus.Options{StoreDir: dir})
	switch {
	case errors.Is(err, bus.ErrStoreHeld):
		return worker.Usagef("the worker must be stopped: %w", err)
	case errors.Is(err, fs.ErrNotExist):
		return worker.Usagef("there is no store: %w; name it by nats.store_dir, STATE_DIRECTORY or --config", err)
	case err != nil:
		return err
	case !marked:
		fmt.Fprintf(p.stdout, "%s: bears no mark of damage\n", dir)
		return nil
	}
	fmt.Fprintf(p.stdout, "%s: the mark of damage is cleared (found %s)\n", dir, was.Found.Format(time.RFC3339))
	return nil
}

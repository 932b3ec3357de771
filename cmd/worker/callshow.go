package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/config"
	"toolhand/internal/journal"
	"toolhand/internal/telemetry"
)

// showTimeout bounds the connection to the server at nats.url.
const showTimeout = 5 * time.Second

type callsShowCmd struct {
	configFlags
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
	secrets := &telemetry.Secrets{}
	log, err := newLogger(p, config.Log{Level: "warn", Format: cfg.Log.Format}, secrets)
	if err != nil {
		return err
	}
	return underSignals(p, false, func(s *signals) error {
		found, where, err := findCall(s.stop, cfg, c.ID, p.lookupEnv, log, secrets)
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

// findCall reads the entries of a call from the journal, and changes nothing there.
// where says which journal that is.
func findCall(ctx context.Context, cfg *config.Config, id string, lookupEnv func(string) (string, bool), log *slog.Logger, secrets *telemetry.Secrets) (found []journal.Found, where string, err error) {
	opts := bus.Options{URL: cfg.NATS.URL, CredentialsFile: cfg.NATS.CredentialsFile}
	if opts.URL != "" {
		opts.StartTimeout = showTimeout
		if opts.Token, err = readToken("nats.token_file", cfg.NATS.TokenFile, secrets); err != nil {
			return nil, "", err
		}
		if found, err = findIn(ctx, opts, id, log); err != nil {
			err = usageError{fmt.Errorf("the journal at nats.url can't be read: %w", err)}
		}
		return found, "at nats.url", err
	}
	dir := bus.StoreDir(cfg.NATS.StoreDir, lookupEnv)
	copied, err := os.MkdirTemp("", "toolhand-calls-")
	if err != nil {
		return nil, "", err
	}
	defer os.RemoveAll(copied) // what can't be removed is the system's to clean up
	// Nobody needs the copy on disk, or room beside it.
	opts.StoreDir, opts.SyncInterval, opts.MinFree = copied, time.Hour, -1
	if err = bus.CopyStream(ctx, dir, "KV_"+journal.Bucket, copied); err == nil {
		found, err = findIn(ctx, opts, id, log)
	}
	return found, "in " + dir, unreadable(err, dir)
}

func findIn(ctx context.Context, opts bus.Options, id string, log *slog.Logger) (found []journal.Found, err error) {
	b, err := bus.Open(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeBusTimeout)
		defer cancel()
		err = errors.Join(err, b.Close(ctx))
	}()
	return journal.Find(ctx, b.JetStream(), id, log)
}

// unreadable says what to do where the journal in a store can't be read.
func unreadable(err error, dir string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bus.ErrStoreHeld):
		return usageError{fmt.Errorf("a worker holds the store, and its journal can't be read meanwhile: %w; stop the worker first (a journal at nats.url can be read at any time)", err)}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, journal.ErrNone):
		return usageError{fmt.Errorf("there is no journal in %s: %w; name it by nats.store_dir, STATE_DIRECTORY, nats.url or --config", dir, err)}
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("the journal in %s can't be copied: %w; set TMPDIR to a folder with room for it", dir, err)
	}
	return fmt.Errorf("the journal in %s can't be read: %w", dir, err)
}

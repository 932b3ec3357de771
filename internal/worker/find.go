package worker

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
)

// findTimeout bounds the connection to the server at nats.url.
const findTimeout = 5 * time.Second

// FindCall reads the entries of a call from the journal, and changes nothing there.
// where says which journal that is.
func FindCall(ctx context.Context, cfg *config.Config, opts Options, id string) (found []journal.Found, where string, err error) {
	at := bus.Options{URL: cfg.NATS.URL, CredentialsFile: cfg.NATS.CredentialsFile}
	if at.URL != "" {
		at.StartTimeout = findTimeout
		if at.Token, err = readToken("nats.token_file", cfg.NATS.TokenFile, opts.Secrets); err != nil {
			return nil, "", err
		}
		if found, err = findIn(ctx, at, id, opts.Log); err != nil {
			err = Usagef("the journal at nats.url can't be read: %w", err)
		}
		return found, "at nats.url", err
	}
	dir := bus.StoreDir(cfg.NATS.StoreDir, opts.LookupEnv)
	copied, err := os.MkdirTemp("", "toolhand-calls-")
	if err != nil {
		return nil, "", err
	}
	defer os.RemoveAll(copied) // what can't be removed is the system's to clean up
	// Nobody needs the copy on disk, or room beside it.
	at.StoreDir, at.SyncInterval, at.MinFree = copied, time.Hour, -1
	if err = bus.CopyStream(ctx, dir, "KV_"+journal.Bucket, copied); err == nil {
		found, err = findIn(ctx, at, id, opts.Log)
	}
	return found, "in " + dir, unreadable(err, dir)
}

func findIn(ctx context.Context, at bus.Options, id string, log *slog.Logger) ([]journal.Found, error) {
	b, err := bus.Open(ctx, at)
	if err != nil {
		return nil, err
	}
	defer closeBus(b, log)
	return journal.Find(ctx, b.JetStream(), id, log)
}

// unreadable says what to do where the journal in a store can't be read.
func unreadable(err error, dir string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bus.ErrStoreHeld):
		return Usagef("a worker holds the store, and its journal can't be read meanwhile: %w; stop the worker first (a journal at nats.url can be read at any time)", err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, journal.ErrNone):
		return Usagef("there is no journal in %s: %w; name it by nats.store_dir, STATE_DIRECTORY, nats.url or --config", dir, err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("the journal in %s can't be copied: %w; set TMPDIR to a folder with room for it", dir, err)
	}
	return fmt.Errorf("the journal in %s can't be read: %w", dir, err)
}

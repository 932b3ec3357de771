package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/config"
	"toolhand/internal/telemetry"
)

const (
	// syncInterval is how much an embedded journal may lose with its machine
	// where journal.sync is interval.
	syncInterval = time.Second
	// closeBusTimeout bounds the end of the bus.
	closeBusTimeout = 10 * time.Second
)

// openBus starts the embedded NATS server or connects to the external one.
func (w *Worker) openBus(ctx context.Context) (err error) {
	cfg := w.cfg.NATS
	opts := bus.Options{
		URL: cfg.URL, CredentialsFile: cfg.CredentialsFile, CoreOnly: w.opts.Purpose == Fleet, Listen: cfg.Listen,
		StoreDir: bus.StoreDir(cfg.StoreDir, w.opts.LookupEnv), Log: w.log,
	}
	if opts.ListenTLS, err = ServerTLS("nats", cfg.TLSCertFile, cfg.TLSKeyFile, w.log); err != nil {
		return err
	}
	if w.cfg.Journal.Sync == config.SyncInterval {
		opts.SyncInterval = syncInterval
	}
	if opts.Token, err = readToken("nats.token_file", cfg.TokenFile, w.opts.Secrets); err != nil {
		return err
	}
	opts.ListenToken = opts.Token
	at := "nats.url"
	if opts.URL != "" && !opts.CoreOnly {
		at = "the journal at nats.url"
		w.log.Info("connecting to the journal's NATS server at nats.url")
	}
	w.bus, err = bus.Open(ctx, opts)
	switch {
	case errors.Is(err, bus.ErrStoreHeld):
		return &UsageError{err}
	case err != nil && opts.URL == "":
		return fmt.Errorf("the journal in nats.store_dir %s can't be opened: %w", opts.StoreDir, err)
	case err != nil:
		return fmt.Errorf("%s: %w", at, err)
	}
	return nil
}

// closeBus closes a bus, if there is one.
func closeBus(b *bus.Bus, log *slog.Logger) {
	if b == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeBusTimeout)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		log.Warn("the connection to NATS did not end in order", "error", err)
	}
}

// readToken reads the token of a key; empty without a file.
func readToken(key, file string, secrets *telemetry.Secrets) (string, error) {
	if file == "" {
		return "", nil
	}
	token, err := config.ReadKeyFile(file)
	if err != nil {
		return "", Usagef("%s: %w", key, err)
	}
	secrets.Add(token)
	return token, nil
}

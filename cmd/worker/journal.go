package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/config"
	"toolhand/internal/journal"
	"toolhand/internal/tools"
)

const (
	// syncInterval is how much an embedded journal may lose with its machine
	// where journal.sync is interval.
	syncInterval = time.Second
	// closeBusTimeout bounds the end of the bus.
	closeBusTimeout = 10 * time.Second
	// wedged is how long an embedded journal may refuse writes before the worker
	// drains and ends for its supervisor: a store that was full stays shut until
	// its server is started anew.
	wedged = time.Minute
)

// openJournal starts the embedded NATS server or connects to the external one,
// and opens the journal on it.
func (w *worker) openJournal(ctx context.Context) error {
	opts := bus.Options{
		URL: w.cfg.NATS.URL, CredentialsFile: w.cfg.NATS.CredentialsFile, Listen: w.cfg.NATS.Listen,
		StoreDir: bus.StoreDir(w.cfg.NATS.StoreDir, w.lookupEnv), Log: w.log,
	}
	var err error
	if opts.ListenTLS, err = serverTLS("nats", w.cfg.NATS.TLSCertFile, w.cfg.NATS.TLSKeyFile, w.log); err != nil {
		return err
	}
	if w.cfg.Journal.Sync == config.SyncInterval {
		opts.SyncInterval = syncInterval
	}
	if w.cfg.NATS.TokenFile != "" {
		token, err := config.ReadKeyFile(w.cfg.NATS.TokenFile)
		if err != nil {
			return usageError{fmt.Errorf("nats.token_file: %w", err)}
		}
		w.secrets.Add(token)
		opts.Token, opts.ListenToken = token, token
	}
	if opts.URL != "" {
		w.log.Info("connecting to the journal's NATS server at nats.url")
	}
	b, err := bus.Open(ctx, opts)
	if errors.Is(err, bus.ErrStoreHeld) {
		return usageError{err}
	}
	if err != nil && opts.URL == "" {
		return fmt.Errorf("the journal in nats.store_dir %s can't be opened: %w", opts.StoreDir, err)
	}
	if err != nil {
		return fmt.Errorf("the journal at nats.url: %w", err)
	}
	j, err := journal.Open(ctx, b.JetStream(), journal.Options{
		Replicas: w.cfg.NATS.Replicas, MaxBytes: int64(w.cfg.Journal.MaxBytes), Sole: b.Embedded(), Writable: b.Healthy,
		Witness: b.Witness("KV_" + journal.Bucket), Log: w.log,
	})
	if err != nil {
		w.closeBus(b)
		if errors.Is(err, journal.ErrNoRoom) {
			err = fmt.Errorf("%w: give the account that much, or set journal.max_bytes to less", err)
		}
		return fmt.Errorf("the journal can't be opened: %w", err)
	}
	w.bus, w.store = b, j
	if d := damageOf(b); d != nil {
		w.log.Warn("the journal was damaged: open calls from before are not run again where their tool is not idempotent; 'worker journal trust' ends that", "damaged", d.Found, "doubted_for", d.DoubtedFor)
	}
	if b.Listening() != "" {
		if err := w.queue.Admit(b.Conn(), bus.HandIn); err != nil {
			return fmt.Errorf("results from outside can't be taken: %w", err)
		}
	}
	if max := b.MaxPayload(); max < bus.MaxPayload {
		w.log.Warn("the NATS server takes smaller messages than the largest result: longer results are cut; raise its max_payload", "max_payload", max, "largest_result", bus.MaxPayload)
	}
	if st, err := j.Status(ctx); err == nil {
		w.log.Info("journal open", "server", b.Status().Server, "store", b.Status().StoreDir, "entries", st.Entries)
	}
	return nil
}

// stopLeft stops what still runs of calls that another worker has started.
func (w *worker) stopLeft(calls []tools.Call) {
	marks := make([][]string, len(calls))
	for i, c := range calls {
		marks[i] = tools.Marks(c)
	}
	w.procs.StopLeft(marks)
}

func (w *worker) closeBus(b *bus.Bus) {
	if b == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeBusTimeout)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		w.log.Warn("the journal's NATS server did not end in order", "error", err)
	}
}

// watchStore waits until the embedded store is wedged, or the journal's bucket is
// gone for as long, or ctx ends. It reports why, or nil. An external server that is
// away comes back by itself; a bucket that was deleted does not.
func (w *worker) watchStore(ctx context.Context) error {
	tick := time.NewTicker(wedged / 12)
	defer tick.Stop()
	var since time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := w.store.Look(ctx)
		if w.bus.Embedded() && !errors.Is(err, journal.ErrGone) {
			err = w.store.Check(ctx)
		} else if err != nil && !errors.Is(err, journal.ErrGone) {
			continue // away: what was known of the bucket stays
		}
		switch {
		case err == nil, errors.Is(err, bus.ErrLowSpace) && w.store.Failing() == nil:
			// Where room is short and writes succeed, what runs can be written
			// down: a new start would mend nothing, and cost its outcome.
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
			w.log.Error("the journal can't be written: tools that may not run twice are not started", "error", err)
		case time.Since(since) > wedged && ctx.Err() == nil:
			return fmt.Errorf("the journal can't be written since %s: %w", since.Format(time.RFC3339), err)
		}
	}
}

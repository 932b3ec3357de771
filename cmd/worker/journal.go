package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/config"
	"toolhand/internal/journal"
	"toolhand/internal/loop"
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
		Replicas: w.cfg.NATS.Replicas, Sole: b.Embedded(), Writable: b.Healthy, Log: w.log,
	})
	if err != nil {
		w.closeBus(b)
		return fmt.Errorf("the journal can't be opened: %w", err)
	}
	w.bus, w.store, w.journal = b, j, durable{journal: j, procs: w.procs}
	if st, err := j.Status(ctx); err == nil {
		w.log.Info("journal open", "server", b.Status().Server, "store", b.Status().StoreDir, "entries", st.Entries)
	}
	return nil
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

// watchStore waits until the embedded store is wedged, or ctx ends. It reports
// why, or nil. An external server comes back by itself.
func (w *worker) watchStore(ctx context.Context) error {
	if w.bus == nil || !w.bus.Embedded() {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(wedged / 12)
	defer tick.Stop()
	var since time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := w.store.Check(ctx)
		switch {
		case err == nil:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
			w.log.Error("the journal can't be written: tools that may not run twice are not started", "error", err)
		case time.Since(since) > wedged && ctx.Err() == nil:
			return fmt.Errorf("the journal can't be written since %s: %w", since.Format(time.RFC3339), err)
		}
	}
}

// durable is the journal as the loop wants it.
type durable struct {
	journal *journal.Journal
	procs   *tools.Processes
}

// Start implements loop.Journal.
func (d durable) Start(ctx context.Context, e loop.Entry) (uint64, error) {
	revision, err := d.journal.Start(ctx, written(e))
	return revision, failure(err)
}

// Finish implements loop.Journal.
func (d durable) Finish(ctx context.Context, e loop.Entry) (uint64, error) {
	if e.Quarantined != "" {
		revision, err := d.journal.Quarantine(ctx, written(e), e.Quarantined)
		return revision, failure(err)
	}
	revision, err := d.journal.Finish(ctx, written(e))
	return revision, failure(err)
}

// Forget implements loop.Journal.
func (d durable) Forget(ctx context.Context, session string, calls []string) error {
	return failure(d.journal.Forget(ctx, session, calls...))
}

// Recover implements loop.Journal. What a dead worker left running of the calls
// that it had started is stopped before anybody goes on with them.
func (d durable) Recover(ctx context.Context, session string) ([]loop.Entry, error) {
	entries, err := d.journal.Recover(ctx, session)
	if err != nil {
		return nil, err
	}
	var all []loop.Entry
	var left []tools.Call
	for _, e := range entries {
		if !e.Finished {
			left = append(left, tools.Call{ID: e.Call, Tool: e.Tool, Session: e.Session, Thread: e.Thread, Deadline: e.Deadline})
		}
		all = append(all, loop.Entry{
			Session: e.Session, Call: e.Call, Tool: e.Tool, Thread: e.Thread, Owner: e.Owner,
			Received: e.Received, Deadline: e.Deadline, Finished: e.Finished,
			Result:  tools.Result{Content: e.Content, IsError: e.IsError},
			Outcome: loop.Outcome(e.Outcome), Quarantined: e.Quarantined, Revision: e.Revision,
		})
	}
	d.procs.StopLeft(left)
	return all, nil
}

// written is an entry as the journal keeps it.
func written(e loop.Entry) journal.Entry {
	return journal.Entry{
		Session: e.Session, Call: e.Call, Tool: e.Tool, Thread: e.Thread, Owner: e.Owner,
		Received: e.Received, Deadline: e.Deadline, Finished: e.Finished,
		Content: e.Result.Content, IsError: e.Result.IsError,
		Outcome: string(e.Outcome), Quarantined: e.Quarantined, Revision: e.Revision,
	}
}

// failure is a journal's error in the loop's words.
func failure(err error) error {
	var large *journal.TooLargeError
	switch {
	case errors.Is(err, journal.ErrOwned):
		return loop.ErrOwned
	case errors.As(err, &large):
		return &loop.TooLargeError{Size: large.Size, Limit: large.Limit}
	}
	return err
}

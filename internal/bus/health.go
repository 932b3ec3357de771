package bus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// minAPILevel is JetStream's API level with TTLs of messages and markers
	// of limits. Servers before it ignore both without a word.
	minAPILevel = 1
	// minVersion is the first server with minAPILevel, for people.
	minVersion = "2.11"
)

// askAgain is how long an answer of JetStream is waited for before it is asked
// for again: in a cluster that has no leader yet nobody answers, and who asked
// then hears nothing later either.
const askAgain = 2 * time.Second

// accountInfo asks until there is an answer, or ctx ends.
func (b *Bus) accountInfo(ctx context.Context) (*jetstream.AccountInfo, error) {
	wait := newBackoff()
	for {
		once, cancel := context.WithTimeout(ctx, askAgain)
		info, err := b.js.AccountInfo(once)
		silent := once.Err() != nil
		cancel()
		var e *jetstream.APIError
		if err == nil || ctx.Err() != nil || !silent && !(errors.As(err, &e) && e.Code == http.StatusServiceUnavailable &&
			!errors.Is(err, jetstream.ErrJetStreamNotEnabled) && !errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount)) {
			return info, err
		}
		b.log.Debug("JetStream does not answer yet", "error", err)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait.NextBackOff()):
		}
	}
}

// checkServer makes sure that JetStream answers and knows what is asked of it.
func (b *Bus) checkServer(ctx context.Context) error {
	info, err := b.accountInfo(ctx)
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("NATS server %s at %s has no JetStream for this account: enable it: %w", b.nc.ConnectedServerVersion(), b.where(), err)
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("JetStream at %s does not answer: %w", b.where(), context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("JetStream at %s: %w", b.where(), err)
	}
	if info.API.Level < minAPILevel {
		return fmt.Errorf("%w: %s at %s is version %s (JetStream API level %d); %s is needed (level %d)",
			ErrTooOld, b.nc.ConnectedServerName(), b.where(), b.nc.ConnectedServerVersion(), info.API.Level, minVersion, minAPILevel)
	}
	return nil
}

// Healthy returns why JetStream can't be written to as far as the bus knows:
// the connection is away, the embedded server has stopped its JetStream, or its
// disk is full or not writable. Nil is no promise: what writes also tells its
// last error. It asks nobody and returns at once.
func (b *Bus) Healthy() error {
	b.mu.Lock()
	closed, since, why := b.closed, b.awaySince, b.awayWhy
	b.mu.Unlock()
	switch {
	case closed:
		return errClosed
	case !b.nc.IsConnected():
		if since.IsZero() {
			return fmt.Errorf("NATS server at %s is away", b.where())
		}
		return fmt.Errorf("NATS server at %s is away for %s: %w", b.where(), time.Since(since).Round(time.Second), or(why, errors.New("connection lost")))
	case b.srv == nil:
		return nil
	case !b.srv.Running() || !b.srv.JetStreamEnabled():
		return errors.New("the embedded NATS server has stopped its JetStream: the worker must be started anew")
	}
	_, err := b.store.state()
	return err
}

// Status is what a bus can say of itself.
type Status struct {
	// Server is "embedded", or the server in use without user and password.
	Server string `json:"server"`
	// Version is the server's.
	Version string `json:"version"`
	// Connected reports whether the connection stands.
	Connected bool `json:"connected"`
	// AwaySince is when it was lost; zero while it stands.
	AwaySince time.Time `json:"away_since,omitzero"`
	// Reconnects is how often it was made again.
	Reconnects uint64 `json:"reconnects"`
	// MaxPayload is in bytes.
	MaxPayload int64 `json:"max_payload"`
	// Problem is what [Bus.Healthy] says, or empty.
	Problem string `json:"problem,omitempty"`

	// The rest is the embedded server's.

	// StoreDir is where its files are.
	StoreDir string `json:"store_dir,omitempty"`
	// Sync is "always" or the interval.
	Sync string `json:"sync,omitempty"`
	// Listen is the address for others, with the port it has.
	Listen string `json:"listen,omitempty"`
	// StoreBytes is what JetStream's files hold.
	StoreBytes uint64 `json:"store_bytes,omitempty"`
	// FreeBytes is what is free on their disk.
	FreeBytes int64 `json:"free_bytes,omitempty"`
}

// Status tells how the bus is now. It asks no other process.
func (b *Bus) Status() Status {
	s := Status{
		Server: "embedded", Version: b.nc.ConnectedServerVersion(), Connected: b.nc.IsConnected(),
		Reconnects: b.nc.Stats().Reconnects, MaxPayload: b.nc.MaxPayload(),
	}
	if err := b.Healthy(); err != nil {
		s.Problem = err.Error()
	}
	b.mu.Lock()
	s.AwaySince = b.awaySince
	b.mu.Unlock()
	if b.srv == nil {
		s.Server = b.where()
		return s
	}
	s.StoreDir, s.Listen, s.Sync = b.store.dir, b.Listening(), "always"
	if b.opts.SyncInterval > 0 {
		s.Sync = b.opts.SyncInterval.String()
	}
	s.FreeBytes, _ = b.store.state()
	if info, err := b.srv.Jsz(&server.JSzOptions{}); err == nil {
		s.StoreBytes = info.Store
	}
	return s
}

// Listening is the address for handlers from outside, with its port, or empty.
func (b *Bus) Listening() string {
	if b.listener == nil || b.isClosed() {
		return ""
	}
	return b.listener.ln.Addr().String()
}

package bus

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	dialTimeout     = 3 * time.Second
	reconnectMin    = 100 * time.Millisecond
	reconnectMax    = 10 * time.Second
	tellAwayEvery   = time.Minute
	pingInterval    = 10 * time.Second
	maxPingsMissing = 2
)

// openExternal connects, and tries again until ctx is done where the server is
// not there yet: at boot it may be starting beside us.
func (b *Bus) openExternal(ctx context.Context) error {
	if err := b.checkExternal(); err != nil {
		return err
	}
	wait := newBackoff()
	for {
		nc, err := b.dial(ctx)
		if err == nil {
			b.nc = nc
			b.js, err = jetstream.New(nc)
			return err
		}
		err = fmt.Errorf("NATS server at %s: %w", b.where(), err)
		if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(wait.NextBackOff()):
			b.log.Debug("NATS server can't be reached yet", "error", err)
		}
	}
}

// checkExternal finds what no waiting mends.
func (b *Bus) checkExternal() error {
	for one := range strings.SplitSeq(b.opts.URL, ",") {
		if _, err := url.Parse(strings.TrimSpace(one)); err != nil {
			// The error of Parse has the URL in it, and that may have a password.
			return fmt.Errorf("NATS server at %s: this is no URL; expected nats://host:port or tls://host:port", b.where())
		}
	}
	if b.opts.CredentialsFile == "" {
		return nil
	}
	f, err := os.Open(b.opts.CredentialsFile)
	if err != nil {
		return fmt.Errorf("credentials for NATS: %w", err)
	}
	return f.Close()
}

// dial makes one attempt. nats.Connect knows no context; one that is left behind
// ends by its own timeouts.
func (b *Bus) dial(ctx context.Context) (*nats.Conn, error) {
	type outcome struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		opts := b.externalOptions()
		if b.opts.CoreOnly && b.opts.CredentialsFile == "" {
			opts = append(opts, OwnInbox(b.opts.URL)...)
		}
		nc, err := nats.Connect(b.opts.URL, opts...)
		done <- outcome{nc, err}
	}()
	select {
	case o := <-done:
		return o.nc, o.err
	case <-ctx.Done():
		go func() {
			if o := <-done; o.nc != nil {
				o.nc.Close()
			}
		}()
		return nil, nats.ErrTimeout
	}
}

func (b *Bus) externalOptions() []nats.Option {
	delay := func(attempts int) time.Duration {
		wait := newBackoff()
		d := wait.NextBackOff()
		for range min(attempts, 12) {
			d = wait.NextBackOff()
		}
		return d
	}
	opts := append(b.connOptions(),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // a credential may be renewed beside us
		nats.CustomReconnectDelay(delay),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPingsMissing),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { b.lost(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { b.stillLost(err) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { b.back(nc) }),
	)
	if b.opts.CredentialsFile != "" {
		opts = append(opts, nats.UserCredentials(b.opts.CredentialsFile))
	}
	if b.opts.Token != "" {
		opts = append(opts, nats.Token(b.opts.Token))
	}
	if b.opts.TLS != nil {
		opts = append(opts, nats.Secure(b.opts.TLS))
	}
	return opts
}

// connOptions are those of both kinds of server.
func (b *Bus) connOptions() []nats.Option {
	return []nats.Option{
		nats.Name("toolhand"),
		nats.ReconnectBufSize(-1), // what was reported as failed must not be done later
		nats.NoCallbacksAfterClientClose(),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			args := []any{"error", err}
			if sub != nil {
				args = append(args, "subject", sub.Subject)
			}
			b.log.Warn("NATS", args...)
		}),
	}
}

func newBackoff() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(reconnectMin), backoff.WithMaxInterval(reconnectMax),
		backoff.WithMultiplier(2), backoff.WithMaxElapsedTime(0))
}

// lost, stillLost and back tell of the connection without telling too often.

func (b *Bus) lost(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || !b.awaySince.IsZero() {
		return
	}
	b.awaySince, b.awayWhy, b.toldAway = time.Now(), err, time.Now()
	b.log.Warn("NATS is away; connecting again", "server", b.where(), "error", err)
}

func (b *Bus) stillLost(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.awayWhy = err
	}
	if b.closed || b.awaySince.IsZero() || time.Since(b.toldAway) < tellAwayEvery {
		return
	}
	b.toldAway = time.Now()
	b.log.Warn("NATS is still away", "server", b.where(), "since", b.awaySince, "error", b.awayWhy)
}

func (b *Bus) back(nc *nats.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	away := time.Since(b.awaySince).Round(time.Millisecond)
	b.awaySince, b.awayWhy = time.Time{}, nil
	b.log.Info("NATS is back", "server", nc.ConnectedUrlRedacted(), "away", away)
}

// where names the server without what may be secret in its URL.
func (b *Bus) where() string {
	if b.opts.URL == "" {
		return "this process"
	}
	var all []string
	for one := range strings.SplitSeq(b.opts.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil || u.Host == "" {
			_, host, _ := strings.Cut(one, "@")
			all = append(all, or(host, "the given URL"))
			continue
		}
		all = append(all, u.Host)
	}
	return strings.Join(all, ",")
}
